"""The card of a model, made of what its folder tells: config, record of the training, results."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from twhin_hf.errors import WRONG_CONTENT, InputError, reading
from twhin_hf.files import read_json_object
from twhin_hf.hub.card_metadata import CardMetadata
from twhin_hf.hub.client import COMMIT
from twhin_hf.hub.folder import auto_classes, family_file
from twhin_hf.hub.markdown import as_code, as_text
from twhin_hf.hub.sections import merge_cards
from twhin_hf.modeling.heads import pooled_width
from twhin_hf.modeling.settings import HEAD_NAMES, POOLED
from twhin_hf.results import Results, figure_text, notes_of, read_results, starred

LOSSES_PLOT = "losses.png"
RESULTS_PLOT = "results.png"
CONVERSION_NAME = "conversion.json"
"""What `twhin-hf convert` tells of where a model comes from."""
_NEW_WEIGHTS = "untrained"
"""The folder of `twhin-hf run` in which an encoder from scratch begins: no model to go back to."""

_LEARNT = {
    "mlm": "masked language modelling",
    "social": "a contrastive social loss (posts that the same people engage with lie close)",
    "engagement": "an engagement objective (users find the posts that they engaged with)",
    "distillation": "network distillation (a text tells its post's place in the network)",
    "tpp": "translation pair prediction",
}

_TASKS = {
    "engagement": "text-ranking",
    "retrieval": "sentence-similarity",
    "ner": "token-classification",
    "pos": "token-classification",
    "sentiment": "text-classification",
    "hashtag": "text-classification",
}
_TAGS = {
    "mlm": "masked-lm",
    "social": "social-loss",
    "engagement": "engagement",
    "distillation": "network-distillation",
    "tpp": "translation-pairs",
}
_QUESTIONS = {
    "engagement": "Which post, of those that no training has seen, did a person engage with? "
    "HITS@10 is how often it is among the first 10 of up to 1,000, MRR the mean of 1 / its place. "
    "Users are vectors of the network, features of posts are frozen.",
    "recommendation": "Which posts will a person engage with?",
    "retrieval": "Is the nearest of all texts of the other language the translation?",
    "hashtag": "Which hashtag did a post have? It is taken out of the text.",
}
_CHOICE = re.compile(r"[A-Za-z][\w.+-]{0,39}", re.ASCII)
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_ISO_639 = re.compile(r"[a-z]{2,3}")
_CITATIONS = {
    "social": """@inproceedings{zhang2023twhinbert,
  title = {{TwHIN-BERT}: A Socially-Enriched Pre-trained Language Model for Multilingual Tweet
           Representations at {Twitter}},
  author = {Zhang, Xinyang and Malkov, Yury and Florez, Omar and Park, Serim and McWilliams, Brian
            and Han, Jiawei and El-Kishky, Ahmed},
  booktitle = {Proceedings of the 29th ACM SIGKDD Conference on Knowledge Discovery and Data
               Mining},
  year = {2023},
  eprint = {2209.07562}
}""",
    "tpp": """@inproceedings{mishra2021improved,
  title = {Improved Multilingual Language Model Pretraining for Social Media Text via Translation
           Pair Prediction},
  author = {Mishra, Shubhanshu and Haghighi, Aria},
  booktitle = {Proceedings of the Seventh Workshop on Noisy User-generated Text (W-NUT 2021)},
  year = {2021},
  eprint = {2110.10318}
}""",
}


@dataclass(frozen=True)
class CardFacts:
    """What a folder tells of its model.

    Args:
        config: Of the model.
        record: Of the training (`training_record.json`); empty where there is none.
        history: What the training logged (`trainer_state.json`).
        results: Of evaluations (`results*.json`).
        adapter: The adapter's config (`adapter_config.json`); empty for a whole model.
        conversion: Where a converted model comes from (`conversion.json`); empty for others.
    """

    config: dict[str, Any]
    record: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    results: list[Results] = field(default_factory=list)
    adapter: dict[str, Any] = field(default_factory=dict)
    conversion: dict[str, Any] = field(default_factory=dict)

    @property
    def license(self) -> str | None:
        """That of the base model, where it is known."""
        stated = self.record.get("license") or self.conversion.get("license")
        return stated if stated and _CHOICE.fullmatch(str(stated)) else None

    @property
    def base_models(self) -> list[str]:
        """Those that the model goes back to, the nearest first."""
        converted = self.conversion.get("converted_from")
        named = self.record.get("base_model", []) or ([converted] if converted else [])
        return [name for name in named if name != _NEW_WEIGHTS]

    @property
    def is_from_scratch(self) -> bool:
        """Whether the training records say that it began with new weights."""
        return self.record.get("base_model", [])[-1:] == [_NEW_WEIGHTS]

    @property
    def objectives(self) -> list[str]:
        """What the training taught; none without a record of it."""
        learnt = [name for name in _LEARNT if _learns(self.config, name)] if self.record else []
        return self.record.get("objectives", learnt)

    @property
    def all_objectives(self) -> set[str]:
        """What this training and those before it taught."""
        return {*self.objectives, *chain.from_iterable(self.record.get("earlier_objectives", []))}


def read_facts(folder: Path) -> CardFacts:
    """Reads what a model's folder tells.

    Raises:
        FileNotFoundError: No config.
        InputError: A file that is not JSON, or results that lack a key.
    """
    state = _read(folder / "trainer_state.json")
    adapter = _read(folder / "adapter_config.json")
    return CardFacts(
        config=_by_common_names(
            _read(folder / ("encoder_config.json" if adapter else "config.json"), needed=True)
        ),
        record=_read(folder / "training_record.json"),
        history=state.get("log_history", []),
        results=[_of_one_model(path) for path in sorted(folder.glob("results*.json"))],
        adapter=adapter,
        conversion=_read(folder / CONVERSION_NAME),
    )


def _of_one_model(path: Path) -> Results:
    results = read_results(path)
    models = {row.details["model"] for row in results.results if "model" in row.details}
    if len(models) > 1:
        raise InputError(
            f"{path} holds the results of {len(models)} encoders, those of a whole run: the card "
            "would call them all this model's. Take it away; the run has put each encoder's own "
            "beside it (results_engagement.json)"
        )
    return results


def _by_common_names(config: dict[str, Any]) -> dict[str, Any]:
    """A config with the names that all families know beside its own: DistilBERT writes `dim`."""
    from transformers import CONFIG_MAPPING

    family = str(config.get("model_type"))
    names = CONFIG_MAPPING[family].attribute_map if family in CONFIG_MAPPING else {}
    return config | {common: config[own] for common, own in names.items() if own in config}


def picture_of(facts: CardFacts) -> str | None:
    """The one picture of a card: results beside others, or losses; None where there is nothing."""
    if any(results.baselines for results in facts.results):
        return RESULTS_PLOT
    return LOSSES_PLOT if has_losses(facts) else None


def has_losses(facts: CardFacts) -> bool:
    """Whether there is anything to draw."""
    return any("loss" in entry and "step" in entry for entry in facts.history)


def model_card(
    facts: CardFacts,
    repo_id: str,
    existing: str | None = None,
    metadata: CardMetadata | None = None,
) -> str:
    """The text of a card.

    Args:
        facts: Of the model.
        repo_id: `owner/name`.
        existing: The card that is there; what was written in it by hand stays (`merge_cards`).
        metadata: What no folder tells.

    Raises:
        InputError: Records of another form than ours, or metadata that the Hub's library does not
            read back as they were written.
    """
    advice = (
        "Mend its config or records (training_record.json, trainer_state.json), or train again."
    )
    errors = (*WRONG_CONTENT, jinja2.TemplateError, yaml.YAMLError)
    with reading(f"what the model's folder says of {repo_id}", advice, errors):
        text = _text(facts, repo_id, metadata or CardMetadata())
    text = merge_cards(existing, text) if existing else text
    check_card(text)
    return text


def _text(facts: CardFacts, repo_id: str, given: CardMetadata) -> str:
    settings, name = facts.config, repo_id.rpartition("/")[2]
    data = ModelCardData(
        model_name=name,
        library_name="peft" if facts.adapter else "transformers",
        pipeline_tag="feature-extraction",
        tags=[
            *("twhin_hf", "sentence-transformers"),
            *(["lora"] if facts.adapter else []),
            *(_TAGS[name] for name in facts.objectives),
        ],
        base_model=facts.adapter.get("base_model_name_or_path") or _hub_name(facts.base_models),
        license=given.license or facts.license,
        datasets=given.datasets,
        language=given.languages or languages_of(facts.record) or None,
        eval_results=eval_results(facts.results) or None,
    )
    pooling, head = settings["pooling"], settings.get("sentence_embedding", POOLED)
    if head not in (POOLED, *HEAD_NAMES):
        raise InputError(
            f"sentence_embedding is {head!r} in the config of {repo_id}; it is one of "
            f"{', '.join((POOLED, *HEAD_NAMES))}"
        )
    width = pooled_width(settings["hidden_size"], pooling)
    body = card_template("model.md.jinja").render(
        name=name,
        repo_id=repo_id,
        commit=COMMIT,
        summary=summary(facts),
        base_models=facts.base_models,
        model_class=model_class(settings),
        stock_class=model_class(settings).removeprefix("Twhin"),
        # Of any other head it is not known that it was ever trained.
        predicts_masked="mlm" in facts.all_objectives,
        width=f"{width:,}",
        pooling=pooling,
        head="" if head == POOLED else head,
        head_width=f"{_head_width(settings, head):,}",
        # A head's output is made of stock modules.
        needs_trust=pooling == "combined" and head == POOLED,
        architecture=architecture(settings, facts.objectives) | adaptation(facts.adapter),
        adapter=facts.adapter,
        training=training(facts.record),
        hyper_parameters=public_options(facts.record),
        picture=picture_of(facts),
        results=[_table(results) for results in facts.results],
        citations=[text for key, text in _CITATIONS.items() if key in facts.objectives]
        or [_CITATIONS["social"]],
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body.strip()}\n"


def check_card(text: str) -> None:
    """Checks that the Hub's library reads a card's metadata back.

    Raises:
        InputError: It does not.
    """
    card = ModelCard(text)
    again = ModelCard(str(card))
    if card.data.to_dict() != again.data.to_dict():
        raise InputError("the card's metadata change when they are read and written again")


def summary(facts: CardFacts) -> str:
    """One sentence on what was done to the model, by its records."""
    encoder = f"An encoder of short posts ({as_text(facts.config['model_type'])})"
    if not facts.record:
        origin = facts.conversion.get("converted_from")
        return (
            f"{encoder}, converted from {as_code(origin)} without training."
            if origin
            else f"{encoder}."
        )
    stages = [facts.objectives, *facts.record.get("earlier_objectives", [])]
    known = [[_LEARNT[name] for name in stage if name in _LEARNT] for stage in stages]
    told = [_listed(stage) for stage in known if stage]
    after = f", after {', after '.join(told[1:])}" if len(told) > 1 else ""
    trained = "trained from scratch" if facts.is_from_scratch else "trained"
    return f"{encoder}, {trained} with {told[0]}{after}." if told else f"{encoder}."


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def languages_of(record: Mapping[str, Any]) -> list[str]:
    """ISO 639 codes of the languages that 1 % or more of the training data are in.

    Example:
        >>> languages_of({"languages": {"en": 0.7, "und": 0.2, "pt-BR": 0.09, "ja": 0.001}})
        ['en', 'pt']
    """
    shares = record.get("languages", {})
    codes = [name.split("-")[0].lower() for name, share in shares.items() if share >= 0.01]
    return [code for code in dict.fromkeys(codes) if _ISO_639.fullmatch(code) and code != "und"]


def model_class(settings: Mapping[str, Any]) -> str:
    """The name of a family's `Twhin…Model`."""
    return auto_classes(family_file(settings["model_type"]))["AutoModel"].rpartition(".")[2]


