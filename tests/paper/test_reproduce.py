"""`alflow reproduce`, with campaigns small enough to run here: the paper's files, their numbers made tiny."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alflow.config.load import load_campaign
from alflow.display.view import Silent
from alflow.errors import ConfigError, InputError
from alflow.files.resources import resource_folders
from alflow.paper import FIGURES, reproduce_figures, runs, transfer
from alflow.paper import numbers as paper
from alflow.paper.fluctuation import equal_means
from alflow.paper.result import Row, scatter

THREADS = {"kind": "threads", "workers": "1"}
TINY = (
    'labels={engine="ase", settings={calculator="ase.calculators.emt.EMT"}, max_failed_share=1.0}',
    "iterations=2",
    "first_data.md.steps=39",
    'training.preset="fast"',
    "training.epochs=2",
    "potential.ani={hidden_layers={H=[8, 8], C=[8, 8]}, other_layers=[8, 8]}",
    "split.members=2",
    "sampling.relax.langevin_steps=10",
    "sampling.relax.berendsen_steps=10",
    "sampling.pull.steps=40",
    "sampling.pull.segment_steps=20",
    "sampling.pull.rate_angstrom_per_ps=130.0",
    "selection.first_steps=10",
    "selection.cap=3",
    "selection.similarity_energy_ev=0.0",
)
"""EMT is no model of hexane, but smooth and quick; the rate takes the spring as far as the paper's pull in 40 steps."""


