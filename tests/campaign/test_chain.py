"""A trajectory as a chain of tasks, on a graph without Parsl."""

import numpy as np
import pytest
from fakegraph import FakeGraph

from alflow.campaign.chain import JointChains, SegmentChain, StoredState
from alflow.errors import CampaignError
from alflow.types import Composition, Frames, MDState, Segment
from alflow.workers.result import App, Outcome

ATOM = Composition(np.array([6]))
START = MDState(0, np.zeros((1, 3)), np.zeros((1, 3)))
LENGTHS = (10, 10, 5)


def segment(state, steps, stopped=""):
    """Return a stretch that moves the atom by 0.1 Å a step, with a record each 5 steps."""
    records = np.arange(state.step + 5, state.step + steps + 1, 5)
    place = np.zeros((len(records), 1, 3))
    place[:, 0, 0] = 0.1 * records
    zeros = np.zeros(len(records))
    end = MDState(state.step + steps, place[-1], np.zeros((1, 3)))
    return Segment(Frames(ATOM, place), records, 1.0 * records, zeros, zeros, zeros, zeros, zeros, zeros, end, stopped)


def run(previous, steps):
    state = previous.value if isinstance(previous, Outcome) else previous
    return segment(state.end if isinstance(state, Segment) else state, steps)


def chain(graph, folder, seen=None):
    app = App("pull-segment", "gpu", run)
    return SegmentChain(graph, folder, LENGTHS, app, (lambda _: None) if seen is None else seen.append, {"pull": 3})


def test_each_task_starts_from_what_the_one_before_returned(tmp_path):
    graph, seen = FakeGraph({"pull-segment": run}), []
    made = chain(graph, tmp_path, seen)
    made.start(START)
    assert len(graph.waiting) == 3
    graph.step()
    assert not made.done
    graph.run_until(lambda: made.done)
    assert [part.end.step for part in made.segments] == [10, 20, 25]
    assert seen == made.segments
    assert [task.detail for task in graph.done] == [{"segment": index, "pull": 3} for index in range(3)]


def test_a_chain_goes_on_from_what_is_stored(tmp_path):
    graph = FakeGraph({"pull-segment": run})
    first = chain(graph, tmp_path)
    first.start(START)
    graph.step()
    graph.step()  # and the driver is killed
    graph, seen = FakeGraph({"pull-segment": run}), []
    again = chain(graph, tmp_path, seen)
    again.start(START)
    assert [part.end.step for part in seen] == [10, 20]
    graph.run_until(lambda: again.done)
    assert graph.names() == ["pull-segment"]
    assert again.segments[-1].frames.positions[-1, 0, 0] == pytest.approx(2.5)
    whole = chain(FakeGraph(), tmp_path)
    whole.start(START)  # all is stored: nothing is submitted
    assert whole.done


def test_a_pull_that_ended_early_is_done_and_later_segments_change_nothing(tmp_path):
    graph = FakeGraph({"pull-segment": lambda previous, steps: segment(START, steps, "the spread is too large")})
    made = chain(graph, tmp_path)
    made.start(START)
    graph.step()
    assert made.done
    graph.step()
    assert len(made.segments) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["segment-000.npz"]


def test_a_task_that_fails_ends_the_chain_with_its_cause(tmp_path):
    def fail(previous, steps):
        if steps == 10 and isinstance(previous, Outcome):
            raise MemoryError("no room")
        return run(previous, steps)

    graph = FakeGraph({"pull-segment": fail})
    made = chain(graph, tmp_path)
    made.start(START)
    graph.run_until(lambda: made.done)
    assert len(made.segments) == 1
    with pytest.raises(CampaignError, match="The pull could not be run: MemoryError: no room"):
        made.raise_error("The pull")


def test_a_state_is_made_once(tmp_path):
    graph = FakeGraph({"relax": lambda: START})
    call = App("relax", "cpu", lambda: START)()
    state = StoredState(graph, tmp_path / "start-00.npz")
    promise = state.get(call, pull=0)
    graph.run_until(lambda: state.value is not None)
    assert promise.outcome.value is START
    again = StoredState(graph, tmp_path / "start-00.npz").get(call)
    assert isinstance(again, MDState)
    assert np.array_equal(again.positions, START.positions)
    assert graph.names() == ["relax"]


