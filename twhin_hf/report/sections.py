"""The sections of the page, each only where there is something to show."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from twhin_hf.evaluation.alignment_plots import points_chart
from twhin_hf.network.folder import load_network
from twhin_hf.network.holdout import name_metrics
from twhin_hf.plots import PANELS, curve_chart, few_shot_chart, reliability_chart
from twhin_hf.printing import in_words, number
from twhin_hf.report.blocks import (
    Block,
    Chart,
    Finding,
    Pairs,
    PostMap,
    RunRecord,
    Section,
    Table,
)
from twhin_hf.report.charts import (
    bars_chart,
    languages_chart,
    map_chart,
    map_colours,
    map_rows,
    page_spec,
)
from twhin_hf.report.figures import finding_of, results_blocks, suite_blocks
from twhin_hf.report.posts import (
    PairSample,
    PostCounts,
    PostsSource,
    count_posts,
    degree_counts,
    sample_pairs,
)
from twhin_hf.report.reading import Found, Training
from twhin_hf.report.report_config import ReportConfig
from twhin_hf.report.words import COMMANDS, shown_command

logger = logging.getLogger(__name__)

_MOST_POINTS = 400
"""Of a curve: more than a screen tells apart."""
_MOST_ROWS = 12
"""Of a curve in its table."""
_MOST_POSTS = 100
"""Of the map in its table."""
_CURVES = {
    **PANELS,
    "eval_loss": "Held out: total loss",
    "eval_mlm_loss": "Held out: MLM loss",
    "eval_social_loss": "Held out: social loss",
    "eval_social_accuracy": "Held out: pairs found",
    "eval_tpp_loss": "Held out: TPP loss",
    "eval_tpp_accuracy": "Held out: translations told",
    "eval_tpp_auc": "Held out: area under the ROC curve",
    "learning_rate": "Learning rate",
    "tokens_per_second": "Tokens per second",
    "data_wait": "Share of the time that steps wait for data",
    "grad_norm": "Length of the gradient",
}
_VECTORS = {
    "alignment": "Alignment of {0} vectors (0: pairs are one)",
    "uniformity": "Uniformity of {0} vectors (lower: more even)",
    "mean_cosine": "Mean cosine of {0} vectors (1: collapsed)",
}
_SHARES = ("accuracy", "data_wait", "auc")


def summary(found: Found, counts: Mapping[str, PostCounts]) -> Section:
    """What was run, on what, and what came out."""
    intro = []
    commands = dict.fromkeys(
        run["command"] for name, run in found.runs.items() if not _is_stage(name, found)
    )
    intro += [COMMANDS[command] for command in commands if command in COMMANDS]
    for _, metadata in found.networks.values():
        users, posts, edges = (
            number(metadata.get(name, 0)) for name in ("num_users", "num_posts", "num_edges")
        )
        intro.append(f"The network knows {edges} engagements of {users} people with {posts} posts.")
    for one in counts.values():
        intro.append(
            f"There are {number(one.num_posts)} posts in {len(one.languages)} "
            f"language{'s' if len(one.languages) != 1 else ''}."
        )
    if any(run["options"].get("synthetic") for run in found.runs.values()):
        intro.append(
            "The data are generated: the figures show that the way works, and tell nothing of "
            "people."
        )
    blocks: list[Block] = [
        finding
        for name, results in found.results.items()
        if isinstance(finding := finding_of(name, results), Finding)
    ]
    return Section("summary", "Summary", list(dict.fromkeys(intro)), blocks)


def training(found: Found) -> Section:
    """Curves of all trainings, a panel for each logged figure."""
    trainings = [one for one in found.trainings.values() if one.log]
    has_tokens = all(any("tokens" in entry for entry in one.log) for one in trainings)
    x_title = "tokens seen" if has_tokens else "step"
    names = list(dict.fromkeys(_without_seed(one.name, trainings) for one in trainings))
    blocks: list[Block] = []
    for metric, title in _logged(trainings).items():
        rows = [
            {"name": _without_seed(one.name, trainings), "run": one.name, "x": x, "y": y}
            for one in trainings
            for x, y in _thinned(_curve(one, metric, has_tokens), _MOST_POINTS)
        ]
        if not rows:
            continue
        chart = curve_chart(
            rows,
            names,
            x_title,
            any(part in metric for part in _SHARES),
            metric.endswith("loss"),
            legend=[name for name in names if any(row["name"] == name for row in rows)],
        )
        table = Table(
            "",
            ["training", x_title, "value"],
            [
                [one.name, number(x), f"{y:.4g}"]
                for one in trainings
                for x, y in _thinned(_curve(one, metric, has_tokens), _MOST_ROWS)
            ],
        )
        ends = _last_values(rows)
        description = "; ".join(f"{name} ends at {value:.4g}" for name, value in ends.items())
        spec = page_spec(chart.properties(height=200))
        blocks.append(Chart(title, description, spec, table))
    intro = [
        "Losses fall while a model learns; the share of pairs found in a batch rises. A line that "
        "jumps up or stays flat asks for a lower learning rate."
    ]
    if any("uniformity" in metric for metric in _logged(trainings)):
        intro.append(
            "Alignment says how near pairs lie, uniformity how evenly all vectors are spread: good "
            "vectors have both low."
        )
    table = _trainings_table(trainings)
    return Section("training", "Training", intro, [*blocks, table] if blocks else [])


def data(found: Found, counts: Mapping[str, PostCounts]) -> Section:
    """Languages before and after re-sampling, lengths, engagements."""
    blocks: list[Block] = []
    for name, shares, exponent in _language_shares(found, counts):
        blocks.append(_languages(name, shares, exponent))
    for name, posts in counts.items():
        blocks.append(
            _bars(
                f"{name}: length of the posts",
                {_from_to(at, 20, 400): count for at, count in posts.lengths.items()},
                "characters",
                "posts",
            )
        )
    for name, (folder, metadata) in found.networks.items():
        for side in ("posts", "users"):
            path = folder / f"{side}.parquet"
            if path.is_file():
                bars = {
                    f"{at:,}" if at == 1 else f"{at:,}–{2 * at - 1:,}": count
                    for at, count in degree_counts(path).items()
                }
                one = side.removesuffix("s")
                blocks.append(_bars(f"{name}: engagements of a {one}", bars, "engagements", side))
        told = {
            in_words(key): number(metadata[key])
            for key in ("num_users", "num_posts", "num_edges", "dimension", "method")
            if key in metadata
        }
        told |= {
            key: number(value) for key, value in name_metrics(metadata.get("metrics", {})).items()
        }
        blocks.append(
            Table(
                f"{name}: the network",
                ["", "value"],
                [[key, value] for key, value in told.items()],
                notes=["MRR and HITS@10 are of engagements kept out, beside those by popularity."],
                source=_source(found, name),
            )
        )
    return Section(
        "data",
        "Data",
        ["What the posts and engagements are that all of this was learned from."] if blocks else [],
        blocks,
    )


def pairs(found: Found, samples: Mapping[str, PairSample]) -> Section:
    """Mined pairs with their texts."""
    blocks: list[Block] = []
    for name, sample in samples.items():
        if sample.similarities:
            bars = {f"{at:.2f}": count for at, count in sample.similarities.items()}
            blocks.append(
                _bars(f"{name}: similarity of all pairs", bars, "cosine, from", "pairs", True)
            )
        has_texts = any(text for pair in sample.pairs for text in pair.texts)
        note = f"{len(sample.pairs)} of {sample.num_pairs:,} pairs, drawn at random"
        note += (
            ". @user stands for names of people."
            if has_texts
            else ". Their texts are not known: give the posts (--posts)."
        )
        blocks.append(Pairs(name, note, sample.pairs, _source(found, name)))
    intro = [
        "The same people engage with both posts of a pair. Read some: are they about one thing, or "
        "for one crowd? Pairs that have nothing in common teach an encoder nothing; raise "
        "--min_similarity then. Pairs of two languages teach it that both say the same."
    ]
    return Section("pairs", "Mined pairs", intro, blocks)


def results(found: Found) -> Section:
    """Tables and charts of all evaluations."""
    blocks: list[Block] = []
    for name, one in found.results.items():
        blocks += results_blocks(name, one, _source(found, name))
    for name, suite in found.suites.items():
        blocks += suite_blocks(name, suite, _source(found, name))
    intro = [
        "Intervals say how much a figure depends on who happens to be in the test set; seeds, how "
        "much on chance in training. Two models differ where the paired difference does, not where "
        "their intervals do not overlap."
    ]
    return Section("results", "Results", intro, blocks)


def few_shot(found: Found) -> Section:
    """Curves over the training examples of a class, a chart for each language."""
    curves: dict[str, dict[str, dict[int, list[float]]]] = {}
    for name, own in found.curves.items():
        for (model, language), curve in own.items():
            label = model if len(found.curves) == 1 else f"{name}: {model}"
            curves.setdefault(language, {})[label] = curve
    blocks: list[Block] = []
    for language, by_model in curves.items():
        rows = [
            [model, str(examples), *(f"{value:.4f}" for value in _spread(values))]
            for model, curve in by_model.items()
            for examples, values in sorted(curve.items())
        ]
        blocks.append(
            Chart(
                f"Few examples: {language}",
                _ends(by_model),
                page_spec(few_shot_chart(by_model)),
                Table("", ["model", "examples", "median", "least", "most"], rows),
                "The line is the median of the seeds, the band their range.",
            )
        )
    return Section(
        "few-shot",
        "Few examples",
        ["How good a fine-tuned encoder is with few labelled posts of each class."],
        blocks,
    )


def alignment(found: Found) -> Section:
    """Translations in two dimensions, before and after."""
    blocks: list[Block] = []
    for name, points in found.points.items():
        panels = dict.fromkeys((point.languages, point.method, point.when) for point in points)
        for panel in panels:
            own = [p for p in points if (p.languages, p.method, p.when) == panel]
            languages, method, when = panel
            rows = [[str(p.pair), p.language, f"{p.x:.2f}", f"{p.y:.2f}"] for p in own]
            blocks.append(
                Chart(
                    f"{languages}, {when}",
                    f"{len(own) // 2} pairs of translations by {method}, {when} training: where "
                    "both colours mix, translations lie near each other",
                    page_spec(points_chart(own).properties(height=320)),
                    Table("", ["pair", "language", "x", "y"], rows[:_MOST_POSTS], 2),
                    f"{method}; a line joins each text to its translation.",
                    _source(found, name),
                )
            )
    return Section(
        "alignment",
        "Languages side by side",
        ["Before training the languages of a multilingual encoder often lie apart."],
        blocks,
    )


def calibration(found: Found) -> Section:
    """How far the probabilities of engagement models hold."""
    blocks: list[Block] = []
    for name, bins in found.recommenders.items():
        predicted, observed, error = bins["predicted"], bins["observed"], bins["error"]
        if not predicted:
            continue
        blocks.append(
            Chart(
                f"{name}: reliability",
                "; ".join(
                    f"predicted {p:.2g}, happened {o:.2g}"
                    for p, o in zip(predicted, observed, strict=True)
                ),
                page_spec(reliability_chart(predicted, observed)),
                Table(
                    "",
                    ["predicted", "happened"],
                    [[f"{p:.3g}", f"{o:.3g}"] for p, o in zip(predicted, observed, strict=True)],
                    0,
                ),
                "" if error is None else f"Expected calibration error {error:.2g}.",
                _source(found, name),
            )
        )
    return Section(
        "calibration",
        "Calibration",
        [
            "Of the pairs that the model gives a probability of 1 %, one in a hundred should be "
            "engagements: points on the dashed line are right, below it too sure."
        ],
        blocks,
    )


def post_map(found: Found, config: ReportConfig) -> Section:
    """The posts as an encoder sees them."""
    blocks: list[Block] = []
    for name, page in found.maps.items():
        content = map_rows(page, config.max_points, config.seed)
        shown = len(content["group"])
        if not shown:
            continue
        colours = map_colours(content["groups"], content["hasRest"])
        spec = page_spec(map_chart(colours, content["layouts"]))
        texts = content["text"] or [""] * shown
        rows = [
            [text, language, content["groups"][group]]
            for text, language, group in list(
                zip(texts, content["language"], content["group"], strict=True)
            )[:_MOST_POSTS]
        ]
        blocks.append(
            PostMap(
                f"{name}: {shown:,} posts",
                f"{shown:,} posts as points; near points are alike to the encoder; coloured by "
                f"{content['coloring']}",
                spec,
                content,
                colours,
                Table("", ["post", "language", content["coloring"]], rows, 3),
                f"{shown:,} of {len(page['language']):,} posts; the first {len(rows)} are in the "
                "table. Made by twhin-hf map.",
            )
        )
    return Section("map", "Map of the posts", [], blocks)


def provenance(found: Found) -> Section:
    """The command of every run, its seed, data and versions."""
    blocks: list[Block] = []
    for name, run in found.runs.items():
        facts = [("seed", str(run["seed"]))] if run.get("seed") is not None else []
        if "finished" in run:
            facts.append(("finished", number(bool(run["finished"]))))
        facts += [(f"{key}, fingerprint", str(value)) for key, value in run["data"].items()]
        versions = run.get("versions")
        if isinstance(versions, dict):
            facts.append(("versions", ", ".join(f"{k} {v}" for k, v in versions.items())))
        options = {key: value for key, value in run["options"].items() if key != "user_id"}
        blocks.append(
            RunRecord(
                name,
                COMMANDS.get(run["command"], ""),
                shown_command(str(run.get("command_line") or f"twhin-hf {run['command']}")),
                facts,
                json.dumps(options, indent=2, ensure_ascii=False),
            )
        )
    return Section(
        "provenance",
        "How this was made",
        ["The same command with the same data, seed and versions gives the same figures."],
        blocks,
    )


def make_sections(
    found: Found,
    config: ReportConfig,
    posts: PostsSource | None = None,
    memory_limit: str = "1GB",
) -> list[Section]:
    """All sections that have something to show.

    Args:
        found: Of `read_folders`.
        config: What to show.
        posts: Where all texts are; where the runs say where it is None.
        memory_limit: Most memory of the engine that reads them.
    """
    counts, samples = {}, {}
    sources = found.posts if posts is None else {"posts": posts}
    for name, source in sources.items():
        logger.info("Counting the posts of %s", name)
        counts[name] = count_posts(source, memory_limit)
    if config.num_pairs:
        for name, path in found.pairs.items():
            logger.info("Looking up the texts of %d pairs of %s", config.num_pairs, name)
            samples[name] = sample_pairs(
                path,
                config.num_pairs,
                posts or found.posts.get(name.rpartition("/")[0]),
                _network_beside(found, name.rpartition("/")[0]),
                config.seed,
                memory_limit,
            )
    sections = [
        summary(found, counts),
        results(found),
        few_shot(found),
        alignment(found),
        calibration(found),
        training(found),
        data(found, counts),
        pairs(found, samples),
        post_map(found, config),
        provenance(found),
    ]
    return [part for part in sections if part.blocks or (part.name == "summary" and part.intro)]


def _network_beside(found: Found, name: str) -> Any:
    """The network of a run, or the only one that there is."""
    networks = [folder for folder, _ in found.networks.values()]
    beside = found.networks.get(f"{name}/network")
    folder = beside[0] if beside else networks[0] if len(networks) == 1 else None
    return None if folder is None else load_network(folder)


def _is_stage(name: str, found: Found) -> bool:
    """Whether a run is one of another's, whose folder it lies in."""
    parts = name.split("/")
    return any("/".join(parts[:number]) in found.runs for number in range(1, len(parts)))


