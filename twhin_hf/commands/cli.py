"""`twhin-hf`: every stage as a command, loaded when it is asked for."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from twhin_hf.errors import InputError
from twhin_hf.extras import check_command
from twhin_hf.stopping import ending_on_signals, leave_children
from twhin_hf.version import __version__

PROGRAM = "twhin-hf"
SPIN_COUNT = "10000"
"""How often a thread that waits looks before it sleeps."""
DESCRIPTION = "From an engagement log to a language model that knows what its users like."

COMMANDS = {
    "run": ("run:run", "Run the main job: log → network → pairs → encoders → comparison"),
    "split": ("split:split", "Split posts into training, validation and test posts"),
    "network import": ("network:import_", "Import a log of Bluesky, Mastodon or X, or any table"),
    "network embed": ("network:embed", "Learn user and post vectors from an engagement log"),
    "network update": ("network:update", "Take new engagements into a network"),
    "network mine": ("network:mine", "Mine pairs of posts that are close in the network"),
    "tokenizer": ("tokenizer:tokenizer", "Train an XLM-R-style unigram tokenizer from posts"),
    "pretrain": ("pretrain:pretrain", "Pretrain an encoder with MLM and the social loss"),
    "tpp": ("tpp:tpp", "Train an encoder with Translation Pair Prediction"),
    "evaluate engagement": (
        "evaluate_engagement:engagement",
        "Predict who engages with posts never seen (HITS@10, MRR)",
    ),
    "evaluate recommendation": (
        "evaluate_recommendation:recommendation",
        "Judge recommendations: new posts, known posts, new users",
    ),
    "evaluate hashtag": ("evaluate_hashtag:hashtag", "Predict the hashtag of a post (macro F1)"),
    "evaluate classification": (
        "evaluate_classification:classification",
        "Fine-tune on a published classification benchmark",
    ),
    "evaluate retrieval": (
        "evaluate_retrieval:retrieval",
        "Find each text's translation among all texts",
    ),
    "evaluate zero-shot": (
        "evaluate_zero_shot:zero_shot",
        "Fine-tune on one language, test on others",
    ),
    "evaluate alignment": (
        "evaluate_alignment:alignment",
        "Compare distances of translations before and after training",
    ),
    "evaluate suite": ("evaluate_suite:suite", "Run a suite of tasks beside the papers' tables"),
    "data hashtag": ("data_hashtag:hashtag", "Load the published hashtag benchmark"),
    "data hashtag-build": ("data_hashtag:hashtag_build", "Build a hashtag benchmark from posts"),
    "data engagement": ("data_engagement:engagement", "Load the published engagement benchmark"),
    "data engagement-build": (
        "data_engagement:engagement_build",
        "Build an engagement benchmark from a log",
    ),
    "data translation-pairs": (
        "data_translation_pairs:translation_pairs",
        "Write translation pairs from their published sources",
    ),
    "data contamination": (
        "data_contamination:contamination",
        "Look for pretraining text in a benchmark",
    ),
    "data privacy-report": (
        "data_privacy_report:privacy_report",
        "Say what a benchmark reveals of the people in it",
    ),
    "data forget": (
        "data_forget:forget",
        "Take people and posts out of data, and name what learned from them",
    ),
    "recommender fit": ("recommender:fit", "Fit a model of who will like which post"),
    "recommender update": ("recommender:update", "Bring a fitted model up to date"),
    "recommend": ("recommend:recommend", "Recommend posts to users, known posts or new ones"),
    "serve": ("serve:serve", "Answer for vectors and recommendations over HTTP"),
    "embed": ("embed:embed", "Write the vectors of posts to a Parquet file"),
    "index": ("index:index", "Build an index of vectors, add to it or delete from it"),
    "store": ("store:store", "Write vectors to Lance, Qdrant, pgvector or Parquet"),
    "search": ("search:search", "Find the posts nearest to a text"),
    "map": ("map:map_posts", "Write a page that shows posts as an encoder sees them"),
    "report": ("report:report", "Write a page of what runs, evaluations and trainings have left"),
    "demo": ("demo:demo", "Open a page to try an encoder on, beside a stock one"),
    "convert": ("convert:convert", "Convert a checkpoint into ours, or ours into a plain encoder"),
    "export": ("export:export", "Export an encoder to ONNX, OpenVINO or torch.export"),
    "push": ("push:push", "Publish a model, a benchmark or a demo on the Hub"),
    "plan": ("plan:plan", "Say how long a run takes, and how much memory and disk"),
    "synthesize": ("synthesize:synthesize", "Generate a small social network to try things on"),
    "faq": ("faq:faq", "Say more of an error, or list what there is to ask"),
    "completion": ("completion:completion", "Print the shell's completion script"),
}
"""Each command's function below `twhin_hf.commands`, and what it does in one line."""

