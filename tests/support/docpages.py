"""Code blocks of Markdown files, with what the tests are told about them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
EXCUSE = re.compile(r"<!-- not run: (.*?) ?-->")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    place: str
    """File and line of its first fence."""
    language: str
    text: str
    excuse: str | None
    """Why it cannot be run: the comment on the line above; None where it is run."""

    def commands(self) -> list[list[str]]:
        """Return the words of each command of a shell block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        parts = [part for line in lines for part in split(line)]
        return [words for words in parts if words]


def split(line: str) -> list[list[str]]:
    """Return the commands of a line that ``&&`` joins."""
    found: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        found = [*found, []] if word == "&&" else [*found[:-1], [*found[-1], word]]
    return found


def pages() -> list[Path]:
    """Return all pages of the documentation, wherever they lie in the repository."""
    return [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("benchmarks/*.md"))]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page.

    Raises:
        ValueError: a fence is not closed.
    """
    found = []
    lines = page.read_text(encoding="utf-8").splitlines()
    fences = [row for row, line in enumerate(lines) if line.startswith("```")]
    if len(fences) % 2:
        raise ValueError(f"a fence of {page} is not closed")
    for first, last in zip(fences[::2], fences[1::2], strict=True):
        above = EXCUSE.fullmatch(lines[first - 1]) if first else None
        place = f"{page.relative_to(ROOT)}:{first + 1}"
        text = "\n".join(lines[first + 1 : last]) + "\n"
        found.append(Block(place, lines[first].removeprefix("```"), text, above[1] if above else None))
    return found


def inline_commands(page: Path) -> list[str]:
    """Return the commands of alflow that stand within the text of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(found.split()) for found in re.findall(r"`(alflow [^`]+)`", text)]