def _source(found: Found, name: str) -> str:
    """The command that made what is in a folder, or in the nearest one above it."""
    while name:
        if name in found.runs:
            run = found.runs[name]
            return shown_command(str(run.get("command_line") or f"twhin-hf {run['command']}"))
        name = name.rpartition("/")[0]
    return ""


def _logged(trainings: Sequence[Training]) -> dict[str, str]:
    """The figures that were logged, and their titles."""
    keys = dict.fromkeys(key for one in trainings for entry in one.log for key in entry)
    found = {key: title for key, title in _CURVES.items() if key in keys}
    for ending, title in _VECTORS.items():
        for key in keys:
            if key.endswith(f"_{ending}"):
                found[key] = title.format(key.removesuffix(f"_{ending}"))
    return found


def _curve(one: Training, metric: str, has_tokens: bool) -> list[tuple[float, float]]:
    """Points of a figure over the steps, or the tokens up to them."""
    points: list[tuple[float, float]] = []
    tokens = 0.0
    for entry in one.log:
        if "eval_loss" not in entry:
            tokens += entry.get("tokens", 0)
        if metric in entry:
            points.append((int(tokens if has_tokens else entry["step"]), entry[metric]))
    return points


def _thinned(points: list[Any], most: int) -> list[Any]:
    """At most so many, the first and the last among them.

    Example:
        >>> _thinned(list(range(100)), 4)
        [0, 33, 66, 99]
    """
    if len(points) <= most:
        return points
    step = (len(points) - 1) / (most - 1)
    return [points[round(place * step)] for place in range(most)]