def architecture(settings: Mapping[str, Any], objectives: Collection[str]) -> dict[str, str]:
    """What the model is: its sizes, pooling, and the heads and losses that it was trained with."""
    layers = f"{as_text(settings['num_hidden_layers'])} layers × {as_text(settings['hidden_size'])}"
    if settings["num_hidden_layers"] == 0:
        layers = f"token embeddings × {as_text(settings['hidden_size'])}, no layers"
    heads = {
        "Encoder": f"{as_text(settings['model_type'])}, {layers}, "
        f"{settings['vocab_size']:,} tokens",
        "Embedding of a post": f"{as_code(settings['pooling'])} pooling"
        + (", of length 1" if settings.get("normalize_embeddings") else ""),
    }
    if (head := settings.get("sentence_embedding", POOLED)) != POOLED:
        heads["Sentence embedding"] = f"output of the {as_text(head)} head, of length 1"
    if "mlm" in objectives:
        heads["Masked language modelling"] = f"weight {settings['mlm_weight']:g}"
    if "social" in objectives:
        heads["Social loss"] = (
            f"weight {settings['social_weight']:g}, NT-Xent at temperature "
            f"{settings['social_temperature']:g}, head "
            f"{as_text(settings['social_projection_sizes'])} on "
            f"{as_code(settings['social_pooling'])}"
        )
    if "engagement" in objectives:
        heads["Engagement objective"] = (
            f"weight {settings['engagement_weight']:g}, temperature "
            f"{settings['engagement_temperature']:g}, head "
            f"{as_text(settings['engagement_projection_sizes'])} on "
            f"{as_code(settings['engagement_pooling'])}"
        )
    if "distillation" in objectives:
        sizes = [*settings["distillation_hidden_sizes"], settings["network_dimension"]]
        heads["Network distillation"] = (
            f"weight {settings['distillation_weight']:g}, "
            f"{as_code(settings['distillation_loss'])}, head {as_text(sizes)} on "
            f"{as_code(settings['distillation_pooling'])}"
        )
    if "tpp" in objectives:
        heads["Translation pair prediction"] = (
            f"weight {settings['tpp_weight']:g}, {as_code(settings['tpp_loss'])}, head "
            f"{as_text(settings['tpp_projection_size'])} on {as_code(settings['tpp_pooling'])}"
        )
    return heads


