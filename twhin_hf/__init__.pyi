from .benchmarks.engagement.benchmark import build_benchmark
from .benchmarks.engagement.building import build_engagement_benchmark
from .benchmarks.engagement.loading import load_engagement_prediction
from .benchmarks.hashtag.building import build_hashtag_benchmark
from .benchmarks.hashtag.loading import load_hashtag_prediction
from .conversion.convert import convert_checkpoint
from .data.posts import read_posts
from .data.split_config import SplitConfig
from .data.splits import split_posts
from .data.synthetic import generate_network, translation_pairs
from .data.synthetic_config import SyntheticConfig
from .data.time_splits import make_split
from .data.tokenization import train_unigram_tokenizer
from .data.translation.pairs import read_translation_pairs
from .evaluation.alignment import evaluate_alignment, project
from .evaluation.alignment_plots import plot_alignment
from .evaluation.audience import audience_agreement
from .evaluation.baselines import evaluate_baselines, tfidf_features
from .evaluation.classification_config import ClassificationConfig
from .evaluation.engagement import choose_features, evaluate_engagement
from .evaluation.engagement_results import combine_training_seeds, compare_engagement
from .evaluation.hashtag import evaluate_hashtag
from .evaluation.privacy.reporting import privacy_report
from .evaluation.recommendation.config import RecommendationJudgingConfig
from .evaluation.recommendation.evaluation import evaluate_recommendation
from .evaluation.retrieval import evaluate_retrieval
from .evaluation.retrieval_baselines import retrieval_baselines
from .evaluation.suite.whole import run_suite
from .evaluation.zero_shot import evaluate_zero_shot
from .evaluation.zero_shot_config import ZeroShotConfig
from .forgetting.forget import forget
from .forgetting.forgotten import read_forgotten
from .hub.folder import complete_folder
from .hub.push import push_to_hub
from .loading.auto import load_post_encoder
from .loading.text_encoders import side_by_side
from .maps.map_config import MapConfig
from .maps.writing import write_map
from .modeling.modeling_twhin_bert import TwhinBertForPreTraining, TwhinBertModel
from .modeling.modeling_twhin_distilbert import TwhinDistilBertForPreTraining, TwhinDistilBertModel
from .modeling.modeling_twhin_modernbert import TwhinModernBertForPreTraining, TwhinModernBertModel
from .modeling.modeling_twhin_roberta import TwhinRobertaForPreTraining, TwhinRobertaModel
from .modeling.modeling_twhin_xlm_roberta import TwhinXLMRobertaForPreTraining, TwhinXLMRobertaModel
from .network.embedding import embed_network
from .network.embedding_config import NetworkEmbeddingConfig
from .network.folder import load_network, save_network
from .network.log import read_log
from .network.mining import mine_pairs
from .network.mining_config import MiningConfig
from .network.update_config import NetworkUpdateConfig
from .network.updating import update_network
from .pipeline import run_pipeline
from .pipeline_config import PipelineConfig
from .planning.plan import plan_run
from .planning.plan_config import PlanConfig
from .plots import plot_comparison, plot_losses
from .recommendation.engagement_config import EngagementConfig
from .recommendation.model import EngagementModel
from .recommendation.recommendation_config import RecommendationConfig
from .report.report_config import ReportConfig
from .report.writing import write_report
from .serving.export import export
from .serving.export_config import ExportConfig
from .serving.exported import load_exported
from .serving.index.index import VectorIndex, add_vectors, build_index, load_index
from .serving.index.index_config import IndexConfig
from .serving.search import search, search_vectors
from .serving.stores.opening import fill_store, open_store
from .serving.vectors import embed_posts
from .serving.vectors_config import PostVectorsConfig
from .table_format import TableFormat
from .training.initialization import load_pretraining_model, new_pretraining_model
from .training.sentence_losses import SocialLoss, TranslationPairLoss
from .training.social import SocialPretrainingConfig, SocialPretrainingTrainer
from .training.translation_pair import TPPConfig, TPPTrainer
from .version import __version__

__all__ = [
    "ClassificationConfig",
    "EngagementConfig",
    "EngagementModel",
    "ExportConfig",
    "IndexConfig",
    "MapConfig",
    "MiningConfig",
    "NetworkEmbeddingConfig",
    "NetworkUpdateConfig",
    "PipelineConfig",
    "PlanConfig",
    "PostVectorsConfig",
    "RecommendationConfig",
    "RecommendationJudgingConfig",
    "ReportConfig",
    "SocialLoss",
    "SocialPretrainingConfig",
    "SocialPretrainingTrainer",
    "SplitConfig",
    "SyntheticConfig",
    "TPPConfig",
    "TPPTrainer",
    "TableFormat",
    "TranslationPairLoss",
    "TwhinBertForPreTraining",
    "TwhinBertModel",
    "TwhinDistilBertForPreTraining",
    "TwhinDistilBertModel",
    "TwhinModernBertForPreTraining",
    "TwhinModernBertModel",
    "TwhinRobertaForPreTraining",
    "TwhinRobertaModel",
    "TwhinXLMRobertaForPreTraining",
    "TwhinXLMRobertaModel",
    "VectorIndex",
    "ZeroShotConfig",
    "__version__",
    "add_vectors",
    "audience_agreement",
    "build_benchmark",
    "build_engagement_benchmark",
    "build_hashtag_benchmark",
    "build_index",
    "choose_features",
    "combine_training_seeds",
    "compare_engagement",
    "complete_folder",
    "convert_checkpoint",
    "embed_network",
    "embed_posts",
    "evaluate_alignment",
    "evaluate_baselines",
    "evaluate_engagement",
    "evaluate_hashtag",
    "evaluate_recommendation",
    "evaluate_retrieval",
    "evaluate_zero_shot",
    "export",
    "fill_store",
    "forget",
    "generate_network",
    "load_engagement_prediction",
    "load_exported",
    "load_hashtag_prediction",
    "load_index",
    "load_network",
    "load_post_encoder",
    "load_pretraining_model",
    "make_split",
    "mine_pairs",
    "new_pretraining_model",
    "open_store",
    "plan_run",
    "plot_alignment",
    "plot_comparison",
    "plot_losses",
    "privacy_report",
    "project",
    "push_to_hub",
    "read_forgotten",
    "read_log",
    "read_posts",
    "read_translation_pairs",
    "retrieval_baselines",
    "run_pipeline",
    "run_suite",
    "save_network",
    "search",
    "search_vectors",
    "side_by_side",
    "split_posts",
    "tfidf_features",
    "train_unigram_tokenizer",
    "translation_pairs",
    "update_network",
    "write_map",
    "write_report",
]
