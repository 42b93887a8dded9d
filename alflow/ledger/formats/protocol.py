"""The protocol of a file format for labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ase import Atoms

from alflow.config.base import Settings
from alflow.config.plugins import Kind
from alflow.ledger.reader import LedgerReader
from alflow.ledger.rows import LedgerRow, Origin, OriginKind
from alflow.types import Dataset


@dataclass(frozen=True)
class LabelSelection:
    """The labels of one theory and of some origins, in canonical order."""

    ledger: LedgerReader
    theory: str
    """Fingerprint of the theory."""
    kinds: Sequence[OriginKind]
    """Origins that count."""

    def __iter__(self) -> Iterator[LedgerRow]:
        return (row for row in self.ledger.rows(self.theory, self.kinds) if row.reason is None)

    def dataset(self) -> tuple[Dataset, tuple[Origin, ...]]:
        """Return the labels by composition, and the origin of each."""
        return self.ledger.dataset(self.theory, kinds=self.kinds)


class FormatKind(Kind[Settings]):
    """A file format. Its name is what `alflow ledger export --format` takes."""

    settings = Settings
    endings: ClassVar[tuple[str, ...]]
    """Endings of the names of its files, in small letters."""
    compressed: ClassVar[tuple[str, ...]] = ()
    """Endings that may stand behind those."""
    exact: ClassVar[bool] = True
    """Whether numbers come back to the last bit."""
    charges: ClassVar[bool] = True
    """Whether it holds charged molecules."""
    reads: ClassVar[bool] = False
    """Whether `read` reads it; otherwise ASE does."""

    def write(self, labels: LabelSelection, path: Path) -> int:
        """Write labels to a new file; return how many.

        Args:
            labels: what is written.
            path: of the file, with the ending of the name that the user gave.

        Raises:
            InputError: the format cannot hold one of them.
        """
        raise NotImplementedError

    def read(self, path: Path) -> Iterator[Atoms]:
        """Yield what `write` wrote: energy (eV) and forces (eV/Å) as results, `charge` and `theory` as entries."""
        raise NotImplementedError

    def matches(self, path: Path) -> bool:
        """Say whether a file's name has one of the endings."""
        name = path.name.lower()
        behind = next((ending for ending in self.compressed if name.endswith(ending)), "")
        plain = name.removesuffix(behind)
        return plain.endswith(self.endings) and plain not in self.endings


def place(origin: Origin) -> dict[str, int]:
    """Return where a label comes from, as plain entries."""
    return {
        "iteration": origin.iteration,
        "pull": origin.pull,
        "step": origin.step,
        "jitter": origin.jitter,
    }
