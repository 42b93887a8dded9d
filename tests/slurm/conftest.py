"""A real Slurm on this machine for the tests of this folder."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DAEMONS = ("slurmctld", "slurmd", "sbatch", "munged", "setpriv")


def free_ports(count=4):
    """Find a first port that has enough free ones after it."""
    for first in range(17800 + os.getpid() % 1000 * 8, 60000, 8):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports")


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory):
    """Bring Slurm up; give the folder of its files. SLURM_CONF is set for the session."""
    missing = [name for name in DAEMONS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (Debian: slurm-wlm munge)")
    if os.geteuid() != 0:
        pytest.skip("needs root to start Slurm's daemons")
    folder = Path("/tmp") / f"slurm-{os.getpid()}"  # socket paths are short, and munge refuses pytest's private folders
    up = subprocess.run([HERE / "slurm_up.sh", folder, str(free_ports())], capture_output=True, text=True, check=False)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        if up.returncode:
            logs = "\n".join(path.read_text()[-1500:] for path in (folder / "log").glob("*"))
            pytest.fail(f"Slurm did not start: {up.stderr}\n{logs}")
        yield folder
    finally:
        subprocess.run([HERE / "slurm_down.sh", folder], check=False)
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def no_jobs(slurm_cluster):
    """Cancel what a test leaves in the queue."""
    yield slurm_cluster
    subprocess.run(["scancel", "--user=root"], check=False)
