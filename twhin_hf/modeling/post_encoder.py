"""What every `Twhin…Model` does beyond its backbone: packed rows, embeddings and `encode`."""

from __future__ import annotations

import gc
import inspect
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import can_return_tuple

from .heads import pooled_width
from .packed_attention import (
    has_windows,
    packed_attention_arguments,
    packed_attention_backend,
    wants_flat_rows,
)
from .pooling import pool, segment_ids_of_rows, token_mask
from .saving import SavingMixin
from .settings import HEAD_NAMES, POOLINGS

POST_LENGTH = 128
TOKENIZED_AT_ONCE = 65_536
TOKENS_A_THREAD = 1024
"""Tokens of a batch on a CPU at most, for each thread: what its caches hold is faster."""
COPIED_AT_ONCE = 16_384
"""Embeddings that stay on the device until they are copied, together."""
HEAD_KEYS = rf"^({'|'.join(HEAD_NAMES)})_head\."
"""The weights of the objectives' heads, which a pretraining checkpoint holds."""
NO_POOLER = (
    "there is no pooler_output: the checkpoint of a language model holds no trained pooler, and "
    "what stock classes return by that name is noise that changes at every load. Read "
    "`output.embeddings`, or call `model.encode(texts)`; `pooling=` says which tokens it reads"
)


@dataclass
class PostEncoderOutput(BaseModelOutput):
    """Output of a `Twhin…Model`.

    Args:
        last_hidden_state: `[rows, width, hidden]`.
        embeddings: `[num_posts, hidden]`, or `[num_posts, 2 · hidden]` for `combined` pooling.
    """

    embeddings: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "pooler_output":
            raise AttributeError(NO_POOLER)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getitem__(self, key: Any) -> Any:
        if key == "pooler_output":
            raise KeyError(NO_POOLER)
        return super().__getitem__(key)


