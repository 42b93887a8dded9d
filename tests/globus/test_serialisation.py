"""What travels through Globus Compute: small, by name, and readable at the other end (its own serialiser)."""

import subprocess
import sys
import uuid
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from alflow.config.campaign import LabelSettings
from alflow.execution.sites import load_site
from alflow.structures import alkane
from alflow.workers import tasks

sdk = pytest.importorskip("globus_compute_sdk")
serialize = pytest.importorskip("globus_compute_sdk.serialize")
FOLDER = Path(__file__).resolve().parents[2] / "executors"
ENDPOINTS = [str(uuid.UUID(int=number)) for number in (1, 2)]
LIMIT_BYTES = 10_000_000
"""The service takes no larger task."""


def arguments(frames):
    structure = alkane(6)
    positions = np.repeat(structure.positions, frames, axis=0)
    settings = LabelSettings.model_validate({"engine": "gfn2-xtb"}).settings.model_dump(mode="json")
    return ("gfn2-xtb", settings, structure.composition, positions)


def test_the_label_task_is_sent_by_name_and_small():
    packed = serialize.ComputeSerializer().serialize(tasks.label)
    assert len(packed) < 2000
    assert serialize.ComputeSerializer().deserialize(packed) is tasks.label


def test_ten_thousand_hexane_frames_fit_into_one_task():
    facade = serialize.ComputeSerializer()
    sent = arguments(10_000)
    packed = facade.serialize(sent)
    assert len(packed) < LIMIT_BYTES
    engine, settings, composition, positions = facade.deserialize(packed)
    assert (engine, settings, composition) == sent[:3]
    assert (positions == sent[3]).all()


def test_the_settings_are_plain_data():
    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(plain(item) for item in value)
        return value is None or isinstance(value, str | int | float | bool)

    assert plain(arguments(1)[1])


def test_a_worker_of_another_process_runs_what_was_packed(tmp_path):
    pytest.importorskip("tblite")
    facade = serialize.ComputeSerializer()
    (tmp_path / "task").write_text(facade.pack_buffers([facade.serialize(tasks.label), facade.serialize(arguments(2))]))
    worker = (
        "import sys; from pathlib import Path; from globus_compute_sdk.serialize import ComputeSerializer as S; "
        "s = S(); f, a = [s.deserialize(b) for b in s.unpack_buffers(Path('task').read_text())]; "
        "Path('result').write_text(s.serialize(f(*a)))"
    )
    subprocess.run([sys.executable, "-c", worker], cwd=tmp_path, check=True)
    outcome = facade.deserialize((tmp_path / "result").read_text())
    assert outcome.value["rows"].tolist() == [0, 1]
    assert outcome.value["energies"][0] == outcome.value["energies"][1]
    assert outcome.value["forces"].shape == (2, 20, 3)
    assert outcome.report.pid > 0


class RecordingExecutor(sdk.Executor):
    """Notes where tasks would go; needs no service."""

    def __init__(self, **options):
        self.options = options
        self.resource_specification = self.user_endpoint_config = None
        self.sent = []

    @property
    def endpoint_id(self):
        return self._there

    @endpoint_id.setter
    def endpoint_id(self, value):
        self._there = value

    def submit(self, function, *args, **kwargs):
        self.sent.append((self._there, function, args))
        return Future()


def test_tasks_go_to_the_endpoints_in_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(sdk, "Executor", RecordingExecutor)
    options = {"endpoints": ",".join(ENDPOINTS), "label_workers": "32", "batch_size": "16"}
    config = load_site(FOLDER / "globus.py", tmp_path, options)
    remote = next(executor for executor in config.executors if executor.label == "cpu")
    assert remote.executor.options == {"batch_size": 16}
    assert remote.max_threads == 32
    for number in range(4):
        remote.submit(tasks.label, {}, number)
    assert [there for there, _, _ in remote.executor.sent] == ENDPOINTS * 2
    assert [args for _, _, args in remote.executor.sent] == [(0,), (1,), (2,), (3,)]


def test_an_endpoint_must_be_named(tmp_path, monkeypatch):
    from alflow.errors import SiteError

    monkeypatch.setattr(sdk, "Executor", RecordingExecutor)
    with pytest.raises(SiteError, match="give -O endpoints="):
        load_site(FOLDER / "globus.py", tmp_path, {})
    with pytest.raises(SiteError, match="names at least one"):
        load_site(FOLDER / "globus.py", tmp_path, {"endpoints": ""})
