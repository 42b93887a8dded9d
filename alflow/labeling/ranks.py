"""Runs a launcher of MPI ranks, and ends it when the label that it works for is gone.

A launcher that is killed leaves its ranks behind, those of `srun` on all of its nodes; one that is asked to end takes
them along. So what ends a label asks this program; and where that was killed itself, this program notices. It runs as a
file, and imports nothing of alflow, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

WATCHED = "ALFLOW_LABEL_PID"
"""Names the process with whose end the ranks end."""
GRACE_S = 4.0
"""What a launcher gets to end its ranks; then it is killed."""
LOOK_S = 0.5
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NOT_FOUND = 127
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the command that the arguments are; return its exit code, as a shell does."""
    heard = {*ENDING, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    watched = _open(os.environ.get(WATCHED, ""))
    try:
        launcher = subprocess.Popen(  # noqa: S603 - what the site says, without a shell
            sys.argv[1:],
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, heard),  # noqa: PLW1509 - no threads here
        )
    except OSError as error:
        sys.stderr.write(f"{sys.argv[1]}: {error.strerror}: the launcher of ranks is not on the PATH of this worker\n")
        return NOT_FOUND
    while launcher.poll() is None:
        if _is_gone(watched):
            return _end(launcher, signal.SIGTERM)
        got = signal.sigtimedwait(heard, LOOK_S)
        if got is not None and got.si_signo in ENDING:
            return _end(launcher, signal.Signals(got.si_signo))
    return _code(launcher.returncode)


def _open(pid: str) -> int | None:
    """Return a descriptor that tells when a process ends, 0 if it has; None where there is no such thing to watch."""
    if not pid.isdigit() or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(int(pid))
    except ProcessLookupError:
        return 0
    except OSError:
        return None


def _is_gone(watched: int | None) -> bool:
    if watched is None:
        return False
    return watched == 0 or bool(select.select([watched], [], [], 0.0)[0])


def _end(launcher: subprocess.Popen[bytes], why: signal.Signals) -> int:
    """Ask the launcher to end its ranks; kill it where it does not."""
    with contextlib.suppress(ProcessLookupError):
        launcher.terminate()
    deadline = time.monotonic() + GRACE_S
    while launcher.poll() is None and time.monotonic() < deadline:
        signal.sigtimedwait({signal.SIGCHLD}, 0.1)
    if launcher.poll() is None:
        launcher.kill()
        launcher.wait()
    return _code(-int(why))


def _code(returned: int) -> int:
    return returned if returned >= 0 else 128 - returned


if __name__ == "__main__":
    sys.exit(main())
