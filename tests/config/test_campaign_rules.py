"""Combinations of settings that would give nonsense are refused with a sentence."""

import tomllib

import pytest
import tomli_w
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
        ({"sampling": {"replicas": 0}}, "sampling.replicas: replicas are a whole number from 1 on"),
        ({"sampling": {"replicas": True}}, "replicas are a whole number from 1 on"),
        ({"sampling": {"replicas": {"search": 0, "certify": 3}}}, "sampling.replicas.search: input should be greater"),
        ({"sampling": {"replicas": {"search": 4, "certify": 3}}}, "got search = 4 and certify = 3"),
        ({"sampling": {"replicas": {"search": 4}}}, "sampling.replicas.certify: this key is required"),
        ({"sampling": {"replicas": {"serch": 4, "certify": 8}}}, "did you mean search"),
        (
            {"sampling": {"replicas": {"search": 1, "certify": 8}}, "stop": {"stop_when": "error"}},
            "set sampling.replicas.search to 2 or more",
        ),
    ],
)
def test_refused(overrides, message):
    data = tomllib.loads(TINY)
    for table, values in overrides.items():
        data[table] = {**data.get(table, {}), **values}
    with pytest.raises(ConfigError, match=message):
        validate_campaign(data, "tiny")


@pytest.mark.parametrize(
    ("replicas", "written", "overrides", "found"),
    [
        (5, "replicas = 5", (), (5, 5)),
        ({"search": 2, "certify": 5}, "search = 2", (), (2, 5)),
        ({"search": 5, "certify": 5}, "replicas = 5", (), (5, 5)),
        ({"search": 2, "certify": 5}, "search = 4", ("sampling.replicas.search=4",), (4, 5)),
        (5, "search = 2", ("sampling.replicas={search = 2, certify = 3}",), (2, 3)),
    ],
)
def test_replicas_come_back_from_the_resolved_settings(tmp_path, replicas, written, overrides, found):
    data = tomllib.loads(TINY)
    data["sampling"]["replicas"] = replicas
    path = tmp_path / "campaign.toml"
    path.write_text(tomli_w.dumps(data))
    settings = load_campaign(path, overrides)
    assert (settings.sampling.replicas.search, settings.sampling.replicas.certify) == found
    path.write_text(to_toml(settings))
    assert written in path.read_text()
    assert load_campaign(path) == settings


def test_a_structure_file_comes_back_from_the_resolved_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tomllib.loads(TINY) | {"system": {"structure": "x.xyz"}}
    settings = validate_campaign(data, "tiny")
    (tmp_path / "campaign.toml").write_text(to_toml(settings))
    monkeypatch.chdir("/")
    again = load_campaign(tmp_path / "campaign.toml")
    assert again == settings
    assert again.system.structure == str(tmp_path / "x.xyz")
