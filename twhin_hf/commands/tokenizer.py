"""`twhin-hf tokenizer`."""

from __future__ import annotations

from twhin_hf.data.text_normalization import Normalization
from twhin_hf.table_format import TableFormat


def tokenizer(
    posts: str,
    output: str,
    table_format: TableFormat,
    vocab_size: int = 250_002,
    max_length: int = 128,
    add_tokens: list[str] | None = None,
    normalize_texts: Normalization | None = None,
    columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Train an XLM-R-style unigram tokenizer from posts.

    Args:
        posts: Posts: Parquet, CSV or JSON lines; file or folder.
        output: Folder to save the tokenizer in.
        table_format: How text tables are written.
        vocab_size: Vocabulary size.
        max_length: Maximum sequence length that the tokenizer truncates to.
        add_tokens: Tokens to add, such as @user; they are never split.
        normalize_texts: Normalize users and links as XLM-T or BERTweet does, in the tokenizer.
        columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the reader.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
        progress: Show progress bars.
    """
    from twhin_hf.commands.options import options_of_result
    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.text_normalization import prepare_tokenizer
    from twhin_hf.data.tokenization import train_unigram_tokenizer
    from twhin_hf.printing import report
    from twhin_hf.run_file import run_whole_folder

    options = options_of_result(
        table_format,
        vocab_size=vocab_size,
        max_length=max_length,
        add_tokens=add_tokens,
        normalize_texts=normalize_texts,
        columns=columns,
    )
    with run_whole_folder(
        output, "tokenizer", options, data={"posts": posts}, overwrite=overwrite
    ) as run:
        if run.is_finished:
            return
        read, _ = read_posts(
            posts, columns=columns, table_format=table_format, memory_limit=memory_limit
        )
        texts = (text for batch in read.iter(batch_size=1000) for text in batch["text"])
        trained = train_unigram_tokenizer(
            texts,
            vocab_size,
            max_length=max_length,
            progress=progress,
            normalization=normalize_texts,
        )
        prepare_tokenizer(trained, add_tokens)
        trained.save_pretrained(run.path)
    report(f"{len(trained):,} tokens from {len(read):,} posts, saved in {output}")
