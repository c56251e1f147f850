"""What an import read, left out and wrote."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

WITHOUT_TEXT = "posts_without_text.txt"


@dataclass
class ImportReport:
    """What was read, what was left out and why, and what was written.

    `engagements_read = undone + deleted_posts + inactive_accounts + unknown_posts + repeats +
    num_engagements` and `posts_read = post_repeats + deleted_texts + blank_texts + num_posts`.

    Args:
        source: The network, or `table`.
        files: Files read.
        num_passed_over: Files of the folder that are no log.
        passed_over: Their names.
        lines: Lines, or rows, or items of documents.
        bad_lines: Lines that are no JSON.
        blank_lines: Lines of white space.
        skipped: Events that bring no post and no engagement, by reason.
        removals: Messages that take something back, by kind; what they took is told below.
        unread_times: Engagements of a table without a time, as theirs cannot be read.
        unread_time: One of those times.
        engagements_read: Engagements that the log tells of.
        undone: Those that their user took back, or replaced.
        deleted_posts: Those with a post that was deleted.
        inactive_accounts: Those by or with the post of an account that is deleted or not active.
        unknown_posts: Those with a post that is named only by a number that the log does not know.
        repeats: Those that repeat a user, post and relation.
        num_engagements: Engagements written.
        engagements_without_text: Those of them with a post that has no text in the log.
        relations: The same by relation.
        posts_read: Texts that the log tells of.
        post_repeats: Texts of a post that comes again.
        deleted_texts: Posts that were deleted, or whose account is not active.
        blank_texts: Posts without text, such as a picture alone.
        num_posts: Posts written.
        posts_without_text: Posts that engagements name and whose text is not in the log.
        detected_languages: Posts whose language was identified here.
        unknown_languages: Posts without a language.
    """

    source: str
    files: int = 0
    num_passed_over: int = 0
    passed_over: list[str] = field(default_factory=list)
    lines: int = 0
    bad_lines: int = 0
    blank_lines: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    removals: dict[str, int] = field(default_factory=dict)
    unread_times: int = 0
    unread_time: str | None = None
    engagements_read: int = 0
    undone: int = 0
    deleted_posts: int = 0
    inactive_accounts: int = 0
    unknown_posts: int = 0
    repeats: int = 0
    num_engagements: int = 0
    engagements_without_text: int = 0
    relations: dict[str, int] = field(default_factory=dict)
    posts_read: int = 0
    post_repeats: int = 0
    deleted_texts: int = 0
    blank_texts: int = 0
    num_posts: int = 0
    posts_without_text: int = 0
    detected_languages: int = 0
    unknown_languages: int = 0


def warnings(report: ImportReport, folder: Path, texts_from: str = "") -> Iterator[str]:
    """What a person should know of an import, a sentence each.

    Args:
        report: The import.
        folder: Where it was written.
        texts_from: Where the texts of its network's posts are to be had.
    """
    if not (report.num_engagements or report.num_posts):
        told = ", ".join(f"{count:,} {kind}" for kind, count in report.removals.items())
        yield (
            f"No post and no engagement stands: the log holds messages that take something back "
            f"({told}). They count for what is in the same folder: import them together with the "
            "posts that they are about."
        )
    if report.unread_times:
        yield (
            f"The times of {report.unread_times:,} rows cannot be read, and their engagements have "
            f"none; one is {report.unread_time!r}. Needed are seconds since 1970, or dates such as "
            "2020-09-13T12:26:40Z."
        )
    if report.engagements_without_text:
        share = report.engagements_without_text / report.num_engagements
        start = "" if report.num_posts else "No text came with these engagements: "
        yield (
            f"{start}{report.engagements_without_text:,} of {report.num_engagements:,} engagements "
            f"({share:.0%}) are with {report.posts_without_text:,} posts whose text is not in the "
            f"log; training drops them. Their ids are in {folder / WITHOUT_TEXT}: "
            f"{_advice(texts_from)}"
        )
    if report.passed_over:
        more = len(report.passed_over) - 10
        yield (
            f"Passed over as no log ({report.num_passed_over:,}): "
            f"{', '.join(report.passed_over[:10])}"
            + (f" and {more:,} more, named in import.json." if more > 0 else ".")
        )


def _advice(texts_from: str) -> str:
    if texts_from:
        return (
            f"get their texts ({texts_from}), put the answers beside the log, and import "
            "that folder again."
        )
    return (
        "`twhin-hf network embed` needs no texts (leave --posts out); all that reads posts needs a "
        "table of post_id and text with the same ids, such as the titles of items, or a column of "
        "the log (`--columns text=...`)."
    )
