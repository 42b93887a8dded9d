"""A user without a home or a name, as in a container that runs under a bare number: libraries ask for both."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

NOWHERE = os.devnull
"""A home in which nothing can be, and so nothing is written."""


def settle_home() -> None:
    """Where the system knows no home or no name of the user, let libraries find one all the same."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = NOWHERE
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.getuid())
