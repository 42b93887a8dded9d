import pytest

from alflow.config.load import validate_campaign
from alflow.report.citations import METHOD, citations

DFTB3, TBLITE, D3 = "DFTB3: ", "tblite: ", ("D3: ", "D3(BJ): ")


@pytest.mark.parametrize(
    ("labels", "named", "absent"),
    [
        ({"engine": "dftb3"}, DFTB3, D3[0]),
        ({"engine": "dftb3", "settings": {"dispersion": "d3bj"}}, D3[1], TBLITE),
        ({"engine": "gfn2-xtb"}, TBLITE, DFTB3),
        (
            {"engine": "ase", "settings": {"calculator": "ase.calculators.emt.EMT"}},
            "and what the calculator ase.calculators.emt.EMT asks to be cited",
            DFTB3,
        ),
    ],
)
def test_what_is_used_is_cited_and_nothing_else(labels, named, absent):
    found = citations(validate_campaign({"name": "x", "labels": labels}, "here"))
    assert METHOD in found
    assert any(line.startswith(named) for line in found)
    assert not any(line.startswith(absent) for line in found)
    assert any("TorchANI" in line for line in found)
    assert any("Parsl" in line for line in found)
