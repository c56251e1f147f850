"""Saving a model so that its folder needs nothing but itself.

A saved folder holds the code of its class, and a config whose `auto_map` names it: `AutoModel` and
`AutoModelForPreTraining` load our classes with `trust_remote_code=True`, also where this package
is not installed. Without trust the same folder loads as the stock classes, for its `model_type` is
the backbone's own. Beside it lie the files that make it a `SentenceTransformer`.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from .heads import pooled_width
from .sentence_transformer_files import write_sentence_transformer_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel as Backbone
else:
    Backbone = object


class SavingMixin(Backbone):
    """Put before a backbone; a family's file holds a class for each auto class."""

    def save_pretrained(  # type: ignore[override] # the rest goes by name
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, Any] | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Saves weights and config as every model does, and code and modules with them.

        Args:
            save_directory: the folder.
            is_main_process: false on the processes that must not write.
            state_dict: in place of the model's own.
            push_to_hub: upload the model too, to `repo_id` or a repository of the folder's name.
            **kwargs: as `PreTrainedModel.save_pretrained` takes.
        """
        names = ("repo_id", "commit_message", "private", "token")
        hub = {name: kwargs.pop(name) for name in names if push_to_hub and name in kwargs}
        named_before = getattr(self.config, "auto_map", None)
        self.config.auto_map = auto_map(type(self))
        # Where sentence-transformers looks for the size of vectors that a model itself pools.
        self.config.projection_dim = pooled_width(self.config, self.config.pooling)
        try:
            super().save_pretrained(
                save_directory, is_main_process=is_main_process, state_dict=state_dict, **kwargs
            )
        finally:
            # A stock class that is made from this config would name code and not save it.
            if named_before is None:
                del self.config.auto_map
            else:
                self.config.auto_map = named_before
        if is_main_process:
            encoder: Any = self.base_model
            write_sentence_transformer_files(save_directory, self.config, encoder.post_length)
            if push_to_hub:
                name = os.path.basename(os.path.normpath(save_directory))
                self.push_to_hub(hub.pop("repo_id", name), **hub)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:  # type: ignore[override]
        """Publishes the model with its tokenizer, code and card in one commit.

        Args:
            repo_id: `owner/name`.
            **kwargs: as `twhin_hf.hub.saved.push_saved` takes, which checks what goes out; of a
                model that was loaded by remote code, as every model of transformers takes.

        Returns:
            The address of the commit.
        """
        if not type(self).__module__.startswith("twhin_hf."):
            stock: Any = super().push_to_hub
            return stock(repo_id, **kwargs)
        # By name: a plain import would be needed by whoever loads this file without the package.
        return importlib.import_module("twhin_hf.hub.saved").push_saved(self, repo_id, **kwargs)


def auto_map(model_class: type) -> dict[str, str]:
    """Where transformers finds the classes of a family, by auto class.

    Args:
        model_class: any class of the family; the others are those of its file.

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