def _without_seed(name: str, trainings: Sequence[Training]) -> str:
    """A training's name; seeds of one have one name, and so one colour."""
    parts = [part for part in name.split("/") if not _is_seed(part)]
    short = parts[-1]
    same = {
        "/".join(p for p in one.name.split("/") if not _is_seed(p))
        for one in trainings
        if one.name.rpartition("/")[2] == name.rpartition("/")[2]
    }
    return short if len(same) == 1 else "/".join(parts)


def _is_seed(part: str) -> bool:
    return part.startswith("seed") and part.removeprefix("seed").isdigit()


def _last_values(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {row["run"]: row["y"] for row in rows}


def _trainings_table(trainings: Sequence[Training]) -> Table:
    """What each training was."""
    rows = []
    for one in trainings:
        record = one.record
        rows.append(
            [
                one.name,
                ", ".join(record.get("objectives", [])),
                number(one.log[-1]["step"]),
                number(record.get("tokens") or ""),
                number(record.get("seconds") or ""),
                ", ".join(f"{number(n)} {what}" for what, n in record.get("data", {}).items()),
                str(record.get("hardware", "")),
            ]
        )
    columns = ["training", "objectives", "steps", "tokens", "seconds", "of", "on"]
    return Table("All trainings", columns, rows, 2)


def _language_shares(
    found: Found, counts: Mapping[str, PostCounts]
) -> Iterator[tuple[str, dict[str, float], float | None]]:
    """Languages of what was trained on, each once, and else of the posts."""
    told = set()
    for one in found.trainings.values():
        shares = one.record.get("languages") or {}
        key = json.dumps([shares, one.exponent], sort_keys=True)
        if len(shares) > 1 and key not in told:
            told.add(key)
            yield one.name, dict(shares), one.exponent
    for name, posts in counts.items():
        if not told and len(posts.languages) > 1:
            shares = {key: n / posts.num_posts for key, n in posts.languages.items()}
            yield name, shares, None


def _languages(name: str, shares: dict[str, float], exponent: float | None) -> Chart:
    drawn = {"as written": shares}
    note = ""
    if exponent is not None and exponent < 1:
        raised = {key: share**exponent for key, share in shares.items() if share > 0}
        total = sum(raised.values())
        drawn["as trained on"] = {key: value / total for key, value in raised.items()}
        note = (
            f"Training draws a language by its share to the power of {exponent:g}, so that small "
            "ones are seen more often (TwHIN-BERT, Section 3.1 and Figure 5: 0.7)."
        )
    return Chart(
        f"{name}: languages",
        "; ".join(f"{key}: {share:.1%}" for key, share in list(shares.items())[:10]),
        page_spec(languages_chart(drawn)),
        Table(
            "",
            ["language", *drawn],
            [[key, *(f"{own.get(key, 0):.2%}" for own in drawn.values())] for key in shares],
        ),
        note,
    )


def _bars(
    title: str, counts: Mapping[str, int], x_title: str, y_title: str, is_wide: bool = False
) -> Chart:
    total = sum(counts.values())
    most = max(counts, key=lambda bar: counts[bar], default="")
    return Chart(
        title,
        f"{total:,} {y_title}; most have {most} {x_title}",
        page_spec(bars_chart(counts, x_title, y_title)),
        Table("", [x_title, y_title], [[bar, f"{n:,}"] for bar, n in counts.items()]),
        is_wide=is_wide,
    )


def _from_to(at: int, width: int, last: int) -> str:
    return f"{at}+" if at >= last else f"{at}–{at + width - 1}"


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    in_order = sorted(values)
    middle = len(in_order) // 2
    median = (in_order[middle] + in_order[~middle]) / 2
    return median, in_order[0], in_order[-1]


def _ends(by_model: Mapping[str, Mapping[int, Sequence[float]]]) -> str:
    told = []
    for model, curve in by_model.items():
        first, last = min(curve), max(curve)
        told.append(
            f"{model}: {_spread(curve[first])[0]:.3f} with {first} examples of a class, "
            f"{_spread(curve[last])[0]:.3f} with {last}"
        )
    return "; ".join(told)
