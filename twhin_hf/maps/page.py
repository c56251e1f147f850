"""The page: one HTML file that opens from a disk, shows what it was given and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import jinja2
import numpy as np

from twhin_hf.evaluation.audience import CHANCE, Agreement, AudienceAgreement
from twhin_hf.maps.classes import Classes

_ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
_BAR = 200
"""Units of a whole bar."""


@dataclass(frozen=True)
class MapContent:
    """What a page shows.

    Args:
        layouts: Places of the posts by the name of the encoder; the last is shown first.
        colorings: Classes by the name of the colouring, the one to show first first.
        languages: Language code of each post.
        texts: Of the posts, or None to show none.
        people: How many engaged with each post; None where nobody is known to.
        agreement: The figure of shared audiences, or None.
        training: A sentence on whether training has seen the posts; it stands under the figure.
        notes: Sentences on how all was made.
    """

    layouts: Mapping[str, np.ndarray]
    colorings: Mapping[str, Classes]
    languages: Sequence[str]
    texts: Sequence[str] | None = None
    people: Sequence[int | None] | None = None
    agreement: AudienceAgreement | None = None
    training: str = ""
    notes: Sequence[str] = field(default_factory=list)


def map_page(content: MapContent) -> str:
    """The HTML of a map.

    Texts are from strangers. They stand in a block of JSON in which no sign ends the block, the
    page's script writes them as text and never as HTML, and the page's policy lets no other script
    run and nothing be fetched.
    """
    style, script = (_read(name) for name in ("map.css", "map.js"))
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_read("map.html.jinja")).render(
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src {policy_hash(style)}; "
        f"script-src {policy_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        data=embedded_json(_data(content)),
        content=content,
        num_posts=len(content.languages),
        measures=_measures(content.agreement) if content.agreement else [],
        bar=_BAR,
    )


def embedded_json(value: Any) -> str:
    r"""JSON that may stand inside a `<script>` of HTML: no sign of it ends or opens anything there.

    Example:
        >>> embedded_json(["</script><!--", "é"])
        '["\\u003c/script\\u003e\\u003c!--","é"]'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.translate(_ESCAPED)


def _data(content: MapContent) -> dict[str, Any]:
    names, found = np.unique(np.asarray(content.languages), return_inverse=True)
    return {
        "layouts": [
            {"name": name, "x": places[:, 0].tolist(), "y": places[:, 1].tolist()}
            for name, places in content.layouts.items()
        ],
        "colorings": [
            {
                "name": name,
                "classes": classes.names,
                "counts": classes.counts,
                "of": classes.of_posts.tolist(),
                "hasRest": classes.has_rest,
            }
            for name, classes in content.colorings.items()
        ],
        "languages": names.tolist(),
        "language": found.tolist(),
        "texts": None if content.texts is None else list(content.texts),
        "people": None if content.people is None else list(content.people),
    }


def _measures(found: AudienceAgreement) -> list[dict[str, Any]]:
    """The rows of the figure: what the template shows of each measure."""
    share = f"of a post's {found.k} nearest neighbours share at least one person with it"
    overlap = f"of their people are the same, on average (Jaccard), of a post and its {found.k}"
    return [
        _measure("Neighbours with a common audience", share, found.share),
        _measure("Overlap of the audiences", f"{overlap} nearest neighbours", found.overlap),
    ]


def _measure(title: str, sentence: str, found: Agreement) -> dict[str, Any]:
    estimates = {**found.values, CHANCE: found.chance}
    most = max(estimate.interval[1] for estimate in estimates.values()) or 1.0
    judged = next(iter(found.values))
    return {
        "title": title,
        "sentence": sentence,
        "value": _percent(found.values[judged].value),
        "lift": f"{found.lifts[judged].value:.2f}",
        "rows": [
            {
                "name": name,
                "value": _percent(estimate.value),
                "interval": " – ".join(map(_percent, estimate.interval)),
                "lift": f"{found.lifts[name].value:.2f} ×" if name in found.lifts else "",
                "is_judged": name == judged,
                "length": round(_BAR * estimate.value / most, 1),
                "low": round(_BAR * estimate.interval[0] / most, 1),
                "high": round(_BAR * estimate.interval[1] / most, 1),
            }
            for name, estimate in estimates.items()
        ],
        "gains": [
            f"{judged} less {name}: {_points(gain.value)} points "
            f"({' to '.join(map(_points, gain.interval))}, paired)"
            for name, gain in found.gains.items()
        ],
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.01 else f"{100 * share:.2f} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}".replace("-", "−")


def policy_hash(code: str) -> str:
    """The source expression by which a page's policy lets this one style or script through."""
    digest = hashlib.sha256(code.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _read(name: str) -> str:
    folder = resources.files("twhin_hf.maps") / "templates"
    return (folder / name).read_text(encoding="utf-8")