class PostEncoderMixin(SavingMixin):
    """Put before a backbone without pooler: `class TwhinBertModel(PostEncoderMixin, BertModel)`."""

    position_offset: int = 0
    """The position id of a post's first token (RoBERTa's backbones begin at `padding_idx + 1`)."""

    @property
    def longest_post(self) -> int:
        """Tokens that the model reads at most."""
        return int(self.config.max_position_embeddings) - self.position_offset

    @property
    def max_seq_length(self) -> int:
        """Default maximum sequence length: the config's or 128, or what the model reads if less."""
        return min(self.config.max_seq_length or POST_LENGTH, self.longest_post)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        num_posts: int | None = None,
        pooling: str | None = None,
        inputs_embeds: Tensor | None = None,
        num_virtual_tokens: int | None = None,
        boundaries: Tensor | None = None,
        longest: int | None = None,
        **kwargs: Any,
    ) -> PostEncoderOutput:
        """Hidden states of the tokens and an embedding of each post.

        A padded batch comes with `attention_mask`, a packed one with `segment_ids`.

        Args:
            input_ids: `[rows, width]`.
            attention_mask: `[rows, width]`, 1 on the tokens of a padded batch; one post a row. Or
                any other mask that the stock class takes, if `token_mask` can read it.
            segment_ids: `[rows, width]`, the number 1 … `num_posts` of each token's post and 0 on
                padding; several posts a row.
            position_ids: `[rows, width]`, from 0 at each post's first token; needed with
                `segment_ids`.
            num_posts: How many posts there are; read from `segment_ids` by default.
            pooling: In place of the config's.
            inputs_embeds: `[rows, width, hidden]`, vectors of the tokens in place of `input_ids`.
            num_virtual_tokens: How many of `inputs_embeds` are no tokens of the post but come
                before it, as peft's prompt tuning puts them there; pooling leaves them out.
            boundaries: int32 `[num_segments + 1]`, where each post of a packed batch of one row
                begins and ends; read from `segment_ids` by default. Only for backends that take
                flat rows (`wants_flat_rows`).
            longest: Tokens of the longest post, or more; comes with `boundaries`.
            **kwargs: As the backbone takes; `return_dict=False` gives a tuple.

        Raises:
            ValueError: Packed rows without `position_ids`, or with an `attention_mask`; neither or
                both of `input_ids` and `inputs_embeds`; an `attention_mask` that pooling cannot
                read; a prompt method of peft whose `num_virtual_tokens` is not given, or prefix
                tuning of a backbone that does not take it.
        """
        tokens = inputs_embeds if input_ids is None else input_ids
        if tokens is None or (input_ids is not None and inputs_embeds is not None):
            # The stock class says what is wrong.
            return super().forward(input_ids=input_ids, inputs_embeds=inputs_embeds)
        shape = tokens.shape[:2]
        if segment_ids is None:
            self._check_virtual_tokens(input_ids, num_virtual_tokens, kwargs)
            real = token_mask(attention_mask, tokens, num_virtual_tokens or 0)
            segment_ids, num_posts = segment_ids_of_rows(real), shape[0]
            kwargs["attention_mask"] = attention_mask
        else:
            if attention_mask is not None:
                raise ValueError("give attention_mask (padded) or segment_ids (packed), not both")
            if position_ids is None:
                raise ValueError("packed rows need position_ids that restart with each post")
            num_posts = int(segment_ids.max()) if num_posts is None else num_posts
            position_ids = position_ids + self.position_offset
            if wants_flat_rows(self.config):
                tokens, segment_ids, position_ids = (
                    values.flatten(0, 1)[None] for values in (tokens, segment_ids, position_ids)
                )
            kwargs |= packed_attention_arguments(
                segment_ids, self.config, self.dtype, boundaries, longest
            )
        output = super().forward(
            input_ids=None if input_ids is None else tokens,
            inputs_embeds=None if inputs_embeds is None else tokens,
            position_ids=position_ids,
            return_dict=True,
            **kwargs,
        )
        hidden, layers = output.last_hidden_state, output.hidden_states
        embeddings = pool(
            hidden,
            segment_ids,
            pooling or self.config.pooling,
            num_posts,
            None if input_ids is None else tokens,
        )
        if hidden.shape[:2] != shape:
            hidden = hidden.view(*shape, -1)
            layers = layers and tuple(layer.view(*shape, -1) for layer in layers)
        return PostEncoderOutput(
            last_hidden_state=hidden,
            embeddings=embeddings,
            hidden_states=layers,
            attentions=output.attentions,
        )

    def _check_virtual_tokens(
        self, input_ids: Tensor | None, num_virtual_tokens: int | None, kwargs: dict[str, Any]
    ) -> None:
        """Refuses what would be pooled wrongly below peft's prompt methods.

        Raises:
            ValueError: As `forward` says.
        """
        name = type(self).__name__
        prefix, forward = kwargs.get("past_key_values"), super().forward
        if prefix is not None and "past_key_values" not in inspect.signature(forward).parameters:
            raise ValueError(
                f"{name} takes no past_key_values, so that prefix tuning cannot reach it; use "
                "LoRA, or prompt tuning with num_virtual_tokens"
            )
        if input_ids is not None or num_virtual_tokens is not None:
            return
        # peft always names these two, and has frozen the encoder; its other methods, which change
        # the encoder's own layers, leave their config there.
        is_wrapped = {"output_attentions", "output_hidden_states"} <= kwargs.keys()
        is_frozen = not any(weight.requires_grad for weight in self.parameters())
        if is_wrapped and is_frozen and not hasattr(self, "peft_config"):
            raise ValueError(
                f"{name} cannot tell how many of these inputs_embeds are virtual tokens, which are "
                "no part of a post: call the model with num_virtual_tokens, that of peft's config; "
                "0 where there are none"
            )

    @torch.inference_mode()
    def encode(
        self,
        texts: str | Sequence[str],
        batch_size: int = 64,
        max_length: int | None = None,
        normalize_embeddings: bool | None = None,
        pooling: str | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        show_progress_bar: bool = False,
        convert_to_numpy: bool = False,
        convert_to_tensor: bool = True,
        normalize: bool | None = None,
    ) -> Any:
        """Embeddings of texts.

        Texts are sorted by length and batched by a budget of `batch_size · max_length` tokens,
        so that short posts make large batches with little padding; on a GPU in half precision they
        lie end to end without any, where there is attention for that (`packed_attention_backend`).

        Args:
            texts: The posts, or a single one.
            batch_size: How many posts of `max_length` tokens a batch may hold; on a CPU it never
                holds more than 1,024 tokens a thread.
            max_length: Maximum sequence length; longer posts are truncated. By default
                `max_seq_length`.
            normalize_embeddings: Scale to length 1; by default as the config says.
            pooling: In place of the config's.
            tokenizer: By default the one saved beside the model.
            show_progress_bar: Show a bar that counts the posts.
            convert_to_numpy: Give a NumPy array.
            convert_to_tensor: Give a tensor (the default), unless `convert_to_numpy` is set; false
                gives an array too.
            normalize: Old name of `normalize_embeddings`.

        Returns:
            float32 `[len(texts), hidden]` (`2 · hidden` for `combined`) on the CPU, in the order
            of `texts`; `[hidden]` for a single text.

        Raises:
            ValueError: A text that is no string, an unknown pooling, a `max_length` longer than
                the model's, a tokenizer with more tokens than the model, no tokenizer found, or a
                prompt method of peft around the model (`check_not_prompted`).
        """
        pooling = pooling or self.config.pooling
        if pooling not in POOLINGS:
            raise ValueError(
                f"pooling is {pooling!r}; choose one of {POOLINGS} (`twhin-hf embed "
                "--pooling` also gives the outputs of heads)"
            )
        check_not_prompted(self)
        posts = list_of_texts(texts)
        tokenizer = tokenizer or self._own_tokenizer()
        max_length = self.check_tokenizer(tokenizer, max_length)
        width = pooled_width(self.config.hidden_size, pooling)
        embeddings = torch.empty(len(posts), width)
        was_training, attention = self.training, self.config._attn_implementation
        self.eval()
        device = input_device(self)
        try:
            if attention == "sdpa":
                windows = has_windows(self.config)
                fastest = packed_attention_backend(device, self.dtype, 0.0, windows)
                self.set_attn_implementation(fastest)
            budget = batch_size * max_length
            if device.type == "cpu":
                budget = min(budget, TOKENS_A_THREAD * torch.get_num_threads())
            options = budget, max_length, show_progress_bar, wants_flat_rows(self.config)
            on_device: list[Tensor] = []
            places: list[Tensor] = []
            num_waiting = 0
            for rows, batch in batches_of_texts(posts, tokenizer, *options):
                inputs = inputs_on(device, batch)
                output: Any = self.forward(**inputs, pooling=pooling, return_dict=True)
                on_device.append(output.embeddings.float())
                places.append(rows)
                num_waiting += len(rows)
                # A copy waits for the device: not one for each batch.
                if num_waiting >= COPIED_AT_ONCE:
                    embeddings[torch.cat(places)] = torch.cat(on_device).cpu()
                    on_device, places, num_waiting = [], [], 0
            if places:
                embeddings[torch.cat(places)] = torch.cat(on_device).cpu()
        finally:
            self.train(was_training)
            if self.config._attn_implementation != attention:
                self.set_attn_implementation(attention)
        scaled = renamed_option(normalize, normalize_embeddings)
        return finish_embeddings(
            embeddings,
            is_single=isinstance(texts, str),
            normalize_embeddings=self.config.normalize_embeddings if scaled is None else scaled,
            convert_to_numpy=convert_to_numpy or not convert_to_tensor,
        )

    def _own_tokenizer(self) -> PreTrainedTokenizerBase:
        if getattr(self, "_tokenizer", None) is None:
            name = self.config._name_or_path
            if not name:
                raise ValueError("this model was not loaded from a folder: pass tokenizer=")
            revision = getattr(self.config, "_commit_hash", None)
            try:
                self._tokenizer = AutoTokenizer.from_pretrained(
                    name, revision=revision, trust_remote_code=False
                )
                # Some damage shows only where there is a text, with a word that is not known.
                self._tokenizer("a \uf8ff", truncation=True)
            # Of a damaged file the library raises whatever comes, bare `Exception` among it.
            except Exception as error:
                raise ValueError(
                    f"the tokenizer of {name} cannot be used ({error}); save it there again, or "
                    "pass tokenizer="
                ) from error
        return self._tokenizer

    def check_tokenizer(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None
    ) -> int:
        """Checks that the model can read what the tokenizer makes.

        Returns:
            `max_length`; by default `max_seq_length`.

        Raises:
            ValueError: A tokenizer with more tokens than the model, or a `max_length` longer than
                the model's.
        """
        vocabulary = len(cast(nn.Embedding, self.get_input_embeddings()).weight)
        if len(tokenizer) > vocabulary:
            raise ValueError(
                f"the tokenizer has {len(tokenizer):,} tokens and the model embeds {vocabulary:,}; "
                "load the model's own tokenizer, or call model.resize_token_embeddings"
            )
        if max_length is None:
            return self.max_seq_length
        if max_length > self.longest_post:
            raise ValueError(
                f"max_length is {max_length}; this model reads {self.longest_post} at most"
            )
        return max_length