NOISY_LIBRARIES = ("httpx", "httpx2", "datasets", "faiss", "numexpr")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; what a person can mend is told in one line, with exit status 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    name, rest = find_command(arguments)
    if name is None:
        return _overview(arguments)
    configure_logging(logging.DEBUG if debug else logging.INFO)
    wait_briefly()
    try:
        check_command(name)
    except ModuleNotFoundError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    try:
        # Late: the parser, and whatever the command imports, are for one command alone.
        from twhin_hf.commands.parsing import call, parse_command

        command = load_command(name)
        values = parse_command(command, rest, f"{PROGRAM} {name}")
        if values.get("progress") is False:
            from datasets import disable_progress_bars

            disable_progress_bars()
        with ending_on_signals():
            call(command, values)
    except Exception as error:
        leave_children()
        text = _in_a_line(error)
        if debug or text is None:
            raise
        _tell(text, getattr(error, "faq", None))
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; the same command goes on where it can", file=sys.stderr)
        return 128 + signal.SIGINT
    except SystemExit as end:
        code = int(end.code or 0)
        if code == 128 + signal.SIGTERM:
            print(f"{PROGRAM}: ended by SIGTERM; the same command goes on", file=sys.stderr)
        return code
    return 0


def _tell(text: str, faq: str | None) -> None:
    """Prints an error, and how to read more where there is more to read."""
    print(f"{PROGRAM}: {text}", file=sys.stderr)
    if faq is not None:
        print(f"More: {PROGRAM} faq {faq}", file=sys.stderr)


def _in_a_line(error: Exception) -> str | None:
    """What a person reads of an error; None of one that is a mistake of the package."""
    from twhin_hf.commands.failures import advice

    if isinstance(error, InputError):
        return str(error)
    how_to_go_on = advice(error)
    if how_to_go_on is not None:
        what = (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
        return f"{what}. {how_to_go_on}"
    return str(error) if isinstance(error, (ValueError, OSError)) else None


def find_command(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The command that a line begins with, and what follows it."""
    for length in (2, 1):
        name = " ".join(arguments[:length])
        if name in COMMANDS:
            return name, list(arguments[length:])
    return None, list(arguments)


def load_command(name: str):
    """Imports the function of a command."""
    module, _, function = COMMANDS[name][0].partition(":")
    return getattr(import_module(f"twhin_hf.commands.{module}"), function)


def configure_logging(level: int) -> None:
    """Shows messages of this level and above; of several processes the others only warn."""
    level = level if os.environ.get("RANK", "0") == "0" else logging.WARNING
    logging.basicConfig(format="%(message)s", level=level)
    for library in NOISY_LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)


def wait_briefly() -> None:
    """Lets threads sleep that wait for each other for more than some tenths of a millisecond.

    GNU's OpenMP, which torch brings, has them wait busily for milliseconds: where other programs
    run on the same cores, each step waits for a thread that has no core
    (`examples/benchmarks/shared_cores.py`). It reads its settings once, when torch is imported, and
    what the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


def _overview(arguments: Sequence[str]) -> int:
    """Lists the commands, or says which one was probably meant."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    group = words[0] if words else ""
    inside = {name: text for name, (_, text) in COMMANDS.items() if name.startswith(f"{group} ")}
    if "--version" in arguments:
        print(f"twhin_hf {__version__}")
        return 0
    if not words or (inside and len(words) == 1):
        listed = inside or {name: text for name, (_, text) in COMMANDS.items()}
        print(f"usage: {PROGRAM} {group + ' ' if inside else ''}COMMAND [OPTIONS]\n")
        print(f"{DESCRIPTION}\n\ncommands:")
        width = max(map(len, listed))
        for name, text in listed.items():
            print(f"  {name:<{width}}  {text}")
        print(f"\n`{PROGRAM} COMMAND --help` shows a command's options.", end="")
        print(" --debug shows where an error came from; --version the version.")
        return 0 if not words or "--help" in arguments or "-h" in arguments else 2
    from twhin_hf.commands.spelling import nearest

    asked = " ".join(words[:2] if inside else words[:1])
    hint = nearest(asked, COMMANDS) or nearest(words[0], {name.split()[0] for name in COMMANDS})
    print(
        f"{PROGRAM}: there is no command {asked!r}{hint or ';'} `{PROGRAM} --help` lists them",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
