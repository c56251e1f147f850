"""Saving a model so that its folder needs nothing but itself.

A saved folder holds the code of its class, and a config whose `auto_map` names it: `AutoModel` and
`AutoModelForPreTraining` load our classes with `trust_remote_code=True`, also where this package
is not installed. Without trust the same folder loads as the stock classes, for its `model_type` is
the backbone's own. Beside it lie the files that make it a `SentenceTransformer`.

A stock class that saves such a folder anew, after loading without trust, keeps `auto_map` and
copies no code; with trust, transformers then looks for it in vain. Nothing in a folder can keep it
from that. Our own classes load what it saved, and `twhin_hf.complete_folder` puts the code back.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import cached_file

from .heads import pooled_width
from .sentence_transformer_files import TOKENIZER_CONFIG_NAME, write_sentence_transformer_files
from .settings import POOLED
from .weight_files import UnsafeWeightsError, tensors_alone

if TYPE_CHECKING:
    from transformers import PreTrainedModel as Backbone
else:
    Backbone = object

logger = logging.getLogger(__name__)


class SavingMixin(Backbone):
    """Put before a backbone; a family's file holds a class for each auto class."""

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, *args: Any, **kwargs: Any
    ) -> Any:
        """Loads a checkpoint as every model does.

        Args:
            pretrained_model_name_or_path: Folder or repository.
            *args: As `PreTrainedModel.from_pretrained` takes.
            **kwargs: Likewise.

        Raises:
            ValueError: Weights that hold more than tensors, `weights_only=False`, which would run
                what they hold, or as that of every model.
        """
        if kwargs.get("weights_only") is False:
            raise UnsafeWeightsError(
                "weights_only is False, which would run code of a file of weights; leave it out"
            )
        with tensors_alone(pretrained_model_name_or_path):
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    def save_pretrained(  # type: ignore[override] # the rest goes by name
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, Any] | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Saves weights and config as every model does; code, modules and tokenizer with them.

        The tokenizer is the one that the checkpoint came with; where there is none, or the folder
        holds one, nothing is written. A model without the head that its config's
        `sentence_embedding` names is saved with `pooled` in its place, and a warning says so.

        Args:
            save_directory: The folder.
            is_main_process: False on the processes that must not write.
            state_dict: In place of the model's own.
            push_to_hub: Upload the model too, to `repo_id` or a repository of the folder's name.
            **kwargs: As `PreTrainedModel.save_pretrained` takes.
        """
        names = ("repo_id", "commit_message", "private", "token")
        hub = {name: kwargs.pop(name) for name in names if push_to_hub and name in kwargs}
        embedding_before = self.config.sentence_embedding
        if embedding_before != POOLED and not getattr(self, f"{embedding_before}_head", None):
            logger.warning(
                "%s has no %s head: the sentence embedding of %s is that of the pooled tokens",
                type(self).__name__,
                embedding_before,
                save_directory,
            )
            self.config.sentence_embedding = POOLED
        named_before = getattr(self.config, "auto_map", None)
        self.config.auto_map = auto_map(type(self))
        # Where sentence-transformers looks for the size of vectors that a model itself pools.
        self.config.projection_dim = pooled_width(self.config.hidden_size, self.config.pooling)
        try:
            super().save_pretrained(
                save_directory, is_main_process=is_main_process, state_dict=state_dict, **kwargs
            )
            if is_main_process:
                encoder: Any = self.base_model
                self._save_tokenizer(Path(save_directory))
                write_sentence_transformer_files(
                    save_directory, self.config, encoder.max_seq_length
                )
        finally:
            self.config.sentence_embedding = embedding_before
            # A stock class that is made from this config would name code and not save it.
            if named_before is None:
                del self.config.auto_map
            else:
                self.config.auto_map = named_before
        if is_main_process and push_to_hub:
            name = os.path.basename(os.path.normpath(save_directory))
            self.push_to_hub(hub.pop("repo_id", name), **hub)

    def _save_tokenizer(self, folder: Path) -> None:
        """Saves the tokenizer that the model was loaded with, where the folder holds none."""
        if (folder / TOKENIZER_CONFIG_NAME).exists():
            return
        tokenizer = getattr(self.base_model, "_tokenizer", None) or local_tokenizer(self.config)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)


def local_tokenizer(config: PreTrainedConfig) -> PreTrainedTokenizerBase | None:
    """The tokenizer beside a model's checkpoint; none where there is none on this machine."""
    name = config._name_or_path
    commit = getattr(config, "_commit_hash", None)
    found = name and cached_file(
        name,
        TOKENIZER_CONFIG_NAME,
        revision=commit,
        local_files_only=True,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if not found:
        return None
    return AutoTokenizer.from_pretrained(
        name, revision=commit, local_files_only=True, trust_remote_code=False
    )


def auto_map(model_class: type) -> dict[str, str]:
    """Where transformers finds the classes of a family, by auto class.

    Args:
        model_class: Any class of the family; the others are those of its file.

    Example:
        >>> from twhin_hf.modeling import TwhinBertModel
        >>> auto_map(TwhinBertModel)["AutoModel"]
        'modeling_twhin_bert.TwhinBertModel'
    """
    module = sys.modules[model_class.__module__]
    file = module.__name__.rpartition(".")[2]
    return {
        found._auto_class: f"{file}.{found.__name__}"
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, SavingMixin)
        and found.__module__ == module.__name__
        and found._auto_class is not None
    }