def check_not_prompted(model: nn.Module) -> None:
    """Checks that no prompt method of peft is around a model that is asked to encode.

    Prefix tuning, prompt tuning and p-tuning live in the forward of peft's wrapper, whose `encode`
    is the model's own: the vectors would be those of the model without them.

    Raises:
        ValueError: There is one.
    """
    # peft freezes what it wraps; so most models need no search.
    if "peft" not in sys.modules or any(weight.requires_grad for weight in model.parameters()):
        return
    # Nothing in a model tells of its wrapper: only what refers to it does.
    for owner in gc.get_referrers(model):
        if isinstance(owner, dict) and "prompt_encoder" in owner and owner["base_model"] is model:
            raise ValueError(
                "this model is wrapped for prefix or prompt tuning, which encode would leave out; "
                "call the wrapper: peft_model(**tokenizer(texts, padding=True, "
                "return_tensors='pt')).embeddings, with num_virtual_tokens= for prompt tuning"
            )


def input_device(module: nn.Module) -> torch.device:
    """Where a module's inputs belong: on the CPU where all of its weights are offloaded."""
    devices = (weight.device for weight in module.parameters())
    return next((device for device in devices if device.type != "meta"), torch.device("cpu"))


def inputs_on(device: torch.device, batch: dict[str, Any]) -> dict[str, Any]:
    """A batch whose tensors are on a device, or on their way there."""
    # A copy from memory that is not pinned waits for all that a GPU has been given before.
    is_gpu = device.type == "cuda"
    return {
        name: (value.pin_memory() if is_gpu else value).to(device, non_blocking=is_gpu)
        if isinstance(value, Tensor)
        else value
        for name, value in batch.items()
    }


