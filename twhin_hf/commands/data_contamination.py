"""`twhin-hf data contamination`."""

from __future__ import annotations

from twhin_hf.table_format import TableFormat


def contamination(
    pretraining: str,
    benchmark: str,
    table_format: TableFormat,
    output: str | None = None,
    columns: dict[str, str] | None = None,
    benchmark_columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    ngram: int = 50,
    overwrite: bool = False,
) -> None:
    """Count the posts of a benchmark whose text stands in a pretraining text too.

    A post counts if 50 characters in a row do (TwHIN-BERT, Section 3.3: 1.56 % of the hashtag
    benchmark).

    Args:
        pretraining: Pretraining texts (text): Parquet, CSV or JSON lines; file or folder.
        benchmark: Posts of the benchmark (text and, if there is one, id).
        table_format: How text tables are written.
        output: Parquet file to write the posts to, with their overlap.
        columns: Rename columns of the pretraining texts: NAME=COLUMN.
        benchmark_columns: Rename columns of the benchmark: NAME=COLUMN.
        memory_limit: Memory limit of the readers.
        ngram: Number of characters in a row.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
    """
    import pyarrow.parquet as pq

    from twhin_hf.benchmarks.contamination import check_contamination
    from twhin_hf.commands.options import options_of_result
    from twhin_hf.files import new_file
    from twhin_hf.printing import report
    from twhin_hf.run_file import run_file, run_metadata

    run = None
    if output:
        run = run_file(
            output,
            "data contamination",
            options_of_result(
                table_format, ngram=ngram, columns=columns, benchmark_columns=benchmark_columns
            ),
            data={"pretraining": pretraining, "benchmark": benchmark},
            overwrite=overwrite,
        )
        if run.is_finished:
            return
    found, posts = check_contamination(
        benchmark,
        pretraining,
        ngram,
        columns=columns,
        benchmark_columns=benchmark_columns,
        table_format=table_format,
        memory_limit=memory_limit,
    )
    report(
        f"{int(found.contaminated.sum()):,} of {len(found.overlap):,} posts ({found.share:.2%}) "
        f"share {ngram} characters in a row with {found.num_texts:,} pretraining texts; "
        f"{int(found.short.sum()):,} posts are shorter and were compared as a whole"
    )
    if run:
        told = posts.replace_schema_metadata(run_metadata(run.record))
        with new_file(run.path) as partial:
            pq.write_table(told, partial)
        report(f"Saved in {run.path}")
