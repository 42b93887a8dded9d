"""Compiled kernels and fonts find a place where the installation and the home are read-only."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from alflow.files import caches
from alflow.files.caches import PACKAGE, settle_caches

MOUNT = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setenv("MPLCONFIGDIR", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setitem(sys.modules, "numba", None)


def settled(monkeypatch, *writable):
    """Return the two folders that are named where only the given ones can be written to."""
    monkeypatch.setattr(os, "access", lambda path, _: any(Path(path).is_relative_to(place) for place in writable))
    settle_caches()
    return os.environ.get("NUMBA_CACHE_DIR"), os.environ.get("MPLCONFIGDIR")


def test_nothing_is_named_where_the_usual_places_will_do(monkeypatch, tmp_path):
    assert settled(monkeypatch, tmp_path, PACKAGE) == ("", "")
    assert settled(monkeypatch, tmp_path) == ("", "")
    assert not (tmp_path / "home").exists()


def test_outsider_a_read_only_installation_and_home_get_a_temporary_folder(monkeypatch):
    own = Path(tempfile.gettempdir()) / f"alflow-caches-{os.getuid()}"
    assert settled(monkeypatch) == (str(own / "numba"), str(own / "matplotlib"))
    assert own.stat().st_mode & 0o777 == 0o700


def test_outsider_a_folder_that_is_named_and_cannot_be_written_to_is_replaced(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/somewhere")
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "mine"))
    numba, matplotlib = settled(monkeypatch, tmp_path / "mine")
    assert numba != "/somewhere"
    assert matplotlib != str(tmp_path / "mine")  # its folder above cannot be written to
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "mine"))
    assert settled(monkeypatch, tmp_path / "mine")[1] == str(tmp_path / "mine")


def test_outsider_no_home_at_all(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert all(settled(monkeypatch))


@pytest.mark.parametrize("kind", ["link", "open to others", "of another"])
def test_a_folder_that_others_could_fill_is_not_used(kind, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own = tmp_path / f"alflow-caches-{os.getuid()}"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        own.symlink_to(tmp_path / "elsewhere")
    else:
        own.mkdir()
        own.chmod(0o777 if kind == "open to others" else 0o700)
        if kind == "of another":
            if os.getuid():
                pytest.skip("only root can give a folder away")
            os.chown(own, 65534, 65534)
    found = caches._own_temporary_folder()
    assert found != own
    assert found.stat().st_mode & 0o777 == 0o700


@pytest.mark.timeout(120)
def test_outsider_kernels_are_compiled_on_a_read_only_installation(tmp_path):
    """The installation and the home are on a read-only mount; without a cache, numba refuses to load the module."""
    if os.getuid() or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare, for a mount of its own")
    shutil.copytree(PACKAGE, tmp_path / "installed" / "alflow", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tmp").mkdir()
    code = "import alflow.dftb.filling as f, numpy as n; print(f.__file__, f.entropy_energy(n.ones(2), 1.0))"
    command = ["unshare", "-m", "sh", "-c", MOUNT, str(tmp_path / "installed"), sys.executable, "-c", code]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "installed" / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONPATH": str(tmp_path / "installed"),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    if "mount" in done.stderr:
        pytest.skip(f"mounts are not allowed here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "installed") in done.stdout
    assert (tmp_path / "tmp" / f"alflow-caches-{os.getuid()}" / "numba").is_dir()
