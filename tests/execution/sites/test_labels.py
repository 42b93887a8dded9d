"""What a label gets of a node: even shares, or a sentence."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from siteoptions import GIVEN

from alflow.errors import SiteError
from alflow.execution.sites import load_site, site_capacity
from alflow.execution.sites.labels import label_share
from alflow.labeling.launch import ranks_of

FOLDER = Path(__file__).resolve().parents[3] / "executors"
ON_SEVERAL_NODES = ("slurm", "hybrid", "pbs", "perlmutter", "frontier", "polaris", "aurora")
CORES = {"slurm": 8, "hybrid": 8, "pbs": 32, "perlmutter": 128, "frontier": 56, "polaris": 32, "aurora": 102}


def load(site, folder, **options):
    given_options = GIVEN[site] | {"label_gpus_per_node": "2"} if site in ("slurm", "hybrid", "pbs") else GIVEN[site]
    given_options = given_options | {name: str(value) for name, value in options.items()}
    return load_site(FOLDER / f"{site}.py", folder, given_options, check_commands=False)


def cpu(config):
    return next(executor for executor in config.executors if executor.label == "cpu")


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_shares_are_even_and_overlap_nowhere_or_a_sentence_says_why(data):
    counts = st.integers(1, 12)
    cores, nodes, block = data.draw(counts), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 6))
    ranks, gpus = data.draw(counts), data.draw(st.integers(0, 4))
    asked = data.draw(st.none() | counts)
    has = data.draw(st.integers(0, 4))
    first = data.draw(st.booleans())
    try:
        share = label_share(
            "a node",
            range(cores),
            cores_per_label=asked,
            ranks_per_label=ranks,
            nodes_per_label=nodes,
            gpus_per_label=gpus,
            gpus=[str(gpu) for gpu in range(has)],
            nodes_per_block=block,
            from_first_node=first,
        )
    except ValueError as error:
        said = str(error)
        assert re.search(r"got \w+_per_\w+=\d+", said), said
        possible = (
            ranks % nodes == 0
            and block % nodes == 0
            and gpus % nodes == 0
            and ranks // nodes <= cores
            and (asked is None or (asked % ranks == 0 and asked <= cores * nodes))
            and gpus // nodes <= has
        )
        assert not possible
        return
    assert share.workers >= 1
    assert share.threads * share.ranks == share.cores <= cores * nodes
    used = [core for slot in share.slots for core in slot]
    assert len(used) == len(set(used)) <= cores
    assert asked in {None, share.cores}
    pools = 1 if share.on_first_node else block
    assert share.workers * pools * nodes <= block * max(1, cores // (share.cores // nodes))
    if gpus:
        assert len(share.accelerators) == share.workers
        named = [gpu for names in share.accelerators[: len(share.slots)] for gpu in names.split(",")]
        assert len(named) == len(set(named)) == len(share.slots) * (gpus // nodes)


@pytest.mark.parametrize("site", ["local", "workstation", *ON_SEVERAL_NODES])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ranks_per_label": 4096}, "a rank has a core at least, and .* has .* cores; got ranks_per_label=4096"),
        ({"cores_per_label": 4096}, "a label has the cores of its nodes, and .* has .*; got cores_per_label=4096"),
        ({"gpus_per_label": 99}, "has the GPUs of its nodes, and .* has .*; got gpus_per_label=99"),
        (
            {"cores_per_label": 1, "ranks_per_label": 2},
            "each rank of a label has as many cores.*=1 and ranks_per_label=2",
        ),
        ({"nodes_per_label": 0}, "'nodes_per_label' .* at least 1.*; got '0'"),
        ({"launcher": "srn"}, "launcher is one of srun, .* command with {ranks} in it; got 'srn'"),
    ],
)
def test_what_a_node_has_not_is_a_sentence(site, options, words, tmp_path):
    if site == "local" and options.get("cores_per_label") == 1:
        words += "|a rank has a core at least"  # where this machine has one core
    with pytest.raises(SiteError, match=words):
        load(site, tmp_path, **options)


@pytest.mark.parametrize("site", ["local", "workstation"])
def test_one_machine_has_one_node(site, tmp_path):
    with pytest.raises(SiteError, match=r"'nodes_per_label' .* at most 1; got '2'"):
        load(site, tmp_path, nodes_per_label=2)


@pytest.mark.parametrize("site", ON_SEVERAL_NODES)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nodes_per_label": 2, "ranks_per_label": 3}, "as many ranks on each of its nodes.*=3 and nodes_per_label=2"),
        ({"nodes_per_label": 2, "ranks_per_label": 2, "nodes_per_block": 3}, "got nodes_per_block=3 and"),
    ],
)
def test_nodes_of_a_label_divide_evenly(site, options, words, tmp_path):
    with pytest.raises(SiteError, match=words):
        load(site, tmp_path, **options)


@pytest.mark.parametrize("site", ON_SEVERAL_NODES)
@pytest.mark.parametrize("cores", [1, 2, 3, 8])
def test_capacity_counts_labels_of_several_cores(site, cores, tmp_path):
    config = load(site, tmp_path, cores_per_label=cores, nodes_per_block=2, max_blocks=3)
    capacity = site_capacity(config)["cpu"]
    assert capacity.nodes == 6
    assert capacity.workers == CORES[site] // cores * 6
    assert f"OMP_NUM_THREADS={cores} " in cpu(config).provider.worker_init
    assert cpu(config).max_workers_per_node * cpu(config).cores_per_worker <= CORES[site]
    if cores > 1:
        assert len(cpu(config).cpu_affinity.split(":")) == 1 + CORES[site] // cores


@pytest.mark.parametrize("site", ON_SEVERAL_NODES)
@pytest.mark.parametrize(("nodes", "ranks"), [(1, 2), (2, 2), (2, 8), (4, 4)])
def test_ranks_have_nodes_and_cores_of_their_own(site, nodes, ranks, tmp_path):
    config = load(site, tmp_path, nodes_per_label=nodes, ranks_per_label=ranks, nodes_per_block=4, max_blocks=2)
    executor = cpu(config)
    capacity = site_capacity(config)["cpu"]
    exports = dict(re.findall(r"(ALFLOW_\w+)=(\S+)", executor.provider.worker_init))
    hosts = "a b c d" if "ALFLOW_HOSTS" in exports else ""
    pools = 1 if hosts else 4
    assert capacity.workers == executor.max_workers_per_node * pools * 2
    assert executor.workers_per_node * 4 == executor.max_workers_per_node * pools  # what Parsl scales by
    used = set()
    for worker in range(executor.max_workers_per_node):
        found = ranks_of(
            {**exports, "ALFLOW_HOSTS": hosts, "PARSL_WORKER_RANK": str(worker), "SLURMD_NODENAME": "self"}
        )
        assert found is not None
        assert (found.count, len(found.hosts)) == (ranks, nodes)
        assert len(found.bound) == ranks // nodes
        assert {len(cores) for cores in found.bound} == {found.cores}
        mine = {(host, core) for host in found.hosts for cores in found.bound for core in cores}
        assert not used & mine
        used |= mine
    assert len(used) <= CORES[site] * (4 if hosts else 1)
    assert nodes == 1 or len(used) > 0.9 * CORES[site] * 4  # whole nodes


@pytest.mark.parametrize(
    "site", ["perlmutter", "frontier", "polaris", "aurora", "slurm", "pbs", "hybrid", "workstation"]
)
def test_each_label_worker_sees_gpus_of_its_own(site, tmp_path):
    config = load(site, tmp_path, gpus_per_label=1)
    names = cpu(config).available_accelerators
    if site == "frontier":
        names = re.search(r"ALFLOW_GPUS=(\S+)", cpu(config).provider.worker_init)[1].split(":")
    number = {"perlmutter": 4, "frontier": 8, "polaris": 4, "aurora": 12}.get(site, 2)
    if site == "workstation":  # as many as this machine has cores for
        number = len(names)
    assert len(set(names)) == len(names) == number == cpu(config).max_workers_per_node
    two = load(site, tmp_path, gpus_per_label=2, cores_per_label=2) if site != "workstation" else None
    if two is not None:
        assert cpu(two).max_workers_per_node == number // 2


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("site", ["local", "workstation", *ON_SEVERAL_NODES])
def test_whatever_is_asked_for_is_a_site_that_can_run_or_a_sentence(site, tmp_path, data):
    numbers = st.integers(0, 9) | st.sampled_from([16, 32, 64, 128, 5000])
    names = ("cores_per_label", "ranks_per_label", "nodes_per_label", "gpus_per_label")
    names += ("nodes_per_block",) if site in ON_SEVERAL_NODES else ()
    chosen = data.draw(st.dictionaries(st.sampled_from(names), numbers, max_size=4))
    try:
        config, said = load(site, tmp_path, **chosen), ""
    except SiteError as error:
        config, said = None, str(error)
    if config is None:
        assert "got " in said
        assert "Error" not in said
        return
    capacity = site_capacity(config)["cpu"]
    assert capacity.workers >= 1
    executor = cpu(config)
    accelerators = executor.available_accelerators
    assert not accelerators or len(accelerators) == executor.max_workers_per_node
    if executor.cpu_affinity.startswith("list:"):
        assert executor.cpu_affinity.count(":") == executor.max_workers_per_node
