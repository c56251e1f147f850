"""Names and ids of people in texts: `@name` of X, Mastodon and Bluesky, DIDs, addresses, profiles.

Names of other forms (`Ada Lovelace`, phone numbers, links that are shortened) are not found.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

SUBSTITUTE = "@user"
"""What stands for a person, as in XLM-T's texts."""

_NAME = "[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*"
_HOST = r"[\w-]+(?:\.[\w-]+)+(?::\d+)?"
# Addresses come before names, as parts of them would pass for names. The engine (RE2) looks neither
# ahead nor back, so that what stands before a match is matched too, and put back.
_PEOPLE = (
    # https://x.com/name/status/1, twitter.com/name
    r"(^|[^\w.@/-])(?:https?://)?(?:[\w-]+\.)*(?:twitter|x)\.com/\w[!-~]*",
    # https://mastodon.social/@name, …/users/name, https://bsky.app/profile/name
    rf"(^|[^\w.@/-])(?:https?://)?{_HOST}/(?:@|users/|profile/)[!-~]+",
    r"()\bat://[!-~]+",
    r"()\bdid:[a-z0-9]+:[A-Za-z0-9._:%-]+",
    # name@example.org, @name@mastodon.social
    r"()(?:\b(?:acct|mailto):)?[@＠]?\b[\w.+%-]+[@＠][A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",
    # @name, @name.bsky.social, .@name
    rf"(^|[^A-Za-z0-9_])[@＠]{_NAME}(?:[@＠]{_NAME})*",
    r"()\b[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.bsky\.social\b",
)

_ACCOUNT = re.compile(
    rf"""
    (?<![a-z0-9_])did:(?:plc:[a-z2-7]{{20,}}|(?:web|key):[a-z0-9][a-z0-9._:%-]*)
    |(?<![a-z0-9_])at://[a-z0-9-]+(?:\.[a-z0-9-]+)+
    |(?<![a-z0-9_.@/])[@＠](?!user[@＠])[a-z0-9_][\w.+-]*[@＠]{_HOST}
    |(?<![a-z0-9_./-])(?!(?:public\.)?api\.)(?:[a-z0-9-]+\.)+bsky\.social\b
    """,
    re.VERBOSE | re.IGNORECASE,
)


def named_person(text: str) -> re.Match[str] | None:
    """The first name or id in a text that can be nothing but a person's account.

    So a DID, `at://name.host`, `@name@host` and `name.bsky.social`; neither `@name`, which may be a
    decorator or an entry of BibTeX, nor a mail address or the link of a profile, by which authors
    sign.

    Example:
        >>> named_person("@torch.no_grad, by ana@example.org") is None
        True
        >>> named_person("Made by @ana.bsky.social").group()
        'ana.bsky.social'
    """
    return _ACCOUNT.search(text)


def mask_people(texts: pa.Array) -> pa.Array:
    """Texts in which `@user` stands for each name or id of a person.

    Args:
        texts: Strings, `[num_texts]`; nulls stay.

    Example:
        >>> texts = ["hi @ana, and @bo@fosstodon.org!", "ask ana@example.org or did:plc:abc23"]
        >>> mask_people(pa.array(texts)).to_pylist()
        ['hi @user, and @user!', 'ask @user or @user']
    """
    for pattern in _PEOPLE:
        texts = pc.replace_substring_regex(
            texts, pattern=f"(?i){pattern}", replacement=rf"\1{SUBSTITUTE}"
        )
    return texts


def names_people(texts: pa.Array) -> pa.Array:
    """Whether each text holds a name or id of a person that is no `@user`.

    Args:
        texts: Strings, `[num_texts]`; of a null it is False.

    Example:
        >>> names_people(pa.array(["thanks @user", "thanks @ana", "at://did:plc:abc/x"])).to_pylist()
        [False, True, True]
    """
    masked = pc.utf8_lower(mask_people(texts))
    return pc.fill_null(pc.not_equal(masked, pc.utf8_lower(texts)), False)
