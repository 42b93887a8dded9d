"""Places where files cannot be written, and names that are seldom: what commands meet on other people's machines."""

import contextlib
import ctypes
import os
import stat
import subprocess
from pathlib import Path

LONG = "n" * 300
BAD = (
    "read-only folder",
    "full disk",
    "a folder of that name",
    "a file for a folder",
    "name too long",
    "folder's name too long",
    "/proc",
    "a full device",
    "a pipe without a reader",
)
GOOD = (
    "plain",
    "missing folders",
    "blanks",
    "a line break",
    "markup",
    "no ASCII",
    "not UTF-8",
    "255 bytes",
    "a link that dangles",
    "a link to a file elsewhere",
)


@contextlib.contextmanager
def mounted(folder, *options):
    """Mount a file system in memory; root only."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", ",".join(("size=1m", *options)), "alflow-places", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def read_only(folder):
    """Let nothing be written to a mounted file system any more."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True, capture_output=True)


def fill(folder):
    """Leave no byte on a disk."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def can_mount(folder):
    """Say whether this process may mount file systems."""
    try:
        with mounted(folder):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def bad_place(kind, folder, disks, name):
    """Make a place of a kind that nothing can be written to, and return the path of the file that is wanted there."""
    disk = {"read-only folder": "read-only", "full disk": "full"}.get(kind)
    if disk is not None:
        return disks[disk] / name
    path = {
        "a folder of that name": folder / name,
        "a file for a folder": folder / "file" / name,
        "name too long": folder / (LONG + name),
        "folder's name too long": folder / LONG / name,
        "/proc": Path("/proc") / name,
        "a full device": folder / name,
        "a pipe without a reader": folder / name,
    }[kind]
    if kind == "a folder of that name":
        (path / "inside").mkdir(parents=True)
    elif kind == "a file for a folder":
        (folder / "file").write_text("")
    elif kind == "a pipe without a reader":
        os.mkfifo(path)
    elif (
        kind == "a full device"
    ):  # one of its own: the machine's /dev/full is not to be hurt by a command that is wrong
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    return path


def good_place(kind, folder, name):
    """Make a place of a kind that a file can be written to, and return its path."""
    if kind == "not UTF-8":
        return Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe-" + name.encode()))
    path = {
        "plain": folder / name,
        "missing folders": folder / "not" / "there" / name,
        "blanks": folder / f"two  blanks {name}",
        "a line break": folder / f"line\nbreak-{name}",
        "markup": folder / f"[red]a[/b]{name}",
        "no ASCII": folder / f"Å±é-{name}",
        "255 bytes": folder / f"{'m' * (255 - len(name))}{name}",
        "a link that dangles": folder / name,
        "a link to a file elsewhere": folder / name,
    }[kind]
    if kind.startswith("a link"):
        elsewhere = folder / "elsewhere" / f"other-{name}"
        elsewhere.parent.mkdir()
        if kind == "a link to a file elsewhere":
            elsewhere.write_text("before")
        path.symlink_to(elsewhere)
    return path


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def heeding_permissions():
    """Let this process heed the permissions of files even where it is root's: without two of root's capabilities."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = _Header(0x20080522, 0), (_Data * 2)()
    assert libc.capget(ctypes.byref(header), data) == 0
    before = data[0].effective
    data[0].effective = before & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(ctypes.byref(header), data) == 0
    try:
        yield
    finally:
        data[0].effective = before
        assert libc.capset(ctypes.byref(header), data) == 0
