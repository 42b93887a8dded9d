"""What every file format has to be, whoever brings it."""

import numpy as np
import pytest
from guests import welcome

from alflow.config.plugins import FORMATS, PluginError, find_installed, names
from alflow.errors import InputError
from alflow.ledger import Ledger, LedgerRow, Origin
from alflow.ledger.export import export_format, export_labels
from alflow.ledger.imports import import_labels
from alflow.types import Composition

welcome()
THEORY = "1234567e8"  # text, not a number


def kinds():
    for name in names(FORMATS):
        try:
            yield name, find_installed(FORMATS, name)
        except PluginError:
            continue


KINDS = dict(kinds())


@pytest.fixture(params=KINDS)
def form(request):
    return request.param


def rows(charge=0):
    rng = np.random.default_rng(5)
    molecules = [np.array([6, 1, 1, 1, 1]), np.array([8, 1, 1]), np.array([6, 1, 1, 1, 1])]
    for step, numbers in enumerate(molecules):
        positions = rng.normal(size=(len(numbers), 3)) + 3.0 * np.arange(len(numbers))[:, None]
        label = {"energy": -100.0 - rng.random(), "forces": rng.normal(size=positions.shape)}
        yield LedgerRow(THEORY, Composition(numbers, charge), positions, Origin("selected", 1, 0, step), **label)


@pytest.mark.parametrize("charge", [0, -1])
def test_what_goes_out_comes_back(form, tmp_path, charge):
    kind = KINDS[form]
    path = tmp_path / f"labels{kind.endings[0]}"
    with Ledger.open(tmp_path / "one") as one, Ledger.open(tmp_path / "other") as other:
        one.add(rows(charge))
        if charge and not kind.charges:
            with pytest.raises(InputError, match="neutral"):
                export_labels(one, path)
            return
        assert export_labels(one, path) == 3
        assert import_labels(other, path, THEORY).new == 3
        found = {row.key: row for row in other.rows()}
        for row in one.rows():
            back = found[row.key]  # the key is of atoms, charge, positions and theory, to the last bit
            if kind.exact:
                assert back.energy == row.energy
                assert np.array_equal(back.forces, row.forces)
            else:
                assert back.energy == pytest.approx(row.energy, rel=1e-14)
                np.testing.assert_allclose(back.forces, row.forces, rtol=1e-14)


def test_its_name_ends_as_no_other_s(form, tmp_path):
    for ending in KINDS[form].endings:
        assert export_format(tmp_path / f"labels{ending}") == form
        assert [name for name, kind in KINDS.items() if kind.matches(tmp_path / f"labels{ending}")] == [form]


def test_a_file_that_is_none_is_a_sentence(form, tmp_path):
    path = tmp_path / f"labels{KINDS[form].endings[0]}"
    path.write_bytes(b"none\x00")
    with Ledger.open(tmp_path / "l") as ledger, pytest.raises(InputError, match="labels"):
        import_labels(ledger, path, THEORY)
