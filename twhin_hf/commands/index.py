"""`twhin-hf index`."""

from __future__ import annotations

from typing import Any

from twhin_hf.commands.declared import NOTHING_GIVEN, GivenOptions
from twhin_hf.serving.index.index_config import IndexConfig
from twhin_hf.table_format import TableFormat


def index(
    output: str,
    config: IndexConfig,
    table_format: TableFormat,
    vectors: str | None = None,
    add: bool = False,
    delete: str | None = None,
    memory_limit: str = "1GB",
    overwrite: bool = False,
    given: GivenOptions = NOTHING_GIVEN,
) -> None:
    """Build an index of vectors for fast search, add to it, or delete from it.

    Shards of up to --exact_limit vectors are searched exactly. Larger ones get a fast-scan index,
    whose recall is measured. All of it is read from the disk as needed.

    Args:
        output: Folder of the index.
        config: How the index is built.
        table_format: How text tables are written.
        vectors: Parquet file of `twhin-hf embed`, or a folder of such files.
        add: Where the output is there, add the vectors that it does not hold; those deleted from
            it stay away.
        delete: File of posts to delete: a table with post_id, or .txt with an id a line.
        memory_limit: Memory limit of the reader of that file.
        overwrite: Begin anew where the output holds a finished index, or one of other options.
        given: Which options were given.
    """
    from twhin_hf.commands.options import options_of_result
    from twhin_hf.errors import InputError
    from twhin_hf.forgetting.forgotten import read_forgotten
    from twhin_hf.printing import report
    from twhin_hf.run_file import run_whole_folder
    from twhin_hf.serving.index.index import build_index, load_index
    from twhin_hf.serving.index.state import is_index

    is_there = is_index(output)
    if vectors is None and (delete is None or add or overwrite or not is_there):
        raise InputError(
            "Give --vectors, to build an index or to --add to one; or --delete alone, with the "
            "output of an earlier `twhin-hf index`."
        )
    if vectors is not None and add and is_there and not overwrite:
        _add(output, vectors, {name: vars(config)[name] for name in given & vars(config).keys()})
    elif vectors is not None:
        options = options_of_result(config)
        data = {"vectors": vectors}
        with run_whole_folder(output, "index", options, data=data, overwrite=overwrite) as run:
            built = None if run.is_finished else build_index(vectors, run.path, config)
        if built:
            report(f"{built.count:,} vectors of {built.dimension:,} dimensions, saved in {output}")
    if delete is not None:
        unwanted = read_forgotten(None, delete, table_format, memory_limit).posts
        index = load_index(output)
        gone = index.delete(unwanted)
        report(f"{gone:,} vectors deleted, {index.count:,} left in {output}")


def _add(output: str, vectors: str, options: dict[str, Any]) -> None:
    """Adds vectors to an index; options that were given must be its own."""
    from twhin_hf.errors import InputError
    from twhin_hf.files import write_json
    from twhin_hf.printing import report
    from twhin_hf.run_file import with_earlier
    from twhin_hf.run_folder import RUN_NAME, fingerprints_of, option_changes, read_run
    from twhin_hf.serving.index.index import add_vectors, load_index

    index = load_index(output)
    own = {name: vars(index.config)[name] for name in options}
    if changes := option_changes(own, options):
        raise InputError(
            f"{output} is an index of other options: {'; '.join(changes.values())}. Leave them "
            "out, or add --overwrite to build it anew."
        )
    # Before the work: a record that names too much is safe, and one that names too little is not.
    if earlier := read_run(output):
        now = {"data": fingerprints_of({"vectors": vectors})}
        write_json(f"{output}/{RUN_NAME}", with_earlier(now, earlier))
    added = add_vectors(index, vectors)
    report(f"{added:,} vectors added, {index.count:,} in {output}")
