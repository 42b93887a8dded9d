"""Options that several commands have: one name for one thing, and the names that it had before."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

SiteName = Annotated[str, typer.Option("--site", "-s", help="Site: a name from `alflow site list`, or a Python file.")]
SiteOptions = Annotated[
    list[str] | None,
    typer.Option("--site-option", "-O", help="Option of the site file: -O workers=4. May be repeated."),
]
OldSiteOptions = Annotated[list[str] | None, typer.Option("-o", hidden=True)]
"""What `--site-option` was called; in `alflow label` and `ledger export`, -o is the output."""
EnergyKey = Annotated[str, typer.Option("--energy-key", help="What energies are called in the file, eV.")]
ForcesKey = Annotated[str, typer.Option("--forces-key", help="What forces are called in the file, eV/Å.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write over files that are named here and exist.")]
"""Without it, a file that the user names is not written over; one whose name alflow chooses is."""
RunDir = Annotated[Path, typer.Argument(help="Run directory.", show_default=False)]


def site_options(*given: Iterable[str] | None) -> dict[str, str]:
    """Return the options of a site by name, from all of their spellings.

    Raises:
        SiteError: one is not name=value, or is given twice.
    """
    from alflow.execution.sites import parse_option_pairs

    return parse_option_pairs(pair for pairs in given for pair in pairs or ())
