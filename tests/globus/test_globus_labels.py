"""Labels through Globus Compute: its SDK, two real endpoint engines, real queues; the web service is a stand-in."""

import os
import shutil
import socket
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alflow.bench.workload import EngineWorkload
from alflow.config.campaign import LabelSettings
from alflow.execution.graph import TaskGraph
from alflow.execution.sites import load_site
from alflow.runs.events import EventLog
from alflow.structures import alkane
from alflow.workers import tasks

sdk = pytest.importorskip("globus_compute_sdk")
pytestmark = [pytest.mark.globus, pytest.mark.slow]
HERE = Path(__file__).parent
SITE = HERE.parents[1] / "executors" / "globus.py"


def endpoint_python():
    """Find a Python with globus-compute-endpoint: this one, or the one that ALFLOW_ENDPOINT_PYTHON names."""
    python = os.environ.get("ALFLOW_ENDPOINT_PYTHON", sys.executable)
    there = subprocess.run([python, "-c", "import globus_compute_endpoint, alflow"], capture_output=True, check=False)
    if there.returncode:
        pytest.skip(f"{python} has no globus-compute-endpoint (or ALFLOW_ENDPOINT_PYTHON is not set)")
    return python


@pytest.fixture
def broker():
    if shutil.which("rabbitmq-server") is None or os.geteuid() != 0:
        pytest.skip("needs RabbitMQ (Debian: rabbitmq-server) and root")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = 5700 + probe.getsockname()[1] % 1000
    folder = Path("/tmp") / f"rabbit-{os.getpid()}"  # readable by RabbitMQ's own user
    try:
        subprocess.run([HERE / "rabbit_up.sh", folder, str(port)], check=True)
        yield f"amqp://guest:guest@127.0.0.1:{port}/%2F"
    finally:
        subprocess.run([HERE / "rabbit_down.sh", folder], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def service(broker, tmp_path, monkeypatch):
    """Start the stand-in and two endpoints; let the site's executor talk to them without a login."""
    from globus_compute_sdk import Client
    from globus_sdk import NullAuthorizer
    from web_service import WebService

    class Executor(sdk.Executor):
        def __init__(self, **options):
            client = Client(local_compute_services=True, authorizer=NullAuthorizer(), do_version_check=False)
            super().__init__(client=client, **options)

    monkeypatch.setattr(sdk, "Executor", Executor)
    names = [str(uuid.uuid4()) for _ in range(2)]
    python = endpoint_python()
    web = WebService(broker, names)
    running = []
    for name in names:
        folder = tmp_path / name
        folder.mkdir()
        command = [python, HERE / "endpoint.py", broker, name, folder]
        with (folder / "out").open("w") as out:
            running.append(
                subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | {"PYTHONPATH": str(HERE)})
            )
    yield web
    for process in running:
        process.terminate()
    for process in running:
        process.wait(30)
    web.close()


def test_labels_come_back_from_both_endpoints(service, tmp_path):
    pytest.importorskip("tblite")
    labels = LabelSettings.model_validate({"engine": "gfn2-xtb"})
    work = EngineWorkload.of(labels, alkane(1), 12)
    config = load_site(SITE, tmp_path, {"endpoints": ",".join(service.received)})
    graph = TaskGraph(config, EventLog(tmp_path / "events.jsonl"))
    found = {}
    try:
        for first in range(0, 12, 3):
            call = replace(work.call(first, 3), function=tasks.label)
            graph.submit(call, lambda result, first=first: found.update({first: result}))
        graph.run_until(lambda: graph.pending() == 0)
    finally:
        graph.close()
    for error in found.values():
        if isinstance(error, BaseException):
            raise error
    here = tasks.label(*work.call(0, 12).arguments).value
    there = np.concatenate([found[first].value["energies"] for first in range(0, 12, 3)])
    assert there == pytest.approx(here["energies"], abs=1e-9)
    assert {outcome.value["theory"] for outcome in found.values()} == {here["theory"]}
    assert list(service.received.values()) == [2, 2]
    assert len({outcome.report.pid for outcome in found.values()}) == 2