def load(name):
    folder = next(folder for folder in resource_folders("configs") if (folder / "paper").is_dir())
    return load_campaign(folder / f"{name}.toml")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the folder of runs and a function that reproduces one figure in it."""
    folder = tmp_path_factory.mktemp("reproduce")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "QUICK", TINY)
        patch.setattr(transfer, "QUICK_RATES", (130.0, 260.0))
        patch.setattr(transfer, "QUICK_CHAINS", (3, 6))

        def figure(name):
            (result,) = reproduce_figures([name], folder, "local", THREADS, Silent(), quick=True)
            return result

        yield folder, figure


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows_of(result):
    return {row["quantity"]: row for row in json.loads(result.json.read_text())["rows"]}


def test_figure_3_has_a_picture_and_a_table_of_what_the_campaign_recorded(made):
    folder, figure = made
    result = figure("fig3")
    assert result.picture.read_bytes()[:4] == b"\x89PNG"
    table = json.loads(result.json.read_text())
    assert table["quick"]
    assert "(reduced version)" in table["title"]
    assert table["seconds"] > 0
    assert "Reduced version" in table["differs"]
    rows = rows_of(result)
    record = lines(folder / "paper-fig3" / "iterations.jsonl")[-1]
    last = rows["barrier error, last iteration"]
    assert last["paper"] == 0.007
    assert last["ours"] == pytest.approx(abs(record["barrier_error_ev"]["mean"]))
    assert last["difference"] == pytest.approx(last["ours"] - 0.007)
    assert rows["labels learnt from in the last iteration"]["ours"] == record["labels"]
    assert rows["smallest barrier error"]["paper"] is None


def test_a_second_call_runs_nothing_again(made):
    folder, figure = made
    figure("fig3")
    before = (folder / "paper-fig3" / "events.jsonl").read_text()
    figure("fig3")
    assert (folder / "paper-fig3" / "events.jsonl").read_text() == before


def test_figure_2_trains_on_the_frames_of_the_reference_pull(made):
    folder, figure = made
    rows = rows_of(figure("fig2"))
    (record,) = lines(folder / "paper-fig2-smd" / "iterations.jsonl")
    assert record["labels"] == 41 + 2
    assert rows["barrier, trained on the DFTB pull"]["ours"] == pytest.approx(record["barrier_ev"]["mean"])
    first = lines(folder / "paper-fig3" / "iterations.jsonl")[0]
    assert rows["barrier, trained on first data"]["ours"] == pytest.approx(first["barrier_ev"]["mean"])
    assert rows["barrier, DFTB"]["ours"] == pytest.approx(first["reference_barrier_ev"]["mean"])


def test_a_reference_pull_that_another_campaign_has_is_not_run_again(made):
    folder, figure = made
    figure("fig2")
    kinds = {line["what"] for line in lines(folder / "paper-fig2-smd" / "events.jsonl")}
    assert "pull-segment" in kinds
    assert "reference-segment" not in kinds
    assert "md-segment" in kinds
    assert len(list((folder / "paper-fig2-smd").glob("reference/*/pull-00/segment-*.npz"))) == 2


def test_s2_goes_on_with_the_campaign_of_figure_3(made):
    folder, figure = made
    before = lines(folder / "paper-fig3" / "iterations.jsonl") if (folder / "paper-fig3").exists() else []
    rows = rows_of(figure("s2"))
    after = lines(folder / "paper-fig3" / "iterations.jsonl")
    assert len(after) == 4
    assert after[: len(before)] == before
    later = [abs(record["barrier_error_ev"]["mean"]) for record in after[1:]]
    assert rows["largest barrier error in the second half"]["ours"] == pytest.approx(max(later))
    assert rows_of(figure("fig3"))["labels learnt from in the last iteration"]["ours"] == after[1]["labels"]


def test_the_spread_figure_reports_the_records_thresholds(made):
    folder, figure = made
    rows = rows_of(figure("s1"))
    records = lines(folder / "paper-fig3" / "iterations.jsonl")[:2]
    thresholds = [record["threshold"][0] for record in records]
    assert rows["largest threshold over smallest"]["ours"] == pytest.approx(max(thresholds) / min(thresholds))


@pytest.mark.slow
def test_figures_5_and_6_run_all_four_campaigns(made):
    folder, figure = made
    rows = rows_of(figure("fig5"))
    assert len(rows) == 8
    assert {path.name for path in folder.glob("paper-fig5-*")} == {"paper-fig5-3", "paper-fig5-5", "paper-fig5-7"}
    assert rows["inherited, 3 members: mean error in the second half"]["paper"] == 0.2
    unseen = rows_of(figure("fig6"))
    assert all(row["ours"] > 0 for row in unseen.values())


@pytest.mark.slow
def test_all_chains_stand_beside_hexane_alone(made):
    folder, figure = made
    rows = rows_of(figure("alkanes"))
    assert {"C3: barrier error, hexane only", "C3: barrier error, all chains"} < rows.keys()
    assert rows["C6: barrier error, hexane only"]["ours"] != rows["C6: barrier error, all chains"]["ours"]
    assert lines(folder / "alkanes" / "iterations.jsonl")[0]["labels"] == 2 * 2  # two frames of each of two chains


def test_chains_and_rates_compare_pairs_from_the_same_start(made):
    folder, figure = made
    chains = rows_of(figure("fig7"))
    assert {"C3: barrier, DFTB", "C6: barrier error of the hexane network"} <= chains.keys()
    rates = rows_of(figure("s7"))
    assert len(rates) == 4
    (reference,) = folder.glob("chains-paper-fig3-reference/C6-*/segment-000.npz")
    (network,) = folder.glob("chains-paper-fig3-paper-fig3-iteration-001/C6-*/segment-000.npz")
    with np.load(reference) as first, np.load(network) as second:
        np.testing.assert_array_equal(first["positions"][0], second["positions"][0])
        assert first["energy"][0] != second["energy"][0]


@pytest.mark.parametrize(
    ("name", "campaigns"),
    [
        ("fluctuation", {"random split": "paper-fig3", "inherited rows": "paper-fig5-3"}),
        ("fluctuation-members", {"five members": "paper-fig5-5", "seven members": "paper-fig5-7"}),
    ],
)
def test_fluctuation_pairs_the_best_member_of_each_iteration_with_the_same_reference_pulls(made, name, campaigns):
    folder, figure = made
    rows = rows_of(figure(name))
    assert len(rows) == 14
    for title, campaign in campaigns.items():
        records = lines(folder / campaign / "iterations.jsonl")[:2]
        single = [record["barrier_error_ev"]["mean"] for record in records]
        assert rows[f"{title}: scatter of the one pull's error"]["ours"] == pytest.approx(np.std(single, ddof=1))
    (reference,) = folder.glob("fluctuation-C6-reference/C6-replica-1001-*/segment-000.npz")
    pulls = [
        pull
        for campaign in campaigns.values()
        for pull in folder.glob(f"fluctuation-{campaign}-*/C6-replica-1001-*/segment-000.npz")
    ]
    assert len(pulls) == 2 * 2  # two iterations of two campaigns
    with np.load(reference) as first, np.load(pulls[0]) as second:
        np.testing.assert_array_equal(first["positions"][0], second["positions"][0])


def test_a_pair_of_which_a_pull_was_cut_short_is_left_out_and_counted(made):
    folder, figure = made
    before = rows_of(figure("fluctuation"))
    last = max(folder.glob("fluctuation-paper-fig3-000/C6-replica-1001-*/segment-*.npz"))
    whole = last.read_bytes()
    with np.load(last) as data:
        arrays = {**data, "stopped": "an atom is too far away"}
    np.savez(last, **arrays)
    after = rows_of(figure("fluctuation"))
    last.write_bytes(whole)
    counted = "random split: pairs of which a pull was cut short"
    assert (before[counted]["ours"], after[counted]["ours"]) == (0, 1)
    scattered = "random split: scatter of the mean over the starts"
    assert before[scattered]["ours"] is not None
    assert after[scattered]["ours"] is None  # one iteration of two is left
    other = "inherited rows: scatter of the mean over the starts"
    assert after[other] == before[other]


def test_equal_means_takes_out_what_a_start_shares():
    noise = np.array([[0.1, -0.1, 0.1, -0.1], [-0.1, 0.1, 0.1, -0.1], [0.1, 0.1, -0.1, -0.1]])
    starts = np.array([5.0, -3.0, 2.0, 0.0])
    expected, probability = equal_means(noise + starts)
    assert expected == pytest.approx(equal_means(noise)[0])
    assert probability == pytest.approx(1.0)  # the means are all zero
    shifted = noise + starts + np.array([[0.0], [1.0], [2.0]])
    assert equal_means(shifted)[0] == pytest.approx(expected)
    assert equal_means(shifted)[1] < 1e-3


def test_an_unknown_figure_is_refused_with_a_hint(tmp_path):
    with pytest.raises(InputError, match=r"'fig33' is not\. did you mean .*'fig3'"):
        reproduce_figures(["fig3", "fig33"], tmp_path, "local", THREADS, Silent(), quick=True)


def test_a_wrong_site_option_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match=r"no option 'wokers': did you mean 'workers'"):
        reproduce_figures(["fig3"], tmp_path, "local", {"wokers": "2"}, Silent(), quick=True)
    assert not list(tmp_path.iterdir())


def test_a_missing_campaign_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"configs/paper/fig99\.toml"):
        runs.Runs(tmp_path, "local", THREADS, Silent(), quick=False).settings("paper/fig99")


def test_the_command_line_prints_the_table(made, tmp_path):
    """In a process of its own, as a user meets it; what an earlier test made is found again."""
    folder, figure = made
    figure("fig3")
    code = (
        "import sys; from alflow.paper import runs; from test_reproduce import TINY; runs.QUICK = TINY; "
        f"sys.argv = ['alflow', 'reproduce', 'fig3', '--quick', '--runs', {str(folder)!r}]; "
        "from alflow.cli import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "COLUMNS": "160"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "barrier error, last iteration" in done.stdout
    assert "fig3.png" in done.stdout


def test_s2_is_the_campaign_of_figure_3_with_more_iterations():
    first, second = load("paper/fig3"), load("paper/s2")
    assert second.iterations == 20
    assert second.model_copy(update={"name": first.name, "iterations": first.iterations}) == first


def test_figure_4_differs_in_the_potential_alone():
    first, other = load("paper/fig3"), load("paper/fig4")
    assert (other.potential.kind, other.potential.settings.preset) == ("schnet", "paper")
    changed = {"name": first.name, "iterations": first.iterations, "potential": first.potential}
    assert other.model_copy(update=changed) == first


@pytest.mark.parametrize(("members", "iterations"), [(3, 10), (5, 10), (7, 13)])
def test_figure_5_differs_in_rows_and_members_alone(members, iterations):
    first, other = load("paper/fig3"), load(f"paper/fig5-{members}")
    assert (other.split.members, other.split.kind, other.iterations) == (members, "inherited", iterations)
    changed = {"name": first.name, "iterations": first.iterations, "split": first.split}
    assert other.model_copy(update=changed) == first


def test_the_papers_campaign_is_the_papers():
    settings = load("paper/fig3")
    selection, sampling = settings.selection, settings.sampling
    assert settings.first_data.md.steps + 1 == 2000
    assert (selection.threshold, selection.first_steps, selection.cap, selection.cap_order) == (
        "first-steps",
        1000,
        50,
        "first",
    )
    assert (sampling.relax_with, settings.potential.driver) == ("potential", "best-member")
    training = settings.potential.settings.training
    assert (training.epochs, training.batch_size, training.force_weight) == (300, 64, 0.1)
    labels = 2000 + (settings.iterations - 1) * selection.cap * (1 + settings.augmentation.copies)
    assert labels == paper.FIG3_LABELS


def test_the_papers_pull_ends_where_its_text_says():
    curve = paper.dftb_pull()
    assert curve.work[-1] == pytest.approx(paper.DFTB_BARRIER_EV, abs=0.005)
    assert curve.distance[-1] - curve.distance[0] == pytest.approx(3.25, abs=0.001)


def test_rows_and_scatter():
    assert Row("x", "eV", 1.0, 1.5).difference == 0.5
    assert Row("x", "eV", None, 1.5).difference is None
    assert scatter([9.0, 9.0, 1.0, 3.0]) == pytest.approx(math.sqrt(2.0))
    assert scatter([9.0, 9.0, 9.0, 1.0, math.nan, 3.0]) == pytest.approx(math.sqrt(2.0))


def test_every_figure_of_the_paper_has_a_function():
    assert {"fig2", "fig3", "fig4", "fig5", "fig6", "fig7", "s1", "s2", "s7"} < FIGURES.keys()
