"""`twhin-hf convert`."""

from __future__ import annotations

from twhin_hf.commands.options import Pooling


def convert(
    checkpoint: str,
    output: str,
    tokenizer: str | None = None,
    revision: str | None = None,
    pooling: Pooling | None = None,
    to_encoder: bool = False,
) -> None:
    """Convert a checkpoint into a folder of ours, or a folder of ours into a plain encoder.

    Checkpoints of BERT, mBERT, RoBERTa, XLM-R, XLM-T and ModernBERT are read, including those of
    old transformers versions (pytorch_model.bin) and of fairseq (model.pt and dict.txt). All
    weights are compared afterwards, and everything that the new folder lacks is named. The Hub is
    asked only if a repository is named.

    Args:
        checkpoint: Checkpoint: folder or Hub repository.
        output: New folder.
        tokenizer: Tokenizer: folder or Hub repository (default: the checkpoint's own).
        revision: Revision of the repository.
        pooling: Pooling of the token vectors (default: the checkpoint's own, or combined).
        to_encoder: Write the stock encoder alone, without our code and heads, as
            text-embeddings-inference and vLLM read it (pooling: cls or mean_all).
    """
    from twhin_hf.conversion.convert import convert_checkpoint
    from twhin_hf.conversion.encoder import convert_to_encoder
    from twhin_hf.report import report

    done = (convert_to_encoder if to_encoder else convert_checkpoint)(
        checkpoint, output, tokenizer=tokenizer, revision=revision, pooling=pooling
    )
    report(
        f"{done.model}: {done.compared:,} tensors compared, largest difference "
        f"{done.max_difference:g}; {len(done.renamed):,} were renamed"
    )
    report(f"Left out: {', '.join(done.dropped) or 'nothing'}")
    report(f"Added: {', '.join(done.added) or 'nothing'}")
    for note in done.notes:
        report(f"Note: {note}")
    report(f"Saved in {output}")
