"""Every site file: it loads, refuses what its hardware has not, and its jobs read as reviewed."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from unittest import mock

import pytest
from parsl.executors import HighThroughputExecutor
from parsl.providers import KubernetesProvider, LocalProvider

from alflow.errors import SiteError
from alflow.execution.sites import describe_site, load_site

FOLDER = Path(__file__).resolve().parents[2] / "executors"
EXPECTED = Path(__file__).parent / "expected"
ENDPOINT = "0b0e1a1e-0000-4000-8000-000000000001"
OPTIONS = {
    "local": {"workers": "3", "gpu_workers": "2", "gpu_threads": "2"},
    "workstation": {"gpus": "0,1", "workers": "6"},
    "slurm": {"partition": "cpu", "cores_per_node": "8", "gpu_partition": "gpu", "gpus_per_node": "4"},
    "hybrid": {
        "cpu_partition": "cpu",
        "cores_per_node": "8",
        "gpu_partition": "gpu",
        "gpu_cores_per_node": "16",
        "gpus_per_node": "2",
        "cpu_account": "abc123",
        "gpu_worker_init": "module load cuda",
    },
    "perlmutter": {"account": "m1234"},
    "frontier": {"account": "abc123", "environment": "/lustre/orion/abc123/alflow.tar"},
    "polaris": {"account": "abc123"},
    "aurora": {"account": "abc123"},
    "pbs": {"queue": "workq", "cores_per_node": "32", "gpus_per_node": "2", "nodes_per_block": "2"},
    "kubernetes": {"image": "alflow:0.1", "volume": "campaigns:/campaigns", "address": "10.0.0.1"},
}
SCHEDULED = ("slurm", "hybrid", "perlmutter", "frontier", "polaris", "aurora", "pbs")


@pytest.fixture
def kubeconfig(tmp_path, monkeypatch):
    pytest.importorskip("kubernetes")
    from kubernetes import config as kube

    path = tmp_path / "kubeconfig"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "clusters: [{name: k, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "contexts: [{name: c, context: {cluster: k, user: u}}]\nusers: [{name: u, user: {}}]\n"
    )
    monkeypatch.setattr(kube.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))


def load(name, run_dir, **changes):
    return load_site(FOLDER / f"{name}.py", Path(run_dir), OPTIONS[name] | changes, check_commands=False)


def summary(executor):
    """What the batch script does not say of an executor."""
    names = ("max_workers_per_node", "cores_per_worker", "cpu_affinity", "available_accelerators", "drain_period")
    lines = [f"# {name}: {getattr(executor, name)}" for name in names]
    blocks = [f"{name}={getattr(executor.provider, name)}" for name in ("init_blocks", "min_blocks", "max_blocks")]
    return "\n".join([f"# executor {executor.label}", *lines, f"# {' '.join(blocks)}"])


def render(executor, folder, monkeypatch):
    """Let the provider write its own submit script, without submitting."""
    provider = executor.provider
    provider.script_dir = str(folder)
    answer = "Submitted batch job 1" if hasattr(provider, "partition") else "1.server"
    monkeypatch.setattr(provider, "execute_wait", lambda *_: (0, answer, ""))
    command = executor.launch_cmd or "process_worker_pool.py --max_workers_per_node={max_workers_per_node}"
    words = {"max_workers_per_node": executor.max_workers_per_node}
    command = re.sub(r"\{(\w*)\}", lambda found: str(words.get(found[1], "...")), command)
    provider.submit(command, 1, f"alflow.{executor.label}")
    script = next(
        path for path in folder.iterdir() if path.name.startswith(f"alflow.{executor.label}") and path.suffix != ".sh"
    )
    return normal(script.read_text(), folder)


def normal(text, folder):
    text = re.sub(r"\d{10}\.\d+", "TIME", text).replace(str(folder), "SCRIPTS")
    return text.replace(sysconfig.get_path("scripts"), "PYTHON")


def compare(name, text):
    path = EXPECTED / f"{name}.txt"
    assert path.exists(), f"no reviewed copy {path}; the script is now:\n{text}"
    assert text == path.read_text()


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "kubernetes"])
def test_a_site_has_both_executors_and_keeps_parsl_in_the_run_directory(name, tmp_path):
    config = load(name, tmp_path)
    assert sorted(executor.label for executor in config.executors) == ["cpu", "gpu"]
    assert config.run_dir == str(tmp_path / "parsl")
    assert not tmp_path.joinpath("parsl").exists()
    assert config.usage_tracking == 0
    for executor in config.executors:
        assert executor.encrypted
        assert executor.interchange_launch_cmd[-1].endswith("/interchange.py")


@pytest.mark.parametrize("name", [*OPTIONS, "globus"])
def test_every_option_is_explained(name):
    if name == "globus":
        pytest.importorskip("globus_compute_sdk")
    described = describe_site(FOLDER / f"{name}.py")
    assert described.summary.endswith(".")
    assert "https://" in described.text
    assert [option.name for option in described.options if not option.help] == []


@pytest.mark.parametrize("name", SCHEDULED)
def test_the_jobs_read_as_reviewed(name, tmp_path, monkeypatch):
    config = load(name, "/campaign")
    parts = [summary(executor) + "\n" + render(executor, tmp_path, monkeypatch) for executor in config.executors]
    compare(name, "\n".join(parts))


@pytest.mark.parametrize("name", SCHEDULED)
def test_jobs_of_labels_on_two_nodes_read_as_reviewed(name, tmp_path, monkeypatch):
    changes = {"ranks_per_label": "8", "nodes_per_label": "2", "nodes_per_block": "4"}
    (cpu,) = [executor for executor in load(name, "/campaign", **changes).executors if executor.label == "cpu"]
    compare(f"{name}-two-nodes", summary(cpu) + "\n" + render(cpu, tmp_path, monkeypatch))


@pytest.mark.parametrize("name", SCHEDULED)
def test_jobs_of_labels_of_several_ranks_read_as_reviewed(name, tmp_path, monkeypatch):
    changes = {"ranks_per_label": "2", "cores_per_label": "4", "nodes_per_block": "2"}
    (cpu,) = [executor for executor in load(name, "/campaign", **changes).executors if executor.label == "cpu"]
    compare(f"{name}-ranks", summary(cpu) + "\n" + render(cpu, tmp_path, monkeypatch))


@pytest.mark.parametrize(
    ("name", "command", "options"),
    [
        ("polaris", "mpiexec", {}),
        ("aurora", "mpiexec", {}),
        ("pbs", "mpiexec", {}),
        ("pbs", "mpirun", {"mpi": "openmpi"}),
    ],
)
def test_jobs_start_the_launcher_of_the_centre(name, command, options, tmp_path, monkeypatch):
    for folder in ("wheel", "centre"):
        program = tmp_path / folder / command
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho {folder} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(tmp_path / "wheel"))
    system = tmp_path / "system"  # a machine may have an mpiexec of its own
    system.mkdir()
    for program in ("grep", "sh"):
        (system / program).symlink_to(shutil.which(program))
    centre = f"{tmp_path / 'wheel'}:{tmp_path / 'centre'}:{system}"
    for path, expected in ((centre, "centre"), (str(system), "wheel")):
        for executor in load(name, tmp_path, **options).executors:
            if name != "pbs" or executor.label == "cpu":
                script = f"{executor.provider.worker_init}\nset -e\n{command} -n 2"
                environment = {"PATH": path, "USER": "user"}
                said = subprocess.check_output(["/bin/bash", "-c", script], env=environment, text=True)
                assert said == f"{expected} -n 2\n"


def bound_cores(executor):
    """Give the cores of each worker of a pool."""
    slots = executor.cpu_affinity.removeprefix("list:").split(":")
    ends = [[part.split("-") for part in slot.split(",")] for slot in slots]
    return [[core for part in slot for core in range(int(part[0]), int(part[-1]) + 1)] for slot in ends]


@pytest.mark.parametrize("name", ["slurm", "hybrid", "pbs"])
def test_workers_are_bound_to_one_thread_of_each_core(name, tmp_path):
    for executor in load(name, tmp_path, threads_per_core="2").executors:
        number = {"cpu": 32 if name == "pbs" else 8, "gpu": {"slurm": 8, "hybrid": 16, "pbs": 32}[name]}[executor.label]
        bound = bound_cores(executor)
        assert len(bound) == executor.max_workers_per_node
        assert [core for worker in bound for core in worker] == list(range(number))
        asked = executor.provider.cpus_per_node if name == "pbs" else executor.provider.cores_per_node
        assert asked == 2 * number


@pytest.mark.parametrize("name", ["local", "workstation"])
def test_local_workers_read_as_reviewed(name, monkeypatch):
    monkeypatch.setenv("HOME", "/home/user")
    config = load(name, "/campaign")
    assert all(isinstance(executor.provider, LocalProvider) for executor in config.executors)
    parts = [summary(executor) + "\n" + executor.provider.worker_init for executor in config.executors]
    compare(name, normal("\n".join(parts), Path("/nowhere")) + "\n")


def test_pods_read_as_reviewed(kubeconfig, monkeypatch):
    config = load("kubernetes", "/campaigns/one")
    parts = []
    for executor in config.executors:
        provider = executor.provider
        assert isinstance(provider, KubernetesProvider)
        create = mock.Mock()
        monkeypatch.setattr(provider.kube_client, "create_namespaced_pod", create)
        provider.submit("process_worker_pool.py", 1, "alflow")
        pod = create.call_args.kwargs["body"]
        container = pod.spec.containers[0]
        mounts = [f"{mount.name}:{mount.mount_path}" for mount in container.volume_mounts]
        claims = [volume.persistent_volume_claim.claim_name for volume in pod.spec.volumes]
        parts += [summary(executor), f"image {container.image}", f"limits {container.resources.limits}"]
        parts += [f"requests {container.resources.requests}", f"mounts {mounts} of {claims}", *container.args]
    compare("kubernetes", "\n".join(parts) + "\n")


def test_the_gpu_workers_of_frontier_are_bound_by_srun(tmp_path):
    gpu = next(executor for executor in load("frontier", tmp_path).executors if executor.label == "gpu")
    assert gpu.available_accelerators == []
    assert "--max_workers_per_node=1 " in gpu.launch_cmd


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("perlmutter", {"gpus": "5"}, "has 4 GPUs; got gpus=5"),
        ("frontier", {"gpus": "9"}, "shows 8 GPUs; got gpus=9"),
        ("polaris", {"gpus": "8"}, "shows 4 GPUs; got gpus=8"),
        ("aurora", {"gpus": "0"}, "shows 12 GPUs; got gpus=0"),
        ("slurm", {"walltime_minutes": "4"}, "5 minutes before the end of 4"),
        ("workstation", {"gpus": "1,1"}, "each once"),
        ("hybrid", {"gpus_per_node": "0"}, "--site slurm"),
    ],
)
def test_what_the_hardware_has_not_is_refused(name, changes, words, tmp_path):
    with pytest.raises(SiteError, match=words):
        load(name, tmp_path, **changes)


@pytest.mark.parametrize("name", ["perlmutter", "frontier", "polaris", "aurora"])
def test_a_missing_account_is_asked_for_by_name(name, tmp_path):
    with pytest.raises(SiteError, match=r"-O account=\.\.\."):
        load_site(FOLDER / f"{name}.py", tmp_path, {}, check_commands=False)


def test_threads_start_without_processes(tmp_path):
    config = load("local", tmp_path, kind="threads")
    assert not any(isinstance(executor, HighThroughputExecutor) for executor in config.executors)
