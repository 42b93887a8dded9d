"""Pages of the site that lie elsewhere in the repository, and links that work both on the site and in the repository.

A page links to another by its path in the repository, as README viewers need it. `README.md` and its like become pages
of the site, and links to and from them are turned into links between pages.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "README.md": "index.md",
    "benchmarks/RESULTS.md": "results/benchmarks.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}
"""Path in the repository -> path on the site."""
LINK = re.compile(r"(?<=\]\()(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^\s*(```|~~~)")

log = logging.getLogger("mkdocs.hooks.links")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    del config, files
    return "\n".join(linked(markdown, page.file.src_uri))


def linked(markdown: str, page: str) -> Iterator[str]:
    """Give the lines of a page with its links turned; lines of code blocks are left alone."""
    of_page = {site: source for source, site in ELSEWHERE.items()}
    folder = posixpath.dirname(of_page.get(page, f"docs/{page}"))
    fenced = False
    for line in markdown.split("\n"):
        fenced ^= bool(FENCE.match(line))
        yield line if fenced else LINK.sub(lambda link: turned(link, folder, page), line)


def turned(link: re.Match[str], folder: str, page: str) -> str:
    """Return a link's target relative to the page that it stands on."""
    target, anchor = link["target"], link["anchor"] or ""
    if ":" in target:
        return target + anchor
    place = posixpath.normpath(posixpath.join(folder, target))
    if place not in ELSEWHERE and not place.startswith("docs/"):
        log.warning("%s links to %s, which is no page: say it in words, or add it to ELSEWHERE", page, place)
    uri = ELSEWHERE.get(place, place.removeprefix("docs/"))
    return posixpath.relpath(uri, posixpath.dirname(page) or ".") + anchor