def list_of_texts(texts: str | Sequence[str]) -> list[str]:
    """The texts as a list, a single one too.

    Half of a character (a lone surrogate), as texts cut by others have it, becomes U+FFFD.

    Raises:
        ValueError: One of them is no string.
    """
    posts = [texts] if isinstance(texts, str) else list(texts)
    wrong = next((i for i, text in enumerate(posts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise ValueError(f"text {wrong} is {posts[wrong]!r}; every text must be a string")
    return [_with_whole_characters(text) if _HALF.search(text) else text for text in posts]


_HALF = re.compile("[\ud800-\udfff]")


def _with_whole_characters(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def batches_of_texts(
    posts: list[str],
    tokenizer: PreTrainedTokenizerBase,
    budget: int,
    max_length: int,
    show_progress_bar: bool = False,
    is_flat: bool = False,
) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """Batches of texts, tokenized a block at a time and sorted by length in each.

    Args:
        posts: The texts.
        tokenizer: Of the model.
        budget: Tokens of a batch at most; see `sorted_batches`.
        max_length: Maximum sequence length.
        show_progress_bar: Show a bar that counts the posts.
        is_flat: Give one row without padding.

    Yields:
        The rows in `posts` of a batch, and its `input_ids` and `attention_mask` `[rows, width]`; or
        what `flat_batches` gives.
    """
    with tqdm(total=len(posts), desc="Encoding", disable=not show_progress_bar) as bar:
        for start in range(0, len(posts), TOKENIZED_AT_ONCE):
            block = posts[start : start + TOKENIZED_AT_ONCE]
            ids = tokenizer(block, truncation=True, max_length=max_length)["input_ids"]
            batches: Iterator[tuple[Tensor, dict[str, Any]]] = (
                flat_batches(ids, budget)
                if is_flat
                else sorted_batches(ids, budget, tokenizer.pad_token_id)
            )
            for rows, batch in batches:
                yield start + rows, batch
                bar.update(len(rows))


def finish_embeddings(
    embeddings: Tensor, *, is_single: bool, normalize_embeddings: bool, convert_to_numpy: bool
) -> Any:
    """Embeddings `[num_posts, size]` as the options of `encode` ask for them."""
    if normalize_embeddings:
        embeddings = torch.nn.functional.normalize(embeddings, dim=-1)
    if is_single:
        embeddings = embeddings[0]
    return embeddings.numpy() if convert_to_numpy else embeddings


def renamed_option(
    normalize: bool | None, normalize_embeddings: bool | None, stacklevel: int = 4
) -> bool | None:
    """The value of `normalize_embeddings`, also where it is given by its old name.

    Args:
        normalize: The old option.
        normalize_embeddings: The new one.
        stacklevel: Of the warning: 4 below an `encode` that a decorator wraps, else 3.
    """
    if normalize is None:
        return normalize_embeddings
    warnings.warn(
        "normalize= is called normalize_embeddings= now, as in sentence-transformers; the old name "
        "goes with the next release",
        FutureWarning,
        stacklevel=stacklevel,
    )
    return normalize


def sorted_batches(
    ids: list[list[int]], budget: int, pad_token_id: int
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Padded batches, longest posts first.

    Args:
        ids: The tokens of each post.
        budget: Tokens of a batch at most, padding among them; a longer post is a batch alone.
        pad_token_id: What fills the rows.

    Yields:
        The rows in `ids` of a batch's posts, and its `input_ids` and `attention_mask`
        `[rows, width]`.
    """
    lengths = torch.tensor([len(post) for post in ids])
    tokens = torch.tensor(list(chain.from_iterable(ids)))
    offsets = lengths.cumsum(0) - lengths
    order = lengths.argsort(descending=True, stable=True)
    start = 0
    while start < len(order):
        width = int(lengths[order[start]])
        rows = order[start : start + max(1, budget // width)]
        columns = torch.arange(width)
        mask = columns < lengths[rows, None]
        places = (offsets[rows, None] + columns).clamp(max=len(tokens) - 1)
        input_ids = torch.where(mask, tokens[places], pad_token_id)
        yield rows, {"input_ids": input_ids, "attention_mask": mask.long()}
        start += len(rows)


def flat_batches(ids: list[list[int]], budget: int) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """Batches of one row without padding, longest posts first.

    Args:
        ids: The tokens of each post.
        budget: Tokens of a batch at most; a longer post is a batch alone.

    Yields:
        The rows in `ids` of a batch's posts, and what `forward` takes of a packed batch:
        `input_ids`, `segment_ids` and `position_ids` `[1, num_tokens]`, `boundaries`
        `[num_posts + 1]`, `num_posts` and `longest`.
    """
    lengths = torch.tensor([len(post) for post in ids])
    tokens = torch.tensor(list(chain.from_iterable(ids)))
    order = lengths.argsort(descending=True, stable=True)
    ends = lengths[order].cumsum(0)
    offsets = lengths.cumsum(0) - lengths
    start, done = 0, 0
    while start < len(order):
        end = max(start + 1, int(torch.searchsorted(ends, done + budget, right=True)))
        rows = order[start:end]
        own = ends[start:end] - done
        own_lengths = lengths[rows]
        numbers = torch.repeat_interleave(torch.arange(len(rows)), own_lengths)
        positions = torch.arange(int(own[-1])) - (own - own_lengths)[numbers]
        yield (
            rows,
            {
                "input_ids": tokens[offsets[rows][numbers] + positions][None],
                "segment_ids": numbers[None] + 1,
                "position_ids": positions[None],
                "boundaries": nn.functional.pad(own, (1, 0)).to(torch.int32),
                "num_posts": len(rows),
                "longest": int(own_lengths[0]),
            },
        )
        start, done = end, int(ends[end - 1])
