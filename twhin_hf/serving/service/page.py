"""The page that shows what may be asked, with examples; it loads nothing from anywhere."""

from __future__ import annotations

import html
import json
from typing import Any

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto }}
pre {{ background: #f3f4f6; padding: .8rem; overflow-x: auto; border-radius: 6px }}
code {{ font-size: .9em }}
</style></head><body>
<h1>{title}</h1>
<p>All of it for programs: <a href="openapi.json">openapi.json</a>. What is refused is answered with
<code>{{"error": "…"}}</code>.</p>
{sections}
</body></html>
"""


def examples_page(openapi: dict[str, Any], address: str) -> str:
    """HTML of what an application answers to.

    Args:
        openapi: Its OpenAPI document.
        address: Where it answers, for the examples.
    """
    schemas = openapi["components"]["schemas"]
    sections = [
        _section(path, method, said, schemas, address)
        for path, methods in openapi["paths"].items()
        for method, said in methods.items()
    ]
    return _PAGE.format(title=html.escape(openapi["info"]["title"]), sections="\n".join(sections))


def _section(
    path: str, method: str, said: dict[str, Any], schemas: dict[str, Any], address: str
) -> str:
    asked = _example(said.get("requestBody", {}), schemas)
    answer = _example(said["responses"]["200"], schemas)
    command = f"curl {address.rstrip('/')}{path}"
    if asked is not None:
        command += f" -H 'Content-Type: application/json' \\\n    -d '{_json(asked)}'"
    return (
        f"<h2>{method.upper()} <code>{html.escape(path)}</code></h2>\n"
        f"<p>{html.escape(said.get('description', ''))}</p>\n"
        f"<pre>{html.escape(command)}</pre>\n<pre>{html.escape(_json(answer))}</pre>"
    )


def _example(content: dict[str, Any], schemas: dict[str, Any]) -> Any:
    reference = content.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref")
    return schemas[reference.rpartition("/")[2]]["examples"][0] if reference else None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
