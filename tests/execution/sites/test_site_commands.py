"""`alflow site` and `alflow bench` as a user types them."""

import json

import pytest


def test_sites_are_listed_and_shown(alflow, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = alflow("site", "list")
    assert code == 0
    assert {"local", "frontier", "kubernetes", "globus"} <= {
        line.split()[0] for line in out.splitlines() if line.strip()
    }
    code, out, _ = alflow("site", "show", "frontier")
    assert code == 0
    assert "(required)" in out
    assert "project that is charged" in out
    assert "https://docs.olcf.ornl.gov" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("site", "show", "fronteir"), "did you mean 'frontier'"),
        (("site", "check", "perlmutter"), "needs account; give -O account=..."),
        (("site", "check", "local", "-o", "workers"), "is written name=value"),
        (("bench", "label", "-o", "wrokers=2"), "did you mean 'workers'"),
        (("bench", "label", "--workers", "two"), "--workers is whole numbers joined by commas; got 'two'"),
        (("bench", "label", "--engine", "sleep", "--label-seconds", "0"), "--label-seconds is above 0"),
        (("bench", "label", "--engine", "sleep", "--count", "0"), "at least one frame; got 0"),
        (("bench", "label", "--engine", "gaussian"), "there is none named 'gaussian'"),
        (("site", "check", "local", "--engine", "ase"), "calculator: this key is required"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(alflow, tmp_path, words, said):
    code, _, err = alflow(*words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_a_benchmark_of_threads(alflow, tmp_path):
    words = ("bench", "label", "-o", "kind=threads", "-o", "workers=2", "--engine", "sleep", "--label-seconds", "0.002")
    code, out, err = alflow(*words, "--count", "100", "--chunks", "1,10", "--run-dir", "logs")
    assert code == 0, err
    written = json.loads((tmp_path / "bench-label.json").read_text())
    assert [row["account"]["tasks"] for row in written["rows"]] == [100, 10]
    assert (tmp_path / "bench-label.svg").exists()
    assert "labels/s" in out