def _head_width(settings: Mapping[str, Any], head: str) -> int:
    """Width of what a head gives; 0 of the pooled vectors, which are none."""
    if head == "distillation":
        return int(settings["network_dimension"])
    if head == "tpp":
        return int(settings["tpp_projection_size"])
    return 0 if head == POOLED else int(settings[f"{head}_projection_sizes"][-1])


def adaptation(adapter: Mapping[str, Any]) -> dict[str, str]:
    """What an adapter adds to its base model; nothing for a whole model."""
    if not adapter:
        return {}
    heads = ", ".join(map(as_code, adapter.get("modules_to_save") or ()))
    rank, alpha = as_text(adapter["r"]), as_text(adapter["lora_alpha"])
    return {
        "Adapter": f"LoRA, rank {rank}, alpha {alpha}, on "
        + ", ".join(map(as_code, sorted(adapter["target_modules"]))),
        **({"Trained in full": heads} if heads else {}),
    }


def training(record: Mapping[str, Any]) -> dict[str, str]:
    """How it was trained; only what was recorded."""
    if not record:
        return {}
    data = ", ".join(f"{count:,} {as_text(name)}" for name, count in record["data"].items())
    found = {"Data": data, "Steps": f"{record['steps']:,} ({record['epochs']:g} epochs)"}
    if record.get("tokens"):
        found["Tokens"] = f"{record['tokens']:,}"
    if record.get("seconds"):
        found["Time"] = f"{record['seconds'] / 3600:.2f} hours"
    found["Hardware"] = as_text(record["hardware"])
    if record["processes"] > 1:
        found["Processes"] = str(record["processes"])
    versions = record["versions"].items()
    found["Versions"] = ", ".join(as_text(f"{name} {value}") for name, value in versions)
    return found


