"""A process that writes a ledger until it is killed."""

from rows import row

from alflow.ledger import Ledger


def write_until_killed(path, ready):
    with Ledger.open(path) as ledger:
        for seed in range(100_000):
            ledger.add([row(2 * seed), row(2 * seed + 1)])
            ledger.commit()
            if seed == 20:
                ready.set()
