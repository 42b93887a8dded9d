"""Formulas as MathML, made when the site is built: browsers show it without any script."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the LaTeX that the extension `arithmatex` has marked."""
    del page, config, files
    return FORMULA.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    return str(convert(html.unescape(found[3]), display="block" if found[2] == "[" else "inline"))
