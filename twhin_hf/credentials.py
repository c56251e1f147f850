"""Tokens, keys and passwords in texts, and what stands for them in records."""

from __future__ import annotations

import re
from collections.abc import Iterable

SUBSTITUTE = "***"
"""What stands for a secret."""

_OF_ISSUERS = r"""(?a:
    \bhf_(?![xX]{8})[A-Za-z0-9]{16,}
    |\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,})
    |(?<![\w-])sk-(?=[\w-]*\d)[\w-]{16,}
    |\b(?:[rs]k_(?:live|test)_|whsec_)[A-Za-z0-9]{16,}
    |\b(?:gsk_|r8_)[A-Za-z0-9]{20,}
    |\b(?:dckr_pat_|nvapi-|ya29\.)(?=[\w-]*\d)[\w-]{16,}
    |\b(?:AKIA|ASIA)[0-9A-Z]{16}\b
    |\bAIza[\w-]{30,}
    |\bxox[abeoprs]-[\w-]{10,}
    |\bhooks\.slack\.com/(?:services|workflows|triggers)/\w+/[\w/]{8,}
    |\b(?:npm_[A-Za-z0-9]{30,}|pypi-[\w-]{30,})
    |(?<![A-Za-z0-9_-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*
    |-----BEGIN\ [A-Z ]*PRIVATE\ KEY
)"""
ISSUED = re.compile(_OF_ISSUERS, re.VERBOSE)
"""A token in the form that its issuer gives it, which nothing else has; also amid Japanese."""

HINT = r"[\w-]{15}|eyJ|hooks\.slack\.com|PRIVATE KEY"
"""What each `ISSUED` holds, for engines that look neither ahead nor back."""

SECRET = re.compile(
    rf"""{_OF_ISSUERS}
    |\b[Bb]earer\s+(?=\S*\d)[\w.~+/=-]{{12,}}
    |(?i:\bauthorization)["']?\s*[:=]\s*["']?(?i:basic|token)\s+(?=\S*[A-Z0-9])[\w.~+/=-]{{6,}}
    |[?&]sig=[\w%+/=-]{{16,}}
    |://[^\s/:@"'<>]+:(?!\*+@)[^\s/@"'<>]+@
    |(?i:\b(?:\w+_)?(?:(?:api|access|secret|private|auth|account|client|hub|hf|wandb)
        [ _-]?(?:key|token)|(?:client_)?secret|password|passwd|passphrase)["']?\s*
        (?:=\s*["']?[^\s"'<>]{{6,}}|:\s*["']?(?=[^\s"'<>]*\d)[^\s"'<>]{{6,}}))
    |(?i:\btoken(?:\s*=\s*["']?|["']\s*:\s*["']))(?=[a-z0-9]*\d)(?=\d*[a-z])[a-z0-9]{{20,}}\b
    |(?i:\bpwd["']?\s*[:=]\s*["']?)(?=[\w.~+/=-]*\d)[\w.~+/=-]{{6,}}
    |(?i:\b(?:wandb\w*|password)(?:["']?\s*[:=]\s*|\s+)["']?)[0-9a-f]{{40}}\b
    """,
    re.VERBOSE,
)
"""`ISSUED`, or what a text says of itself is a token, key or password."""

_NAME = (
    r"(?:(?:\w*_)?(?:api_?key|access_?key|secret|secret_?key|client_?secret|private_?key|wandb_?key"
    r"|password|passwd|passphrase|(?:hub|hf|auth|access|api|bearer|refresh|use_auth)_?token"
    r"|credentials?|authorization)|token|pwd)"
)
SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
"""The name, as a whole, of a member or option whose value is a secret; `mask_token` is none."""

_LIKELY = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w.~+/=-]{16,}")
_MEMBER = re.compile(rf"""(["']{_NAME}["']\s*:\s*["'])[^"']*""", re.IGNORECASE)
_PLAIN_MEMBER = re.compile(rf"""([{{,]\s*{_NAME}\s*:\s*)[^\s"',}}]+""", re.IGNORECASE)
_PASSWORD = re.compile(r"(\w://[^\s:/@]*):.*@", re.DOTALL)
_PARAMETER = re.compile(r"([?&](?:\w*password|\w*key|\w*token)=)[^\s&#]*")


def without_secrets(text: str) -> str:
    """A text in which `***` stands for tokens, and for passwords and keys in an address.

    Example:
        >>> without_secrets("postgresql://me:pass@word@host/db?sslpassword=x&a=b#posts")
        'postgresql://me:***@host/db?sslpassword=***&a=b#posts'
    """
    text = _PASSWORD.sub(rf"\1:{SUBSTITUTE}@", text)
    for pattern in (_PARAMETER, _MEMBER, _PLAIN_MEMBER):
        text = pattern.sub(rf"\1{SUBSTITUTE}", text)
    return SECRET.sub(SUBSTITUTE, text)


def is_secret(name: str, value: str) -> bool:
    """Whether a member of JSON is a secret; in `{"token": "<s>"}` it is a word's.

    Example:
        >>> is_secret("hub_token", "mine"), is_secret("token", "<s>")
        (True, False)
    """
    is_named = bool(value and SECRET_NAME.fullmatch(name))
    return is_named and (name.lower() != "token" or bool(_LIKELY.fullmatch(value)))


def words_without_secrets(words: Iterable[str]) -> list[str]:
    """Words of a command line in which `***` stands for secrets, also by the names of options.

    Example:
        >>> words_without_secrets(["pretrain", "--hub-token", "mine", "--hub_token=mine", "--lr=1"])
        ['pretrain', '--hub-token', '***', '--hub_token=***', '--lr=1']
    """
    shown: list[str] = []
    is_value = False  # of an option whose name marks a secret
    for word in words:
        is_option = word.startswith("--")
        name, equals, _ = word.partition("=")
        if is_value and not is_option:
            shown.append(SUBSTITUTE)
            continue
        is_named = is_option and _names_a_secret(name)
        shown.append(f"{name}={SUBSTITUTE}" if is_named and equals else without_secrets(word))
        is_value = is_named and not equals
    return shown


def _names_a_secret(option: str) -> bool:
    """Whether the value of `--hub-token` or `--training.hub_token` is a secret."""
    name = option.lstrip("-").rpartition(".")[2].replace("-", "_")
    return bool(SECRET_NAME.fullmatch(name))
