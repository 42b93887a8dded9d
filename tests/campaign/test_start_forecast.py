"""A dry run of a campaign that starts from a base: its cost before that of the campaign, and no dynamics in that."""

import ase.io
import commandline
import pytest
from ase import Atoms
from basecampaigns import settings_with

from alflow.campaign.forecast import Start, forecast
from alflow.campaign.plan import make_plan
from alflow.config.load import to_toml
from alflow.structures import alkane


@pytest.fixture(scope="module")
def stages():
    """Return the stages of a campaign by its changes."""

    def found(start, **changes):
        plan = make_plan(settings_with(**changes))
        return {stage.name.split(" (")[0]: stage for stage in forecast(plan, start=start).stages}

    return found


BASE = {"run": "somewhere", "structures": 30}


def test_structures_are_labels_and_not_steps(stages):
    plain = stages(Start())
    with_base = stages(Start(structures=30, relax_step_seconds=0.5), base=BASE)
    assert "first data" in plain
    assert "first data" not in with_base
    assert with_base["labels"].units == plain["labels"].units + 30
    assert with_base["relaxation"].seconds == pytest.approx(40 * 0.5)
    assert "reference" in plain
    assert "reference" not in with_base


def test_references_that_are_asked_for_cost_no_relaxation_by_the_label_engine(stages):
    with_references = stages(Start(structures=30), base=BASE, sampling__reference=True)
    assert with_references["reference"].units == 60


def test_the_engine_that_is_added_is_part_of_a_step(stages):
    added = stages(Start(structures=30, pull_step_seconds=7.0), base={**BASE, "use": "delta"})
    assert added["pull"].seconds > 7.0 * 60


def dry_run(folder, **changes):
    (folder / "tiny.toml").write_text(to_toml(settings_with(**changes)))
    return commandline.alflow(folder, "run", "tiny.toml", "-o", "kind=threads", "--dry-run")


def test_a_dry_run_prints_the_plan_of_the_base_first(tmp_path):
    base = {"engine": "ase", "settings": {"calculator": "ase.calculators.emt.EMT"}, "campaign": {"iterations": 3}}
    code, out, err = dry_run(tmp_path, base=base)
    assert code == 0, err
    assert out.index("Plan of tiny-base: 3 iterations") < out.index("Plan of tiny: 2 iterations")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("key", ["first_data__structures", "first_data__labels"])
def test_a_dry_run_refuses_files_of_other_molecules(tmp_path, key):
    frames = alkane(3)
    ase.io.write(tmp_path / "propane.xyz", Atoms(frames.numbers, frames.positions[0]))
    code, _, err = dry_run(tmp_path, **{key: str(tmp_path / "propane.xyz")})
    assert code == 2
    assert len(err.strip().splitlines()) == 1


def test_a_dry_run_refuses_a_base_that_is_no_run(tmp_path):
    code, _, err = dry_run(tmp_path, base={"run": str(tmp_path)})
    assert code == 2
    assert "base.run: A run directory holds campaign.toml" in err
