"""The comparison as one HTML file that needs no network: data, style, script and images inside."""

import base64
import hashlib
import json
import math
from html import escape
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "assets"
SCRIPTS = ("elements.js", "charts.js", "sections.js", "page.js")


def page(content: dict[str, Any], stages: str = "", made: str = "") -> str:
    """-> HTML. content: {"recipes": [`recipe_content`, ...]}, the first one opens; stages: its stage graph as SVG;
    made: when, for the footer.

    Whatever content holds stays text: the script that shows it only ever makes text nodes of it, and the page's own
    security policy lets no other script run and nothing load.
    """
    script = "\n".join((SOURCE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    parts = {
        "title": escape(f"weightgen: {content['recipes'][0]['name']}"),
        "hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "style": (SOURCE / "style.css").read_text(encoding="utf-8"),
        "stages": stages,
        "made": escape(made),
        "content": embedded(content),
        "script": script,
    }
    halves = (SOURCE / "page.html").read_text(encoding="utf-8").split("{{")
    pieces = [halves[0]]
    for half in halves[1:]:  # one pass: a prompt that looks like a placeholder stays as it is
        name, rest = half.split("}}", 1)
        pieces += [parts[name], rest]
    return "".join(pieces)


def embedded(content: Any) -> str:
    """JSON that no `<` can end early; infinities as "inf" and "-inf", nan as null, tables as {"columns", "rows"}."""
    text = json.dumps(_plain(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if _is_table(node):
        columns = list(node[0])
        return {"columns": columns, "rows": [[_plain(row[name]) for name in columns] for row in node]}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    if isinstance(node, float) and not math.isfinite(node):
        return None if math.isnan(node) else "inf" if node > 0 else "-inf"
    return node


def _is_table(node: Any) -> bool:
    """Whether these are dicts of the very same keys."""
    return (
        isinstance(node, list)
        and len(node) > 1
        and all(isinstance(row, dict) and row.keys() == node[0].keys() for row in node)
    )
