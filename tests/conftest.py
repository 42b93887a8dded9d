"""What several test folders share: a campaign that takes seconds, and the command line in this process."""

import os
import sys
from pathlib import Path

import pytest
from tinycampaign import TINY

os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as on a worker: sums of several threads differ in their last bits


ONE_AT_A_TIME = ("slurm", "netns", "globus")
"""Folders whose tests share what the machine has once: the daemons of a cluster, network namespaces, a broker."""


def pytest_collection_modifyitems(items):
    """Keep the tests of a file, or of such a folder, on one worker where several run tests side by side."""
    for item in items:
        folder = item.path.parent.name
        group = folder if folder in ONE_AT_A_TIME else item.path.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_runtest_setup(item):
    """Skip what needs a GPU where torch sees none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and torch sees none here")


@pytest.fixture
def tiny_file(tmp_path) -> Path:
    """Return the campaign file of a campaign that takes seconds."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def alflow(monkeypatch, capsys, tmp_path):
    """Return a function that runs the command line in this process and gives exit code, stdout, stderr."""
    from alflow.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["alflow", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
