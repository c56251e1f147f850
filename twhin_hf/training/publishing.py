"""Publishing what a trainer has trained: its folder, checked and in one commit."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import Trainer

from twhin_hf.errors import InputError

logger = logging.getLogger(__name__)

STRATEGIES = ("end", "every_save")
"""The others of Trainer publish the state of the optimizer."""


class PublishingMixin(Trainer):
    """Put before `Trainer`: what it publishes goes through the checks of `twhin-hf push`.

    Trainer itself uploads its folder as it is, with `training_args.bin`, a pickle, in it.
    """

    hub_model_id: Any

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Makes the repository, or sees that it can be written to, before any training.

        Raises:
            InputError: A strategy that publishes more than a model, or as
                `twhin_hf.hub.client.open_repository`.
        """
        strategy = self.args.hub_strategy
        if strategy not in STRATEGIES:
            raise InputError(
                f"hub_strategy is {getattr(strategy, 'value', strategy)!r}, which publishes the "
                f"state of the optimizer; choose one of {STRATEGIES}"
            )
        if not self.is_world_process_zero():
            return
        # Late: only a run that publishes needs it.
        from twhin_hf.hub.client import open_repository

        name = self.args.hub_model_id or Path(str(self.args.output_dir)).resolve().name
        private = self.args.hub_private_repo if private is None else private
        token = token or self.args.hub_token
        self.hub_model_id = open_repository(name, private=bool(private), token=token).repo_id

    def push_to_hub(  # type: ignore[override] # what Trainer takes for its own card has no use
        self,
        commit_message: str | None = "End of training",
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        base_model: str | None = None,
        dry_run: bool = False,
    ) -> Any:
        """Saves model, tokenizer and log, and publishes them with code, card and results.

        Args:
            commit_message: Commit message.
            private: Only its owners may see it; by default `args.hub_private_repo`.
            token: Token with the right to write; by default `args.hub_token`, or the one that
                `hf auth login` has kept.
            revision: Must be `main` or none.
            base_model: Of an adapter, the repository of the model it stands on.
            dry_run: Publish nothing and ask no network.

        Returns:
            What went out, or would go (`twhin_hf.hub.client.Push`); none on other processes than
            the first.

        Raises:
            InputError: Another branch, or as `twhin_hf.hub.push.push_model`.
        """
        if revision not in (None, "main"):
            raise InputError(f"revision is {revision!r}; a model is published on main")
        if self.hub_model_id is None and not dry_run:
            self.init_hf_repo(token, private)
        self.save_model(_internal_call=True)
        self.save_state()
        if not self.is_world_process_zero():
            return None
        from twhin_hf.hub.push import plan_push, push_model

        folder = str(self.args.output_dir)
        if dry_run:
            name = self.hub_model_id or self.args.hub_model_id or Path(folder).resolve().name
            return plan_push(folder, name, base_model=base_model)
        return push_model(
            folder,
            str(self.hub_model_id),
            private=bool(self.args.hub_private_repo if private is None else private),
            token=token or self.args.hub_token,
            message=commit_message or "End of training",
            base_model=base_model,
        )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Publishes a checkpoint's model; a Hub that is down does not end a training."""
        if not self.is_world_process_zero() or self.args.hub_strategy == "end":
            return
        from twhin_hf.hub.push import push_model

        try:
            push_model(
                checkpoint_folder,
                str(self.hub_model_id),
                private=bool(self.args.hub_private_repo),
                token=self.args.hub_token,
                message=f"Training in progress, step {self.state.global_step}",
            )
        except ValueError as error:
            logger.warning("%s was not published: %s", checkpoint_folder, error)
