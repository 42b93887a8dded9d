"""Other drivers of a run, in processes of their own, which import them by this module's name."""

import errno
import fcntl
import time

from alflow.errors import RunError
from alflow.runs import lock as runlock
from alflow.runs.lock import RunLock


def hold(path, ready, release, locks):
    runlock.BEAT_SECONDS = 0.1
    if not locks:

        def flock(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        fcntl.flock = flock
    with RunLock(path):
        ready.set()
        release.wait(60)


def race(path, results, start):
    runlock.BEAT_SECONDS, runlock.WATCH_SECONDS, runlock.LOOK_SECONDS = 0.1, 1.0, 0.1

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    fcntl.flock = flock
    start.wait(60)
    try:
        with RunLock(path) as lock:
            time.sleep(3.0)
            results.put("lost" if lock.lost else "held")
    except RunError:
        results.put("refused")
