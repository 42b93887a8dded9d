"""Site files and campaign files by name: a path as given, the working directory, the installed copy."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from alflow.errors import ConfigError

ResourceKind = Literal["executors", "configs"]
_SUFFIX: dict[ResourceKind, str] = {"executors": ".py", "configs": ".toml"}


def resource_folders(kind: ResourceKind) -> tuple[Path, ...]:
    """Return the folders that are searched, first wins: the working directory, the package's data, the source tree."""
    package = Path(__file__).resolve().parent.parent
    candidates = (Path.cwd() / kind, package / "data" / kind, package.parent / kind)
    return tuple(folder for folder in dict.fromkeys(candidates) if folder.is_dir())


def list_resources(kind: ResourceKind) -> dict[str, Path]:
    """Return the files of this kind by name, in alphabetical order; one in a folder below has its name in front."""
    found: dict[str, Path] = {}
    for folder in resource_folders(kind):
        for path in sorted(folder.rglob(f"*{_SUFFIX[kind]}")):
            if not path.name.startswith("_"):
                found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return dict(sorted(found.items()))


def find_resource(kind: ResourceKind, name_or_path: str | Path) -> Path | None:
    """Return the file that is meant, or None: an existing path as given, otherwise a name (with or without suffix)."""
    given = Path(name_or_path)
    with contextlib.suppress(RuntimeError):  # a user that does not exist
        given = given.expanduser()
    if _is_file(given):
        return given.resolve()
    return list_resources(kind).get(given.as_posix().removesuffix(_SUFFIX[kind]))


def find_campaign(name: str) -> Path:
    """Find a campaign file: a path as given, a name in ./configs, or one that comes with alflow.

    Raises:
        ConfigError: there is none.
    """
    found = find_resource("configs", name)
    if found is None:
        known = sorted(list_resources("configs"))
        raise ConfigError(f"A campaign file must exist; there is no {name!r}. {close_matches(name, known)}".strip())
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a loop of links
        return False


def close_matches(word: str, known: Sequence[str]) -> str:
    """Return a clause that names what could have been meant, or all there is when nothing is close."""
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(item) for item in near) + "?"
    return "known: " + (", ".join(sorted(known)) or "none") + "."
