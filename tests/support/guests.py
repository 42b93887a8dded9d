"""The guest distribution as if it were installed: its packages and its entry points on the path of a process."""

import sys
import tempfile
import tomllib
from pathlib import Path

GUEST = Path(__file__).parent.parent / "guest"


def installed(folder: Path) -> Path:
    """Write the metadata that an installation of the guest leaves; return the folder that has to be on the path."""
    project = tomllib.loads((GUEST / "pyproject.toml").read_text())["project"]
    metadata = folder / f"alflow_guest-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(head)
    groups = project["entry-points"].items()
    lines = [line for group, points in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def welcome() -> None:
    """Put the guest on this process's path, before anything asks for kinds."""
    from alflow.config import plugins

    if str(GUEST) not in sys.path:
        sys.path[:0] = [str(GUEST), str(installed(Path(tempfile.mkdtemp(prefix="alflow-guest-"))))]
        plugins.plugins.cache_clear()
        plugins.find.cache_clear()
