"""One finished tiny campaign for all tests of the command line."""

import os
import subprocess
import sys

import pytest
from places import can_mount, fill, mounted, read_only
from tinycampaign import TINY


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Run the tiny campaign once; return the folder that it was started in, and what it printed."""
    folder = tmp_path_factory.mktemp("campaign")
    (folder / "tiny.toml").write_text(TINY)
    command = [sys.executable, "-c", "from alflow.cli import main; main()", "run", "tiny.toml", "-o", "kind=threads"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.fixture(scope="session")
def disks(tmp_path_factory):
    """Give a read-only and a full file system."""
    folder = tmp_path_factory.mktemp("disks")
    if not can_mount(folder / "try"):
        pytest.skip("file systems are mounted by root")
    with mounted(folder / "read-only") as first, mounted(folder / "full") as second:
        read_only(first)
        fill(second)
        yield {"read-only": first, "full": second}
