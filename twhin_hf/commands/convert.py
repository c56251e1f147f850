"""`twhin-hf convert`."""

from __future__ import annotations

from twhin_hf.commands.options import Pooling, model_identity, options_of_result
from twhin_hf.errors import InputError


def convert(
    checkpoint: str,
    output: str,
    tokenizer: str | None = None,
    revision: str | None = None,
    pooling: Pooling | None = None,
    to_encoder: bool = False,
    merge: bool = False,
    overwrite: bool = False,
) -> None:
    """Convert a checkpoint or an adapter to a folder of ours, or one of ours to a plain encoder.

    Checkpoints of BERT, mBERT, RoBERTa, XLM-R, XLM-T, ModernBERT and DistilBERT are read, including
    those of old transformers versions (pytorch_model.bin) and of fairseq (model.pt and dict.txt).
    All weights are compared afterwards, and everything that the new folder lacks is named. The Hub
    is asked only if a repository is named.

    Args:
        checkpoint: Checkpoint: folder or Hub repository.
        output: New folder.
        tokenizer: Tokenizer: folder or Hub repository (default: the checkpoint's own).
        revision: Revision of the repository.
        pooling: Pooling of the token vectors (default: the checkpoint's own, or combined).
        to_encoder: Write the stock encoder alone, without our code and heads, as
            text-embeddings-inference and vLLM read it (pooling: cls or mean_all).
        merge: Merge an adapter (peft) into the weights that it was trained on.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    from twhin_hf.conversion.convert import convert_checkpoint
    from twhin_hf.conversion.encoder import convert_to_encoder
    from twhin_hf.conversion.merge import merge_adapter
    from twhin_hf.printing import report
    from twhin_hf.run_file import run_whole_folder

    if merge and to_encoder:
        raise InputError("to_encoder merges an adapter by itself; leave out merge")
    way = convert_to_encoder if to_encoder else merge_adapter if merge else convert_checkpoint
    own = {"checkpoint": model_identity(checkpoint, revision)}
    if tokenizer:
        own["tokenizer"] = model_identity(tokenizer)
    options = options_of_result(pooling=pooling, to_encoder=to_encoder, merge=merge)
    with run_whole_folder(output, "convert", options, fingerprints=own, overwrite=overwrite) as run:
        if run.is_finished:
            return
        done = way(checkpoint, run.path, tokenizer=tokenizer, revision=revision, pooling=pooling)
    report(
        f"{done.model}: {done.compared:,} tensors compared, largest difference "
        f"{done.max_difference:g}; {len(done.renamed):,} were renamed"
    )
    report(f"Left out: {', '.join(done.dropped) or 'nothing'}")
    report(f"Added: {', '.join(done.added) or 'nothing'}")
    for note in done.notes:
        report(f"Note: {note}")
    report(f"Saved in {output}")
