"""What an import read, left out and wrote."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ImportReport:
    """What was read, what was left out and why, and what was written.

    `engagements_read = undone + deleted_posts + inactive_accounts + unknown_posts + repeats +
    num_engagements` and `posts_read = post_repeats + deleted_texts + blank_texts + num_posts`.

    Args:
        source: The network, or `table`.
        files: Files read.
        lines: Lines, or rows, or items of documents.
        bad_lines: Lines that are no JSON.
        blank_lines: Lines of white space.
        skipped: Events that bring no post and no engagement, by reason.
        engagements_read: Engagements that the log tells of.
        undone: Those that their user took back, or replaced.
        deleted_posts: Those with a post that was deleted.
        inactive_accounts: Those by or with the post of an account that is deleted or not active.
        unknown_posts: Those with a post that is named only by a number that the log does not know.
        repeats: Those that repeat a user, post and relation.
        num_engagements: Engagements written.
        relations: The same by relation.
        posts_read: Texts that the log tells of.
        post_repeats: Texts of a post that comes again.
        deleted_texts: Posts that were deleted, or whose account is not active.
        blank_texts: Posts without text, such as a picture alone.
        num_posts: Posts written.
        detected_languages: Posts whose language was identified here.
        unknown_languages: Posts without a language.
    """

    source: str
    files: int = 0
    lines: int = 0
    bad_lines: int = 0
    blank_lines: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    engagements_read: int = 0
    undone: int = 0
    deleted_posts: int = 0
    inactive_accounts: int = 0
    unknown_posts: int = 0
    repeats: int = 0
    num_engagements: int = 0
    relations: dict[str, int] = field(default_factory=dict)
    posts_read: int = 0
    post_repeats: int = 0
    deleted_texts: int = 0
    blank_texts: int = 0
    num_posts: int = 0
    detected_languages: int = 0
    unknown_languages: int = 0
