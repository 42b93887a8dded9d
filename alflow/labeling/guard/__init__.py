"""A label engine in a process of its own: what hangs, crashes or takes all memory ends one label, not its worker.

The engine's process is a fork of a fresh interpreter (`guard.child`), so it can be had from a thread as well as from a
process. It dies with the one that started it, and is the first that the kernel ends when memory is short.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from typing import cast

from pydantic import JsonValue

from alflow.config.base import Settings
from alflow.config.load import validate
from alflow.config.plugins import ENGINES, find_installed
from alflow.errors import FAILURE_REASONS, FailureReason, InputError, LabelError
from alflow.files.scratch import plain_scratch
from alflow.labeling import make_engine
from alflow.labeling.engines.folders import Keeping, WorkFolder, label_folders, remove, scratch
from alflow.labeling.guard.forkserver import START_TIMEOUT_S, Child, ForkServer, kernel_kills
from alflow.labeling.guard.messages import (
    EndedError,
    Kind,
    LateError,
    is_closed,
    pack_request,
    receive,
    send,
    unpack_evaluation,
)
from alflow.labeling.kinds.ase import FolderSettings
from alflow.labeling.protocol import LabelEngine
from alflow.types import Composition, Evaluation, FloatArray


class GuardedEngine:
    """A label engine that runs in a child process. For one thread at a time.

    The child is made with the engine, and anew at the next structure after one that ended it.
    """

    def __init__(
        self,
        name: str,
        settings: Mapping[str, JsonValue],
        timeout_s: float = 600.0,
        memory_limit_gb: float | None = None,
    ) -> None:
        """Start the child.

        Args:
            name: of the engine, as in the campaign file.
            settings: of the engine.
            timeout_s: longest time of one structure, s.
            memory_limit_gb: largest address space of the child, GB; None for no limit.

        Raises:
            InputError: the engine cannot be made.
        """
        self._name = name
        self._writes_files = find_installed(ENGINES, name).writes_files
        self._timeout = timeout_s
        self._memory_limit_gb = memory_limit_gb
        self._order = {"engine": name, "settings": dict(settings), "memory_limit_gb": memory_limit_gb}
        self._folders = _folder_settings(name, settings)
        self._work: WorkFolder | None = None
        self._fork_server: ForkServer | None = None
        self._child: Child | None = None
        self._theory = ""
        self._start()

    @property
    def theory(self) -> str:
        """Fingerprint of the engine in the child."""
        return self._theory

    def compute(self, composition: Composition, positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        """Return what the engine returns for one structure.

        Args:
            composition: of A atoms.
            positions: (A, 3) Å.
            start: see `Evaluation.start`.

        Raises:
            LabelError: what the engine says; "timeout", "out-of-memory" or "engine-crash" if it ends the child;
                "engine-error" for any other exception of the engine.
        """
        child = self._running()
        try:
            send(child.requests, Kind.REQUEST, pack_request(composition, positions, start))
            kind, payload = receive(child.answers, self._timeout)
        except LateError:
            self._end_child()
            raise LabelError(
                "timeout",
                f"A label may take {self._timeout:g} s (labels.timeout_s); {self._name} had not ended by then."
                f"{self._clear_up()}",
            ) from None
        except EndedError:
            raise self._crash(child) from None
        except BaseException:  # Ctrl-C: the answer that is on its way would be taken for the next structure's
            self._end_child()
            self._clear_up(keep=False)
            raise
        if kind == Kind.EVALUATION:
            return unpack_evaluation(payload)
        reason, detail = json.loads(payload)
        if reason == "out-of-memory":
            self._end_child()
            self._clear_up(keep=False)  # the child has named and kept its folder
        raise LabelError(_listed(reason), detail)

    def close(self) -> None:
        """End all processes; the next structure starts others."""
        self._end_child()
        fork_server, self._fork_server = self._fork_server, None
        if fork_server is not None:
            fork_server.close()
        work, self._work = self._work, None
        if work is not None:
            work.close()

    def _running(self) -> Child:
        """Return the child; start one where there is none or it went away between two structures."""
        if self._child is not None and not is_closed(self._child.answers):
            return self._child
        self._end_child()
        try:
            return self._start()
        except InputError as error:
            raise LabelError("engine-crash", f"After a crash the engine could not be made again: {error}") from error

    def _start(self) -> Child:
        if self._writes_files and self._work is None:
            self._work = WorkFolder(scratch(self._folders))
        if self._fork_server is None or not self._fork_server.alive():
            self._fork_server = ForkServer({**self._order, "work": str(self._work.path) if self._work else None})
        try:
            child = self._child = self._fork_server.start_child()
            kind, payload = receive(child.answers, START_TIMEOUT_S)
        except (EndedError, LateError) as error:
            said = self._fork_server.stderr_tail()
            self.close()
            raise InputError(f"The label engine {self._name!r} must start; it did not. {said}".strip()) from error
        if kind == Kind.REFUSED:
            self.close()
            raise InputError(payload.decode())
        self._theory = payload.decode()
        return child

    def _clear_up(self, *, keep: bool = True) -> str:
        """Keep, or remove, the folder of the label that ended the child; return words that name it."""
        if self._work is None:
            return ""
        words = ""
        for folder in label_folders(self._work.path):
            words += Keeping.of(self._folders).keep(folder) if keep else ""
            remove(folder)
        return words

    def _end_child(self) -> int | None:
        """Kill the child and what it started; return how it ended."""
        child, self._child = self._child, None
        return child.end() if child is not None else None

    def _crash(self, child: Child) -> LabelError:
        """Say how the child ended."""
        said = child.fork_server.stderr_tail()
        code = self._end_child()
        by_kernel = code == -signal.SIGKILL and kernel_kills() > child.kernel_kills
        if by_kernel or _is_out_of_memory(said):
            limit = f"{self._memory_limit_gb:g} GB" if self._memory_limit_gb else "what the node has"
            detail = f"A label may take {limit}; {self._name} wanted more. {said}".strip()
            return LabelError("out-of-memory", detail + self._clear_up())
        detail = f"{self._name} ended its process: {_manner(code)}. {said}".strip()
        return LabelError("engine-crash", detail + self._clear_up())


def single_engine(name: str, settings: Settings) -> LabelEngine:
    """Make an engine for a few labels in this process: guarded if it writes files, which then go where they belong.

    Raises:
        InputError: it cannot be made.
    """
    if find_installed(ENGINES, name).writes_files:
        return GuardedEngine(name, settings.model_dump(mode="json"))
    return make_engine(name, settings)


def _folder_settings(name: str, settings: Mapping[str, JsonValue]) -> FolderSettings:
    """Return those of an engine's settings that say where it works; an engine without them keeps nothing.

    Raises:
        InputError: one breaks its rule, or there is no temporary folder with a plain path for an engine without them.
    """
    kind = find_installed(ENGINES, name)
    if not kind.writes_files:
        return FolderSettings(kept_failures=0)
    if not issubclass(kind.settings, FolderSettings):
        try:
            return FolderSettings(kept_failures=0, scratch_dir=plain_scratch())
        except OSError as error:
            raise InputError(f"The label engine {name!r} needs a folder to work in: {error}.") from error
    given = {key: value for key, value in settings.items() if key in FolderSettings.model_fields}
    return validate(FolderSettings, given, f"settings of {name}")


def _listed(reason: str) -> FailureReason:
    return cast("FailureReason", reason) if reason in FAILURE_REASONS else "engine-error"


def _manner(code: int | None) -> str:
    if code is None:
        return "how is not known"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _is_out_of_memory(text: str) -> bool:
    signs = ("MemoryError", "bad_alloc", "Cannot allocate memory", "insufficient virtual memory")
    return any(sign in text for sign in signs)
