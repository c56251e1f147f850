"""The page: one HTML file that opens from a disk, shows what it was given and fetches nothing."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2

from twhin_hf.maps.page import embedded_json, policy_hash
from twhin_hf.plots import chart_config, vega_lite_version
from twhin_hf.report.blocks import Block, Chart, PostMap, Section

_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif'


def report_page(title: str, sections: Sequence[Section]) -> str:
    """The HTML of a report.

    Texts are from strangers. They are escaped, charts have them as data, the page's policy lets no
    other script run and nothing be fetched, and Vega evaluates its expressions by an interpreter.

    Args:
        title: Of the page.
        sections: What stands on it, in this order.
    """
    style, script = _read("report.css"), _read("report.js")
    charts: dict[str, dict[str, Any]] = {}
    numbered = []
    for section in sections:
        blocks: list[tuple[str, Block]] = []
        for block in section.blocks:
            place = f"{section.name}-{len(blocks) + 1}"
            if isinstance(block, Chart | PostMap):
                content = block.content if isinstance(block, PostMap) else None
                charts[place] = {"spec": block.spec, "posts": content}
            blocks.append((place, block))
        numbered.append((section, blocks))
    scripts = [vega_bundle(), script] if charts else []
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_read("report.html.jinja")).render(
        title=title,
        style=style,
        scripts=scripts,
        policy="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
        + "".join(f"; script-src {' '.join(map(policy_hash, scripts))}" for _ in scripts[:1]),
        data=embedded_json({"config": chart_config("currentColor", font=_FONT), "charts": charts}),
        sections=numbered,
    )


@functools.cache
def vega_bundle() -> str:
    """The script of Vega, Vega-Lite and Vega-Embed, which comes with vl-convert."""
    import vl_convert

    script = vl_convert.javascript_bundle(
        "window.vegaEmbed = vegaEmbed;", vl_version=vega_lite_version()
    )
    # Inside HTML neither may stand, whatever they are in the script.
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _read(name: str) -> str:
    folder = resources.files("twhin_hf.report") / "templates"
    return (folder / name).read_text(encoding="utf-8")
