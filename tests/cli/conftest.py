"""One finished tiny campaign for all tests of the command line."""

import os
import subprocess
import sys

import pytest
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