def public_options(record: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a training that a card shows: numbers, choices and lists of them.

    A text of more than a word may be anything, and is left out.

    Example:
        >>> public_options({"hyper_parameters": {"optim": "adamw_torch", "run": "on my machine"}})
        {'optim': 'adamw_torch'}
    """

    def is_plain(value: Any) -> bool:
        if isinstance(value, list):
            return all(map(is_plain, value))
        return isinstance(value, bool | int | float) or bool(_CHOICE.fullmatch(str(value)))

    given = record.get("hyper_parameters", {})
    return {
        name: value for name, value in given.items() if _CHOICE.fullmatch(name) and is_plain(value)
    }


def eval_results(results: Sequence[Results]) -> list[EvalResult]:
    """Figures as the `model-index` of a card holds them."""
    return [
        EvalResult(
            task_type=_TASKS.get(item.task, "feature-extraction"),
            dataset_type=re.sub(r"[^\w-]+", "-", item.task),
            dataset_name=item.task,
            dataset_config=row.language,
            metric_type=row.metric.lower(),
            metric_name=row.metric,
            metric_value=round(row.value, 4),
        )
        for item in results
        for row in item.results
    ]


def _table(results: Results) -> dict[str, Any]:
    baselines = {as_text(name): rows for name, rows in results.baselines.items()}
    named = {**baselines, "**this model**": results.results}
    every = [row for rows in named.values() for row in rows]
    metrics = list(dict.fromkeys(row.metric for row in every))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    seeds = {len(row.values) for row in results.results if row.values}
    for name, rows in named.items():
        for row in rows:
            values = cells.setdefault((name, as_text(starred(row))), {})
            values[row.metric] = figure_text(row)
            values["rows"] = as_text(row.details.get("rows", ""))
    shown = metrics + ["rows"] * any(values["rows"] for values in cells.values())
    notes = [f"median of {max(seeds)} runs"] if seeds and max(seeds) > 1 else []
    drawn = "pairs" if results.task == "retrieval" else "users"
    notes += [f"95 % interval over {drawn}"] if any(row.interval for row in every) else []
    judged = {" and ".join(row.details.get("features", ())) for row in results.results} - {""}
    notes += [f"judged by its vectors {as_text(' or '.join(sorted(judged)))}"] if judged else []
    return {
        "task": as_text(results.task),
        "question": as_text(_QUESTIONS.get(results.task, "")),
        "note": ", ".join(notes),
        "names": ["encoder", "language"] if results.baselines else ["language"],
        "metrics": [as_text(name) for name in shown],
        "rows": [
            ([name, language][not results.baselines :], [values.get(m, "") for m in shown])
            for (name, language), values in cells.items()
        ],
        "remarks": [as_text(remark) for remark in notes_of(every)],
    }


def _learns(settings: Mapping[str, Any], objective: str) -> bool:
    return settings.get(f"{objective}_weight", 0) > 0


def _hub_name(base_models: Sequence[str]) -> str | None:
    """The nearest model that is on the Hub; a bare name may be a folder."""
    return next((name for name in base_models if _REPOSITORY.fullmatch(name)), None)


@functools.cache
def card_template(name: str) -> jinja2.Template:
    """A template of this package, whose filters make words of data: `as_text` and `as_code`."""
    folder = resources.files("twhin_hf.hub") / "templates"
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters |= {"as_text": as_text, "as_code": as_code}
    return environment.from_string((folder / name).read_text(encoding="utf-8"))


def _read(path: Path, needed: bool = False) -> dict[str, Any]:
    if not path.exists() and not needed:
        return {}
    return read_json_object(path)
