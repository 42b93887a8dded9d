"""Structure file of a run: its own copy, where the project has been moved since, or the file is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alflow.campaign.plan import make_plan
from alflow.config.campaign import CampaignSettings
from alflow.errors import AlflowError, RunError
from alflow.runs.directory import RunDirectory


def started_from(
    run: RunDirectory, settings: CampaignSettings, say: Callable[[str], None] = lambda _: None
) -> CampaignSettings:
    """Return settings whose structure file is that of the run: its own copy, or the one given.

    The molecule decides, not the path: a copy that holds the given molecule stands for it, and where the given file is
    not there any more, the copy goes on. A file with another molecule is left to the check of the run's identity.

    Args:
        run: the run directory, new or not.
        settings: as given.
        say: shows a sentence to the user.

    Raises:
        RunError: the given file is not there, and the copy is damaged.
    """
    kept = run.with_kept_structure(settings)
    if kept == settings or settings.system.structure is None:
        return settings
    given, copy = Path(settings.system.structure), run.kept_structure()
    first = run.identity().get("molecule")
    found = _molecule(kept)
    if given.exists():
        return kept if found is not None and found == _molecule(settings) else settings
    if found is None or (first is not None and found != first):
        raise RunError(
            f"A run keeps a copy of the structure file that it was started from; {copy} is damaged, and {given} is not "
            "there. Put the file of then in its place."
        )
    say(f"{given} is not there any more; the run goes on from its own copy, {copy}.")
    return kept


def _molecule(settings: CampaignSettings) -> str | None:
    """Return the fingerprint; None where the file cannot be read."""
    try:
        return make_plan(settings).fingerprint
    except AlflowError:
        return None
