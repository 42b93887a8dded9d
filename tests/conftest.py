"""What several test folders share: a campaign that takes seconds, and the command line in this process."""

import os
import sys
from pathlib import Path

import pytest
from tinycampaign import TINY

os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as on a worker: sums of several threads differ in their last bits


ONE_AT_A_TIME = ("slurm", "netns", "globus", "faults")
"""Folders whose tests share what the machine has once (the daemons of a cluster, network namespaces, a broker), or
time what happens to a campaign."""


def group_of(nodeid: str) -> str:
    """Return what one worker runs as a whole where several run tests side by side: such a folder, or a file."""
    path = nodeid.partition("::")[0]
    folder = path.split("/")[-2]
    return folder if folder in ONE_AT_A_TIME else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Share the groups out."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return group_of(nodeid)

    return ByGroup(config, log)


def pytest_collection_modifyitems(items):
    """Begin with what takes longest in one piece."""
    items.sort(key=lambda item: item.path.parent.name not in ONE_AT_A_TIME)


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
