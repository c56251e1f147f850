"""What commands do and metrics say, in plain words."""

from __future__ import annotations

import re
from pathlib import Path

COMMANDS = {
    "run": (
        "The main job: from a log of who engaged with which post to encoders, judged on posts that "
        "none of them has seen."
    ),
    "pretrain": "An encoder was trained on posts.",
    "tpp": "An encoder was trained to tell translations from other pairs of texts.",
    "network embed": "Vectors of users and posts were learned from an engagement log.",
    "network mine": "Pairs of posts that the same people engage with were mined from a network.",
    "network import": "An export of a social network became an engagement log and posts.",
    "evaluate engagement": "An encoder was judged by who engages with posts never seen.",
    "evaluate recommendation": (
        "Recommendations were judged: posts never seen, known posts, users never seen."
    ),
    "evaluate hashtag": "An encoder was judged by predicting the hashtag of a post.",
    "evaluate classification": "An encoder was fine-tuned on a published classification benchmark.",
    "evaluate zero-shot": "An encoder was fine-tuned on one language and tested on others.",
    "evaluate retrieval": "An encoder was judged by finding each text's translation.",
    "evaluate alignment": "Distances of translations were compared before and after training.",
    "evaluate suite": "All tasks of a paper were run for several models.",
    "recommender fit": "A model of who will like which post was fitted.",
}

_METRICS = {
    r"HITS@(\d+)": "how often the right post is among the first {0} of those ranked",
    r"recall@(\d+)": "the share of what a user engaged with that is among the first {0}",
    r"NDCG@(\d+)": "how near the top of the first {0} the right posts stand, 1 being first",
    r"MRR": "the mean of 1 / rank of the right post: 1 if it is always first, 0.5 if second",
    r"macro F1": "precision and recall together, the mean over all classes",
    r"micro F1": "precision and recall of all entities together",
    r"accuracy@1$": "the share of texts that find their translation first",
    r"accuracy@(\d+)": "the share of texts whose translation is among the first {0}",
    r"accuracy": "the share of right answers",
    r"average recall": "the share of each class that is found, the mean over the classes",
    r"coverage@(\d+)": "the share of all posts that is recommended to anybody among the first {0}",
    r"cosine distance": "0 for texts of one direction, 1 for unrelated ones",
}


_WITHOUT_ID = r"\g<1>…"
_USER_ID = re.compile(r"(--user[_-]id[ =])('[^']*'|\S+)")


def explain(metric: str) -> str:
    """What a metric says; empty of one that is not known.

    Example:
        >>> explain("new posts: HITS@10 (of 1,000)")
        'how often the right post is among the first 10 of those ranked'
    """
    for pattern, words in _METRICS.items():
        found = re.search(pattern, metric)
        if found:
            return words.format(*found.groups())
    return ""


def shown_command(line: str) -> str:
    """A run's command line as a person types it, without the id of a person.

    Example:
        >>> shown_command("/usr/bin/cli.py network import --user_id 12 --input a")
        'twhin-hf network import --user_id … --input a'
    """
    program, _, rest = line.partition(" ")
    name = Path(program).name
    program = "twhin-hf" if name in ("cli.py", "__main__.py", "twhin-hf") else name
    return f"{program} {_USER_ID.sub(_WITHOUT_ID, rest)}".strip()


def joined(names: list[str]) -> str:
    """Names as part of a sentence.

    Example:
        >>> joined(["en", "ja", "ar"])
        'en, ja and ar'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
