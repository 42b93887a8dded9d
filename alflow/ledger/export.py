"""Labels out of the ledger into files of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alflow.config.plugins import FORMATS, find, find_installed, names
from alflow.errors import InputError, PluginError
from alflow.files.targets import check_new, shown
from alflow.ledger.formats.protocol import FormatKind, LabelSelection
from alflow.ledger.reader import LedgerReader
from alflow.ledger.rows import ORIGIN_KINDS, OriginKind


def export_format(path: Path, named: str | None = None) -> str:
    """Return the name of the format that the ending of a file's name promises.

    Args:
        path: of the file.
        named: format that the user names; it has to be the same.

    Raises:
        InputError: the ending promises none, or another than the one named; or there is no such format.
    """
    if named is not None:
        find_installed(FORMATS, named)
    known: dict[str, FormatKind] = {}
    for name in names(FORMATS):
        try:
            known[name] = find(FORMATS, name)
        except PluginError:  # it is told when it is asked for
            continue
    found = next((name for name, kind in known.items() if kind.matches(path)), None)
    if found is None:
        endings = ", ".join(f"{' or '.join(kind.endings)} ({name})" for name, kind in known.items())
        raise InputError(f"The ending of an export's name is that of its format: {endings}; found {shown(path)}.")
    if named not in (None, found):
        raise InputError(
            f"The ending of an export's name is that of its format; {shown(path)} is one of {found}, and the format "
            f"named is {named}."
        )
    return found


def export_labels(
    ledger: LedgerReader,
    path: Path,
    form: str | None = None,
    *,
    theory: str | None = None,
    kinds: Sequence[OriginKind] = ORIGIN_KINDS,
    overwrite: bool = False,
) -> int:
    """Write all labels of one theory in canonical order; return how many. The file appears whole or not at all.

    Args:
        ledger: Where the labels are.
        path: File to write.
        form: Format; that of the name's ending if not given. Each is described in its module of `ledger.formats`.
        theory: Fingerprint of the theory; may be left out if the ledger has one only.
        kinds: Origins that count.
        overwrite: Whether the file may exist.

    Raises:
        InputError: the file exists, the theory is not in the ledger or not named, the format cannot hold a structure or
            is not that of the name.
    """
    chosen: FormatKind = find_installed(FORMATS, export_format(path, form))
    check_new(path, overwrite=overwrite)
    return chosen.write(LabelSelection(ledger, _theory(ledger, theory), kinds), path)


def _theory(ledger: LedgerReader, theory: str | None) -> str:
    known = ledger.theories()
    if theory is None and len(known) == 1:
        return known[0]
    if theory is None or theory not in known:
        found = "none is named" if theory is None else f"{theory!r} is named"
        raise InputError(
            f"An export holds labels of one theory; {found}, and {ledger.path} holds {', '.join(known) or 'no labels'}."
        )
    return theory
