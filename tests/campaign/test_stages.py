"""The stages of an iteration on a graph without Parsl: who is asked for what, in milliseconds."""

import tomllib

import numpy as np
import pytest
from fakegraph import FakeGraph
from tinycampaign import TINY

from alflow.campaign.campaign import Campaign
from alflow.campaign.firstdata import first_data
from alflow.campaign.plan import make_plan
from alflow.config.load import validate_campaign
from alflow.display.view import View
from alflow.errors import CampaignError
from alflow.farm.farm import LabelFarm
from alflow.ledger import Ledger
from alflow.runs.directory import RunDirectory
from alflow.types import Frames, MDState, Segment
from alflow.workers.models import EngineModel


@pytest.fixture
def campaign(tmp_path):
    """Return the tiny campaign before its first stage, on a graph that answers nothing yet."""
    settings = validate_campaign(tomllib.loads(TINY), "tiny")
    graph, ledger = FakeGraph(), Ledger.open(tmp_path / "ledger.sqlite")
    farm = LabelFarm(graph, ledger, EngineModel("ase", {}), settings.labels, "theory")
    view = View(campaign="tiny", iterations=2)
    yield Campaign(make_plan(settings), RunDirectory(tmp_path), graph, ledger, farm, view)
    ledger.close()


def stretch(state, steps, stopped=""):
    """Return a stretch of molecular dynamics with a record each second step, the first included."""
    records = np.arange(state.step + (2 if state.step else 0), state.step + steps + 1, 2)
    positions = state.positions + 1e-3 * records[:, None, None]
    zeros = np.zeros(len(records))
    return Segment(
        Frames.of(np.array([6, 6, *[1] * 6]), positions), records, 0.5 * records, zeros + np.nan, zeros + np.nan,
        0.1 * records, zeros, zeros, zeros + 300.0, MDState(state.step + steps, positions[-1], state.velocities),
        stopped, np.zeros_like(positions),
    )  # fmt: skip


def answers(stopped=""):
    def first(composition, positions, temperature, seed):
        return MDState(0, positions, np.zeros_like(positions))

    def segment(model, composition, previous, md, steps, seed):
        state = previous if isinstance(previous, MDState) else previous.value
        return stretch(state.end if isinstance(state, Segment) else state, steps, stopped)

    return {"first-state": first, "md-segment": segment}


def test_the_first_data_are_the_frames_of_molecular_dynamics_with_the_label_engine(campaign):
    campaign.graph.answers = answers()
    first_data(campaign)
    assert campaign.graph.names() == ["first-state", "md-segment", "md-segment"]
    dataset, origins = campaign.ledger.dataset("theory")
    assert [origin.step for origin in origins] == list(range(0, 41, 2))
    assert {(origin.kind, origin.iteration, origin.pull) for origin in origins} == {("first-data", 0, 0)}
    assert dataset.groups[0].labels.energies == pytest.approx(0.1 * np.arange(0, 41, 2))
    assert campaign.view.stage == "first data"


def test_first_data_that_are_there_are_not_made_again(campaign):
    campaign.graph.answers = answers()
    first_data(campaign)
    again = FakeGraph()
    campaign.graph = again
    first_data(campaign)
    assert again.names() == []
    assert campaign.ledger.paid_again() == 0


def test_first_data_that_end_early_end_the_campaign(campaign):
    campaign.graph.answers = answers("The molecule flew apart.")
    with pytest.raises(CampaignError, match=r"ended early: The molecule flew apart\."):
        first_data(campaign)
    assert campaign.ledger.counts().labelled == 0


def test_a_lost_task_names_the_molecule(campaign):
    campaign.graph.answers = {**answers(), "md-segment": MemoryError("no room")}
    with pytest.raises(CampaignError, match="dynamics of C2 could not be run: MemoryError: no room"):
        first_data(campaign)
