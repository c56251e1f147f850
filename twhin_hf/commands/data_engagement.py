"""`twhin-hf data engagement` and `engagement-build`."""

from __future__ import annotations

from typing import Any

from twhin_hf.benchmarks.engagement.recipe import EngagementRecipe
from twhin_hf.commands.options import DatasetOutput, key_fingerprint, options_of_result
from twhin_hf.data.split_config import SplitConfig
from twhin_hf.table_format import TableFormat

_TASK = """\
Engagement prediction (Zhang et al., [TwHIN-BERT](https://arxiv.org/abs/2209.07562), KDD 2023,
Section 3.2): which post does a user engage with? Config `en` holds the records (`user`, a network
vector, and `id`, a post the user engaged with), config `en-posts` the posts (`id`, `text`, `lang`).
The splits share no post."""
_BUILT = """\


Ids of posts are keyed hashes, whose key is not published. Users have none, and come in an order
drawn from the system's randomness. Each user has at most one record a language, engaged with
{min_user_engagements} posts or more, each post was engaged with by {min_post_engagements} users or
more, and each language has records of {min_language_users} users or more. The vectors are those of
the network: whoever has it can find its users here."""
_LIMITS = """\
- **It holds vectors of users.** Ids are left out, but a vector tells what a person likes, and with
  the network it came from it tells who it is. Publish it only where these people have agreed.
- The texts belong to those who wrote them, and terms of the place they come from may forbid to pass
  them on.
- Who reads and does nothing is not in it; popular posts and busy people weigh more.
- Do not use it to single out people, or to guess their traits."""
_IN_TIME = """\


Posts are split by time: those of train and the records with them are before {validation_from},
those of validation before {test_from}, and those of test come then. The vectors are of the time of
train."""


def engagement(
    data_dir: str,
    dataset: DatasetOutput,
    languages: list[str] | None = None,
    progress: bool = True,
) -> None:
    """Write an engagement benchmark as a data set.

    Posts and records are told apart by the names of their columns; load_dataset reads the result
    without our code.

    Args:
        data_dir: Folder with posts (id, text) and records (user, a vector, and id) of each language
            and split.
        dataset: Where the data set goes.
        languages: Languages to write (default: all).
        progress: Show progress bars.
    """
    from twhin_hf.benchmarks.engagement.loading import engagement_configs
    from twhin_hf.benchmarks.hub_folder import DatasetCard

    card = DatasetCard(title="Engagement prediction", text=_TASK, limits=_LIMITS)
    options = options_of_result(languages=languages)
    with dataset.run("data engagement", options, data={"data_dir": data_dir}) as run:
        if not run.is_finished:
            dataset.write(engagement_configs(data_dir, languages), card, run.path)
    dataset.finish()


def engagement_build(
    posts: str,
    engagements: str,
    network: str,
    dataset: DatasetOutput,
    recipe: EngagementRecipe,
    split: SplitConfig,
    table_format: TableFormat,
    exclude_posts: str | None = None,
    key_file: str | None = None,
    columns: dict[str, str] | None = None,
    post_columns: dict[str, str] | None = None,
    memory_limit: str = "1GB",
    progress: bool = True,
) -> None:
    """Build an engagement benchmark that can be published from your own log.

    Ids are keyed hashes, and rare users, posts and languages are left out. The network must have
    been embedded without the validation and test posts (`twhin-hf split`) and, where posts are
    split by time, without the engagements of their time (`--before`).

    Args:
        posts: Posts (post_id, text, lang): Parquet, CSV or JSON lines; file or folder.
        engagements: Whole engagement log (user_id, post_id).
        network: Network folder with the users' vectors.
        dataset: Where the data set goes.
        recipe: How the benchmark is made.
        split: By what posts are split.
        table_format: How text tables are written.
        exclude_posts: Posts that a text model was pretrained on, a file with the column post_id. If
            these are all posts of train, another --split_seed splits the rest anew.
        key_file: File with 16 to 64 random bytes, the secret key of the hashes; made if it is not
            there (default: OUTPUT.key). With the same key an id has the same hash again.
        columns: Rename columns of the log: NAME=COLUMN.
        post_columns: Rename columns of the posts: NAME=COLUMN.
        memory_limit: Memory limit of the readers.
        progress: Show progress bars.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from twhin_hf.benchmarks.engagement.building import build_engagement_benchmark
    from twhin_hf.benchmarks.hub_folder import DatasetCard
    from twhin_hf.data.posts import read_posts
    from twhin_hf.data.time_splits import make_split
    from twhin_hf.network.folder import load_network
    from twhin_hf.network.log import read_log
    from twhin_hf.printing import report
    from twhin_hf.tables import read_ids

    key = dataset.read_key(key_file)
    with dataset.run(
        "data engagement-build",
        options_of_result(recipe, split, table_format, columns=columns, post_columns=post_columns),
        data={
            "posts": posts,
            "engagements": engagements,
            "network": network,
            "exclude_posts": exclude_posts,
        },
        fingerprints=key_fingerprint(key),
        seed=recipe.seed,
    ) as run:
        if not run.is_finished:
            read, _ = read_posts(
                posts, columns=post_columns, table_format=table_format, memory_limit=memory_limit
            )
            excluded: list[str] = []
            if exclude_posts:
                excluded = read_ids(
                    exclude_posts, table_format=table_format, memory_limit=memory_limit
                ).to_pylist()
            table = read.with_format("arrow")[:]
            ids = table["post_id"]
            ids = ids.filter(pc.invert(pc.is_in(ids, value_set=pa.array(excluded, pa.string()))))
            reading: dict[str, Any] = {
                "table_format": table_format,
                "columns": columns,
                "post_columns": post_columns,
                "memory_limit": memory_limit,
            }
            made = make_split(split, recipe.split_seed, ids, posts, engagements, **reading)
            benchmark = build_engagement_benchmark(
                read_log(engagements, posts, post_ends=made.ends(ids), **reading),
                load_network(network),
                table,
                key=key,
                exclude_posts=excluded,
                split=made,
                **vars(recipe),
            )
            text = _TASK + _BUILT.format(**vars(recipe))
            if made.before:
                text += _IN_TIME.format(**made.record())
            card = DatasetCard(title="Engagement prediction", text=text, limits=_LIMITS)
            dataset.write(benchmark.configs(), card, run.path)
            report("Engagement benchmark", benchmark.counts)
    dataset.finish()