def test_a_chain_waits_for_the_state_that_it_starts_from(tmp_path):
    graph = FakeGraph({"pull-segment": run, "relax": lambda: START})
    state, made = StoredState(graph, tmp_path / "start.npz"), chain(graph, tmp_path)
    made.start(state.get(App("relax", "cpu", lambda: START)()))
    graph.run_until(lambda: made.done)
    assert graph.names() == ["relax", *["pull-segment"] * 3]


def run_together(steps, *previous):
    """Return what `run` gives for each; one that has stopped stays where it is."""
    first = previous[0].value if isinstance(previous[0], Outcome) else previous
    return tuple(one if getattr(one, "stopped", "") else run(one, steps) for one in first)


def together(graph, folder, count=3):
    app = App("pull-segments", "gpu", run_together)
    chains = tuple(SegmentChain(graph, folder / f"pull-{number}", LENGTHS, None) for number in range(count))
    return JointChains(graph, chains, lambda previous, steps: app(steps, *previous), {"pulls": [0, 1, 2]})


def ends(joint):
    return [[part.end.step for part in chain.segments] for chain in joint.chains]


def test_chains_go_together_and_each_stores_its_segments(tmp_path):
    graph = FakeGraph({"pull-segments": run_together})
    joint = together(graph, tmp_path)
    joint.start([START] * 3)
    assert len(graph.waiting) == 3
    graph.run_until(lambda: all(chain.done for chain in joint.chains))
    assert ends(joint) == [[10, 20, 25]] * 3
    assert graph.done[1].detail == {"segment": 1, "pulls": [0, 1, 2]}
    again = together(FakeGraph(), tmp_path)
    again.start([START] * 3)  # all is stored: nothing is submitted
    assert ends(again) == ends(joint)


@pytest.mark.parametrize("lost", ["pull-1/segment-001.npz", "pull-2/segment-000.npz"])
def test_chains_go_on_from_the_first_segment_that_one_of_them_lacks(tmp_path, lost):
    joint = together(FakeGraph({"pull-segments": run_together}), tmp_path)
    joint.start([START] * 3)
    joint.graph.step()
    joint.graph.step()
    (tmp_path / lost).unlink()  # the driver was killed before it was written
    (tmp_path / "pull-2/segment-001.npz").unlink()
    graph = FakeGraph({"pull-segments": run_together})
    again = together(graph, tmp_path)
    again.start([START] * 3)
    graph.run_until(lambda: all(chain.done for chain in again.chains))
    assert ends(again) == [[10, 20, 25]] * 3
    assert len(graph.done) == (3 if "000" in lost else 2)


def test_a_chain_that_has_stopped_stays_so_and_the_others_go_on(tmp_path):
    def stops(steps, *previous):
        found = run_together(steps, *previous)
        return (segment(START, 10, "The molecule flew apart."), *found[1:]) if steps == 10 else found

    for _ in range(2):  # the second time, from what is stored
        graph = FakeGraph({"pull-segments": stops})
        joint = together(graph, tmp_path)
        joint.start([START] * 3)
        graph.run_until(lambda found=joint: all(chain.done for chain in found.chains))
        assert ends(joint) == [[10], [10, 20, 25], [10, 20, 25]]
        (tmp_path / "pull-1/segment-001.npz").unlink(missing_ok=True)


def test_a_task_that_fails_ends_the_chains_that_were_not_done(tmp_path):
    def fails(steps, *previous):
        if steps == 5:
            raise MemoryError("no room")
        return (segment(START, 10, "The molecule flew apart."), *run_together(steps, *previous)[1:])

    graph = FakeGraph({"pull-segments": fails})
    joint = together(graph, tmp_path)
    joint.start([START] * 3)
    graph.run_until(lambda: all(chain.done for chain in joint.chains))
    assert [type(chain.error).__name__ for chain in joint.chains] == ["NoneType", "MemoryError", "MemoryError"]
