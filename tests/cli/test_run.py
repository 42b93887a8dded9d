"""`alflow run` as a user meets it: what is refused, and what a finished campaign leaves."""

import json
import tomllib

import ase.io
import numpy as np
import pytest

from alflow.ledger import LedgerReader
from alflow.runs.directory import RunDirectory
from alflow.runs.events import read_events

SITE_WITHOUT_FUNCTION = "x = 1\n"
SITE_WITHOUT_GPU = """
from parsl import Config
from parsl.executors import ThreadPoolExecutor


def make_config(run_dir, **options):
    return Config(executors=[ThreadPoolExecutor("cpu")])
"""


def refused(alflow, *arguments):
    code, out, err = alflow("run", *arguments)
    assert code == 2, (out, err)
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("iteration=3", ["iteration: this key is unknown", "did you mean iterations?"]),
        ("sampling.pull.stepz=3", ["sampling.pull.stepz: this key is unknown", "did you mean steps"]),
        ("iterations=many", ["iterations: input should be a valid integer", "found 'many'"]),
        ("sampling.pull.timestep_fs=-0.5", ["sampling.pull.timestep_fs:", "greater than 0", "found -0.5"]),
        ("labels.engine=gaussian", ["labels.engine:", "ase, dftb3, dftbplus, gfn2-xtb", "none named 'gaussian'"]),
        ("system.pulled_atoms=[0, 8]", ["must be two atoms of the molecule", "from 0 to 7", "[0, 8]"]),
        ("system.pulled_atoms=[3, 3]", ["pulled_atoms must be two different indices"]),
        ("labels.settings.calculator=ase.calculators.emt.EMU", ["ase.calculators.emt", "EMU"]),
        ("split.members=1", ["split.members must be at least 2", "one has none"]),
        ("labels.settings.colour=red", ["labels.settings.colour: this key is unknown"]),
    ],
)
def test_a_bad_setting_is_refused_with_rule_value_and_place(alflow, tiny_file, tmp_path, setting, words):
    message = refused(alflow, tiny_file, "--set", setting, "-o", "kind=threads")
    for word in words:
        assert word in message
    assert not (tmp_path / "runs").exists()


def test_an_element_that_the_engine_does_not_know_is_refused(alflow, tiny_file, tmp_path):
    (tmp_path / "xe.xyz").write_text("2\n\nXe 0 0 0\nC 0 0 2\n")
    text = tiny_file.read_text().replace("carbons = [2]", 'structure = "xe.xyz"\npulled_atoms = [0, 1]')
    tiny_file.write_text(text)
    message = refused(alflow, tiny_file, "-o", "kind=threads")
    assert "the label engine must be able to label every starting structure" in message
    assert "Xe" in message


def test_a_missing_campaign_is_refused_with_the_known_ones(alflow):
    assert "there is no 'quickstrat'" in refused(alflow, "quickstrat")


def test_a_file_that_is_not_toml_is_refused(alflow, tmp_path):
    (tmp_path / "bad.toml").write_text("name = [")
    assert "must be TOML" in refused(alflow, tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("source", "words"), [(SITE_WITHOUT_FUNCTION, ["make_config"]), (SITE_WITHOUT_GPU, ["gpu", "cpu"])]
)
def test_a_bad_site_file_is_refused(alflow, tiny_file, tmp_path, source, words):
    site = tmp_path / "mysite.py"
    site.write_text(source)
    message = refused(alflow, tiny_file, "--site", site)
    for word in words:
        assert word in message
    assert "mysite" in message


def test_an_unknown_site_and_option_are_refused(alflow, tiny_file):
    assert "lokal" in refused(alflow, tiny_file, "--site", "lokal")
    assert "worker" in refused(alflow, tiny_file, "--site", "local", "-o", "worker=3")


def test_a_campaign_ends_with_a_table_a_figure_and_where_everything_lies(finished):
    folder, out = finished
    run = RunDirectory(folder / "runs" / "tiny")
    assert "all 2 iterations are done" in out
    assert "barrier" in out
    assert str(run.ledger) in out
    assert (run.figures / "work.png").stat().st_size > 10_000
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["packages"]["torch"] != "absent"
    assert tomllib.loads((run.path / "campaign.toml").read_text())["iterations"] == 2


def test_the_last_status_counts_every_step_and_label(finished):
    status = json.loads((finished[0] / "runs" / "tiny" / "status.json").read_text())
    assert status["state"] == "finished"
    assert (status["pull"]["steps_done"], status["pull"]["steps_wanted"]) == (60, 60)
    assert status["labels"]["done"] == status["labels"]["wanted"] > 0


def test_records_hold_what_the_ledger_holds(finished):
    run = RunDirectory(finished[0] / "runs" / "tiny")
    first, second = run.records()
    assert second.labels == first.labels + first.new_labels
    assert first.labels == 41
    with LedgerReader.open(run.ledger) as ledger:
        (theory,) = ledger.theories()
        assert len(ledger.dataset(theory)[0]) == second.labels + second.new_labels
    assert second.barrier_error_ev.mean == pytest.approx(second.barrier_ev.mean - second.reference_barrier_ev.mean)


