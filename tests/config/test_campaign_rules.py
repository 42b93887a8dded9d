"""Combinations of settings that would give nonsense are refused with a sentence."""

import tomllib

import pytest
from tinycampaign import TINY

from alflow.config.load import load_campaign, to_toml, validate_campaign
from alflow.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sampling": {"rates_angstrom_per_ps": [0.0, 1.0]}}, "rates_angstrom_per_ps"),
        ({"sampling": {"rates_angstrom_per_ps": [1.0, 1.0]}}, "rates_angstrom_per_ps must be distinct"),
        ({"sampling": {"pull": {"steps": 60, "record_stride": 7}}}, "must divide pull.steps"),
        ({"sampling": {"reference": False}, "stop": {"stop_when": "error"}}, "needs reference pulls"),
        (
            {"selection": {"threshold": "conformal"}, "split": {"kind": "random"}},
            "calibrated on rows that no member trained on",
        ),
        ({"sampling": {"batch": 0}}, "sampling.batch"),
        ({"sampling": {"batch": 4}, "stop": {"pull_spread_factor": 2.0}}, "ends single pulls"),
        ({"sampling": {"batch": 4}, "potential": {"kind": "schnet"}, "training": {}}, "at once: 'schnet' does not"),
        ({"system": {"carbons": [6], "structure": "x.xyz"}}, "either carbons or structure"),
    ],
)
def test_refused(overrides, message):
    data = tomllib.loads(TINY)
    for table, values in overrides.items():
        data[table] = {**data.get(table, {}), **values}
    with pytest.raises(ConfigError, match=message):
        validate_campaign(data, "tiny")


def test_a_structure_file_comes_back_from_the_resolved_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tomllib.loads(TINY) | {"system": {"structure": "x.xyz"}}
    settings = validate_campaign(data, "tiny")
    (tmp_path / "campaign.toml").write_text(to_toml(settings))
    monkeypatch.chdir("/")
    again = load_campaign(tmp_path / "campaign.toml")
    assert again == settings
    assert again.system.structure == str(tmp_path / "x.xyz")
