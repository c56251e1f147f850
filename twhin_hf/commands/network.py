"""`twhin-hf network import`, `embed`, `update` and `mine`: from a network's log to pairs."""

from __future__ import annotations

from typing import Literal

from twhin_hf.commands.options import options_of_result
from twhin_hf.engines import EngineConfig
from twhin_hf.errors import InputError
from twhin_hf.network.embedding_config import NetworkEmbeddingConfig
from twhin_hf.network.log_config import LogConfig
from twhin_hf.network.mining_config import MiningConfig
from twhin_hf.network.update_config import NetworkUpdateConfig
from twhin_hf.table_format import TableFormat

Source = Literal[
    "bluesky",
    "mastodon",
    "x",
    "table",
    "movielens",
    "recbole",
    "lightgcn",
    "recsys2020",
    "mind",
]


def import_(
    source: Source,
    input: str,
    output: str,
    table_format: TableFormat,
    engine: EngineConfig,
    columns: dict[str, str] | None = None,
    user_id: str | None = None,
    content_warnings: bool = False,
    max_bad_lines: float = 0.01,
    language_model: str | None = None,
    detect_languages: bool = False,
    threads: int | None = None,
    memory_limit: str = "1GB",
    temp_directory: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Import a network's log: write engagements.parquet and posts.parquet.

    Bluesky: Jetstream, a decoded firehose, JSON of servers (listRecords) and of the AppView, CAR
    exports (twhin_hf[bluesky]). Mastodon: statuses, searches, notifications, streams, an archive's
    outbox, likes and bookmarks. X: the API's answers of v1.1 and v2, compliance files, an archive.
    Whatever is around them is looked through, one JSON value a line or a file; deletions count
    wherever in the input they stand. Files of a folder that are no log are passed over.

    import.json counts what was left out, and why; posts_without_text.txt lists the posts whose text
    is missing. Ids of users stay as they are in the log: hash them before you publish.

    Args:
        source: Network that the log is from; table, any table; or a recommender set as it is
            published, with the titles of its items as texts if they are there.
        input: File or folder: JSON, one value a line or a file, plain, .gz or .zst; CAR files; an
            unpacked archive; for table, Parquet, CSV or JSON lines.
        output: Output folder.
        table_format: How text tables are written.
        engine: What reads a table.
        columns: Rename columns, for table: what it calls user_id, post_id, relation, timestamp,
            text and lang, NAME=COLUMN.
        user_id: Owner of the archive, if the archive does not say; for mastodon also the account
            that asked the API, whose favourites and bookmarks count then.
        content_warnings: Put a Mastodon status's content warning before its text.
        max_bad_lines: Maximum share of a file's lines that may be no JSON.
        language_model: Model of fastText that identifies the language of posts without one (needs
            twhin_hf[fasttext]).
        detect_languages: Identify the language of posts without one (needs twhin_hf[languages]).
        threads: Threads of the reader (default: all cores).
        memory_limit: Memory limit of the reader.
        temp_directory: Folder to spill to (default: the output folder).
        overwrite: Begin anew where the output holds a finished run, or one of other options.
        progress: Show a progress bar.
    """
    from dataclasses import asdict

    from twhin_hf.network.sources import fasttext_detector, import_log, package_detector
    from twhin_hf.printing import report
    from twhin_hf.run_folder import run_folder

    if language_model is not None and detect_languages:
        raise InputError("give --language_model or --detect_languages, not both")
    try:
        if language_model is not None:
            detector = fasttext_detector(language_model)
        else:
            detector = package_detector() if detect_languages else None
    except ImportError as error:
        raise InputError(str(error)) from error
    options = options_of_result(
        table_format,
        source=source,
        columns=columns,
        user_id=user_id,
        content_warnings=content_warnings,
        max_bad_lines=max_bad_lines,
        detect_languages=detect_languages,
    )
    with run_folder(
        output,
        "network import",
        options,
        data={"input": input, "language_model": language_model},
        results=("engagements.parquet", "posts.parquet", "import.json"),
        overwrite=overwrite,
    ) as run:
        if run.is_finished:
            return
        done = import_log(
            source,
            input,
            output,
            columns=columns,
            table_format=table_format,
            user_id=user_id,
            content_warnings=content_warnings,
            detect_language=detector,
            max_bad_lines=max_bad_lines,
            memory_limit=memory_limit,
            threads=threads,
            temp_directory=temp_directory,
            engine=engine,
            progress=progress,
        )
    counts = asdict(done)
    del counts["passed_over"]  # told in a sentence
    report(f"Import, saved in {output}", counts)


def embed(
    engagements: str,
    output: str,
    log: LogConfig,
    config: NetworkEmbeddingConfig,
    table_format: TableFormat,
    posts: str | None = None,
    exclude_posts: str | None = None,
    engine: Literal["duckdb", "spark", "torchrec"] = "duckdb",
    spark_master: str = "local[2]",
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Learn user and post vectors from an engagement log.

    `--method twhin` embeds it as the TwHIN-BERT paper does. The same command again goes on where it
    stopped. Over several processes or machines, each of which holds a part of the vectors and sees
    the output folder: `torchrun --nproc-per-node 2 -m twhin_hf network embed --engine torchrec …`.

    Args:
        engagements: Engagement log (user_id, post_id, relation): Parquet, CSV or JSON lines; file
            or folder.
        output: Network folder to write.
        log: Options of the reader.
        config: Options of the embedding.
        table_format: How text tables are written.
        posts: Posts (post_id, text): Parquet, CSV or JSON lines; file or folder. Engagements with
            other posts are dropped.
        exclude_posts: Posts that must not take part, a file with the column post_id.
        engine: Where it runs: duckdb, this process; spark, which reads the log on many machines
            (needs twhin_hf[spark] and Java 17), and this process learns; torchrec, the processes of
            torchrun learn (needs twhin_hf[torchrec]).
        spark_master: Where Spark runs: local[2] for two threads of this machine, or the address of
            a cluster.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
        progress: Show a progress bar.
    """
    from collections.abc import Callable
    from contextlib import ExitStack
    from dataclasses import asdict
    from functools import partial
    from pathlib import Path

    from twhin_hf.files import read_json_object, write_json
    from twhin_hf.network.embedding import embed_network
    from twhin_hf.network.folder import (
        CHECKPOINT_FILE,
        METADATA_FILE,
        PARTS_FOLDER,
        Network,
        load_network,
        remove_checkpoint,
        save_network,
    )
    from twhin_hf.network.holdout import name_metrics
    from twhin_hf.network.log import read_log
    from twhin_hf.printing import report
    from twhin_hf.run_folder import run_folder
    from twhin_hf.tables import read_ids

    made = Path(output) / METADATA_FILE
    outdated = "outdated"

    def discard(folder: Path) -> None:
        remove_checkpoint(folder)
        if made.exists():  # the older network stays until the new one is whole
            write_json(made, read_json_object(made) | {outdated: True})

    with ExitStack() as stack:
        learn: Callable[..., Network | None] = partial(embed_network, memory_limit=log.memory_limit)
        options = options_of_result(log, config, table_format)
        if engine == "torchrec":
            from twhin_hf.network.processes import processes_of_torchrun
            from twhin_hf.network.sharded import check_sharded, embed_sharded

            check_sharded(config)
            processes = stack.enter_context(processes_of_torchrun())
            if processes.rank:  # process 0 reads and writes all but shards
                embed_sharded(None, config, processes=processes, output=output, progress=False)
                return
            learn = partial(embed_sharded, processes=processes)
            options["engine"] = engine
        run = stack.enter_context(
            run_folder(
                output,
                "network embed",
                options,
                data={"engagements": engagements, "posts": posts, "exclude_posts": exclude_posts},
                seed=config.seed,
                results=(METADATA_FILE, CHECKPOINT_FILE, PARTS_FOLDER),
                overwrite=overwrite,
                discard=discard,
            )
        )
        if run.is_finished:
            return
        if run.is_resumed and made.exists() and outdated not in read_json_object(made):
            network = load_network(output)  # broken off between its last file and the record's
        else:
            excluded = None
            if exclude_posts:
                excluded = read_ids(
                    exclude_posts, table_format=table_format, memory_limit=log.memory_limit
                )
            graph = read_log(
                engagements,
                posts,
                exclude_posts=excluded,
                table_format=table_format,
                engine=EngineConfig("spark" if engine == "spark" else "duckdb", spark_master),
                **vars(log),
            )
            report("Engagement log", asdict(graph.report))
            learnt = learn(graph, config, output=output, resume=run.is_resumed, progress=progress)
            assert learnt is not None
            network = learnt
            save_network(network, output)
    learned = {name: network.metadata[name] for name in ("num_training_edges", "loss")}
    report(f"Network, saved in {output}", learned | name_metrics(network.metadata["metrics"]))


def update(
    network: str,
    engagements: str,
    log: LogConfig,
    config: NetworkUpdateConfig,
    table_format: TableFormat,
    engine: EngineConfig,
    output: str | None = None,
    posts: str | None = None,
    exclude_posts: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Take new engagements into a network, without embedding it anew.

    New users and posts are added; users and posts without a new engagement keep their vectors. The
    same engagements again change nothing. The metrics in network.json remain those of the
    embedding; what each update added stands there under updates.

    Args:
        network: Network folder to start from.
        engagements: Log of new engagements (user_id, post_id, relation): Parquet, CSV or JSON
            lines; file or folder.
        log: Options of the reader; minimum degrees count new engagements alone.
        config: Options of the update.
        table_format: How text tables are written.
        engine: What reads the log and the posts.
        output: Network folder to write (default: in place).
        posts: Posts (post_id, text): Parquet, CSV or JSON lines; file or folder. Engagements with
            other posts are dropped.
        exclude_posts: Posts that must not take part, a file with the column post_id.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
        progress: Show a progress bar.
    """
    from collections.abc import Iterator
    from contextlib import contextmanager
    from dataclasses import asdict
    from pathlib import Path

    from twhin_hf.network.folder import METADATA_FILE, load_network, save_network
    from twhin_hf.network.log import read_log
    from twhin_hf.network.updating import update_network
    from twhin_hf.printing import report
    from twhin_hf.run_folder import Run, lock_folder, run_folder
    from twhin_hf.tables import read_ids

    target = Path(output or network)
    in_place = target.resolve() == Path(network).resolve()

    @contextmanager
    def run_in_place() -> Iterator[Run]:
        with lock_folder(target):
            yield Run()  # the folder's record remains that of the embedding

    run_of = (
        run_in_place()
        if in_place and target.exists()
        else run_folder(
            target,
            "network update",
            options_of_result(log, config, table_format),
            data={
                "network": network,
                "engagements": engagements,
                "posts": posts,
                "exclude_posts": exclude_posts,
            },
            seed=config.seed,
            results=(METADATA_FILE,),
            product=(METADATA_FILE,),
            overwrite=overwrite,
        )
    )
    with run_of as run:
        if run.is_finished:
            return
        old = load_network(network)
        excluded = None
        if exclude_posts:
            excluded = read_ids(
                exclude_posts, table_format=table_format, memory_limit=log.memory_limit
            )
        graph = read_log(
            engagements,
            posts,
            exclude_posts=excluded,
            table_format=table_format,
            engine=engine,
            **vars(log),
        )
        report("New engagement log", asdict(graph.report))
        updated = update_network(old, graph, config, progress=progress)
        if updated is old:
            report(f"Nothing is new: {network} has all of these engagements")
        if updated is not old or not in_place:
            save_network(updated, target)
    if updated is not old:
        names = {
            "num_users": "new users",
            "num_posts": "new posts",
            "num_edges": "new edges",
            "passed_over": "edges that it had",
            "learnt_edges": "edges learnt, old ones among them",
            "loss": "loss",
        }
        entry = updated.metadata["updates"][-1]
        report(f"Network, saved in {target}", {shown: entry[name] for name, shown in names.items()})


def mine(
    network: str,
    posts: str,
    output: str,
    config: MiningConfig,
    table_format: TableFormat,
    engine: EngineConfig,
    columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Mine pairs of posts whose network vectors are close.

    Under `torchrun` its processes, and with --engine spark its executors, make the indexes
    and search them, each for a share of the posts.

    Args:
        network: Network folder.
        posts: Posts (post_id, text): Parquet, CSV or JSON lines; file or folder.
        output: Parquet file of pairs to write.
        config: Options of the mining.
        table_format: How text tables are written.
        engine: What reads the posts; Spark searches too.
        columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the reader.
        overwrite: Begin anew where the output holds a finished run, or one of other options.
        progress: Show a progress bar.
    """
    from dataclasses import asdict

    from twhin_hf.network.folder import load_network
    from twhin_hf.network.mining import mine_pairs
    from twhin_hf.printing import report
    from twhin_hf.processes import launched_workers
    from twhin_hf.run_file import run_file

    with launched_workers() as (is_first, workers):
        if not is_first:
            return
        run = run_file(
            output,
            "network mine",
            options_of_result(config, table_format, columns=columns),
            data={"network": network, "posts": posts},
            seed=config.seed,
            overwrite=overwrite,
        )
        if run.is_finished:
            return
        found = mine_pairs(
            load_network(network),
            posts,
            output,
            config,
            progress=progress,
            columns=columns,
            table_format=table_format,
            memory_limit=memory_limit,
            engine=engine,
            workers=workers,
            record=run.record,
        )
        report(f"Pairs, saved in {output}", asdict(found))
