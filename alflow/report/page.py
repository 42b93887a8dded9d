"""Pieces of a self-contained HTML page: text, tables, figures drawn into it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --shade: #f4f6f8; --accent: #1f5fa8; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 2px; }
h2 { font-size: 18px; margin: 38px 0 8px; padding-top: 14px; border-top: 1px solid var(--line); }
p { margin: 6px 0; }
.soft, figcaption { color: var(--soft); font-size: 13.5px; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 18px 0 4px; }
.tile { flex: 1 1 150px; background: var(--shade); border-radius: 6px; padding: 10px 14px; }
.tile b { display: block; font-size: 18px; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0; font-variant-numeric: tabular-nums; font-size: 13.5px; }
th, td { padding: 4px 12px 4px 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 12px 0; }
figure svg { width: 100%; height: auto; display: block; }
pre { background: var(--shade); padding: 12px; overflow-x: auto; font-size: 12.5px; line-height: 1.4; }
summary { cursor: pointer; color: var(--accent); }
li { margin: 3px 0; }
"""

_OPENING_TAG = re.compile(r"<svg[^>]*>", re.DOTALL)


def page(title: str, body: str) -> str:
    """Return a whole document that needs nothing from outside."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; the first column is set to the left, the others to the right."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def tiles(pairs: Sequence[tuple[str, str]]) -> str:
    """Return a row of values with what they are."""
    inner = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for value, what in pairs
    )
    return f'<div class="tiles">{inner}</div>'


def listing(items: Sequence[str]) -> str:
    """Return a list of plain texts."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def folded(summary: str, text: str) -> str:
    """Return text as it is, shown on a click."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"


def figure(draw: Callable[[Figure], None], caption: str, size: tuple[float, float] = (10.0, 3.8)) -> str:
    """Draw a figure and return it as inline SVG that takes the width of the page.

    Args:
        draw: Fills the figure.
        caption: Plain text below it; also what screen readers say.
        size: Inches.
    """
    drawn = Figure(figsize=size, layout="constrained")
    draw(drawn)
    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.5}):
        # not by `savefig`, which draws all figures twice
        FigureCanvasSVG(drawn).print_svg(stream, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    text = stream.getvalue()
    svg = text[text.index("<svg") :]
    tag = f'<svg viewBox="0 0 {size[0] * 72:g} {size[1] * 72:g}" role="img" aria-label="{escape(caption)}">'
    return f"<figure>{_OPENING_TAG.sub(lambda _: tag, svg, count=1)}<figcaption>{escape(caption)}</figcaption></figure>"
