"""What a run writes of its pulls, ASE and alflow read back: positions to the last bit, charges, and what was chosen."""

from types import SimpleNamespace

import ase.io
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from alflow.report.curves import chosen_frames
from alflow.runs.xyz import write_selected, write_trajectory
from alflow.types import Frames, Segment, SelectedFrame

finite = st.floats(-1e6, 1e6, width=64)
FIELDS = ("time", "target", "coordinate", "energy", "work", "spread", "temperature")


@st.composite
def segments(draw):
    numbers = np.array(draw(st.lists(st.integers(1, 86), min_size=1, max_size=3)))
    charge = draw(st.integers(-2, 2))
    first, found = 0, []
    for _ in range(draw(st.integers(1, 3))):
        count = draw(st.integers(0, 4))
        positions = draw(arrays_of.arrays(np.float64, (count, len(numbers), 3), elements=finite))
        fields = {name: draw(arrays_of.arrays(np.float64, count, elements=finite)) for name in FIELDS}
        steps = np.arange(first, first + 5 * count, 5)
        first += 5 * count
        found.append(Segment(frames=Frames.of(numbers, positions, charge), steps=steps, end=None, **fields))
    return found


@settings(max_examples=30, deadline=None)
@given(segments())
def test_round_trip_of_a_trajectory(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("run") / "pull-00.xyz"
    write_trajectory(path, parts)
    records = [(part, row) for part in parts for row in range(len(part.steps))]
    last = len(records) - 1
    due = [record for place, record in enumerate(records) if record[0].steps[record[1]] % 10 == 0 or place == last]
    images = ase.io.read(path, ":") if due else []
    assert [path.name] == [file.name for file in path.parent.iterdir()]
    assert [image.info["step"] for image in images] == [part.steps[row] for part, row in due]
    for image, (part, row) in zip(images, due, strict=True):
        assert image.positions.tobytes() == part.frames.positions[row].tobytes()
        assert image.info["charge"] == part.frames.charge
        assert image.info["potential_energy_ev"] == part.energy[row]
        assert image.info["distance_angstrom"] == part.coordinate[row]
        assert image.calc is None


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 86), min_size=1, max_size=3),
    st.integers(-2, 2),
    st.lists(st.tuples(st.integers(0, 9), finite, finite, finite), max_size=4),
    st.sampled_from(["spread_ev", "spread_ev_per_angstrom"]),
)
def test_round_trip_of_what_was_selected(tmp_path_factory, numbers, charge, given_frames, spread):
    folder = tmp_path_factory.mktemp("run")
    table = np.random.default_rng(len(given_frames)).normal(size=(len(given_frames), len(numbers), 3))
    frames = [
        SelectedFrame(pull, step, positions, energy, distance, width)
        for step, ((pull, energy, distance, width), positions) in enumerate(zip(given_frames, table, strict=True))
    ]
    molecule = Frames.of(np.array(numbers), np.zeros((1, len(numbers), 3)), charge)
    write_selected(folder / "selected.xyz", [(molecule, frames)], spread)
    images = ase.io.read(folder / "selected.xyz", ":") if frames else []
    assert [image.info["charge"] for image in images] == [charge] * len(frames)
    for image, frame in zip(images, frames, strict=True):
        assert image.positions.tobytes() == frame.positions.tobytes()
        assert image.info[spread] == frame.spread
    read = chosen_frames(SimpleNamespace(iteration=lambda _: folder), 0)
    assert [(one.pull, one.step, one.coordinate, one.spread) for one in read] == [
        (frame.pull, frame.step, frame.coordinate, frame.spread) for frame in frames
    ]