def test_every_task_left_a_line(finished):
    run = RunDirectory(finished[0] / "runs" / "tiny")
    events = [event for event in read_events(run.events) if "task" in event]
    assert {event["what"] for event in events} >= {"md-segment", "train", "pull-segment", "label", "reference-segment"}
    for event in events:
        assert event["outcome"] == "ok"
        assert event["submitted"] <= event["started"] + 0.01
        assert event["started"] <= event["ended"]
        assert event["host"]
        assert event["pid"]
        assert event["executor"] in ("cpu", "gpu")


def test_ase_opens_the_trajectories(finished):
    run = RunDirectory(finished[0] / "runs" / "tiny")
    images = ase.io.read(run.iteration(1) / "pull-00.xyz", ":")
    assert images[0].info["step"] == 0
    assert images[-1].info["step"] == 60
    assert len(images[0]) == 8
    assert np.isfinite(images[-1].info["work_ev"])


def test_the_same_command_again_does_nothing_more(finished, alflow, monkeypatch):
    monkeypatch.chdir(finished[0])
    before = (finished[0] / "runs" / "tiny" / "iterations.jsonl").read_text()
    code, out, _ = alflow("run", "tiny.toml", "-o", "kind=threads")
    assert code == 0
    assert "all 2 iterations are done" in out
    assert (finished[0] / "runs" / "tiny" / "iterations.jsonl").read_text() == before


def test_a_run_of_another_campaign_is_refused_by_name_of_the_setting(finished, alflow, monkeypatch):
    monkeypatch.chdir(finished[0])
    message = refused(alflow, "tiny.toml", "--set", "seed=2", "-o", "kind=threads")
    assert "seed: 1 → 2" in message


def test_a_dry_run_prints_the_plan_and_submits_nothing(alflow, tiny_file, tmp_path):
    code, out, _ = alflow("run", tiny_file, "--dry-run", "-o", "kind=threads")
    assert code == 0
    for word in ("first data", "training", "pull", "labels", "Nothing was submitted", "worker-seconds"):
        assert word in " ".join(out.split())
    assert not (tmp_path / "runs").exists()


def test_config_show_prints_every_setting(alflow, tiny_file):
    code, out, _ = alflow("config", "show", tiny_file, "--set", "training.epochs=7")
    assert code == 0
    shown = tomllib.loads(out)
    assert shown["potential"]["ani"]["training"]["epochs"] == 7
    assert shown["sampling"]["pull"]["spring_ev_per_angstrom2"] == 10.0


def test_config_schema_describes_every_field(alflow):
    code, out, _ = alflow("config", "schema")
    assert code == 0
    schema = json.loads(out)
    for name, definition in {"CampaignSettings": schema, **schema["$defs"]}.items():
        for field, described in definition.get("properties", {}).items():
            referred = schema["$defs"].get(described.get("$ref", "").rpartition("/")[2], {})
            assert "description" in described | referred, f"{name}.{field} has no description"


def test_what_looks_at_a_run_works_on_a_finished_one(finished, alflow, monkeypatch, tmp_path):
    monkeypatch.chdir(finished[0])
    code, out, _ = alflow("status", "runs/tiny")
    assert code == 0
    assert "finished" in out
    code, out, _ = alflow("report", "runs/tiny")
    assert code == 0
    assert (finished[0] / "runs" / "tiny" / "report.html").stat().st_size > 10_000
    code, out, _ = alflow("ledger", "check", "runs/tiny")
    assert code == 0
    assert "The ledger is sound" in out
    code, out, _ = alflow("ledger", "export", "runs/tiny", tmp_path / "labels.xyz")
    assert code == 0
    assert len(ase.io.read(tmp_path / "labels.xyz", ":")) == int(out.split()[0])
    code, out, err = alflow("evaluate", "runs/tiny/iteration-001/ensemble.pt", tmp_path / "labels.xyz")
    assert code == 0, err
    assert "member 1" in out
    assert (tmp_path / "labels.png").stat().st_size > 10_000


def test_a_ledger_takes_in_labels_of_its_own_theory(finished, alflow, monkeypatch, tmp_path):
    import shutil

    shutil.copytree(finished[0] / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    assert alflow("ledger", "export", "runs/tiny", "labels.xyz")[0] == 0
    code, out, _ = alflow("ledger", "import", "runs/tiny", "labels.xyz")
    assert code == 0
    assert out.startswith("0 labels imported")
    text = (tmp_path / "labels.xyz").read_text()
    (tmp_path / "other.xyz").write_text(text.replace("theory=", "theory=0000", 1))
    code, _, err = alflow("ledger", "import", "runs/tiny", "other.xyz")
    assert code == 2
    assert "theor" in err
    code, _, err = alflow("ledger", "import", "runs/tiny", "labels.xyz", "--theory", "mine")
    assert code == 2
    assert "'mine'" in err
