"""The label ledger: every label of a campaign, with its theory and where it came from, in one SQLite file."""

from alflow.ledger.check import LedgerReport, check_ledger
from alflow.ledger.reader import Counts, LedgerReader, Lookup
from alflow.ledger.rows import (
    ORIGIN_KINDS,
    TRAINING_KINDS,
    LedgerRow,
    Origin,
    OriginKind,
    label_rows,
    structure_key,
    structure_keys,
)
from alflow.ledger.writer import Ledger

__all__ = [
    "ORIGIN_KINDS",
    "TRAINING_KINDS",
    "Counts",
    "Ledger",
    "LedgerReader",
    "LedgerReport",
    "LedgerRow",
    "Lookup",
    "Origin",
    "OriginKind",
    "check_ledger",
    "label_rows",
    "structure_key",
    "structure_keys",
]
