"""What Colvars would not start with, or would start badly from, is told in a sentence before anything is submitted."""

import numpy as np
import pytest
from pydantic import ValidationError

from alflow.config.campaign import SamplingSettings
from alflow.errors import ConfigError, StructureError
from alflow.sampling.colvars.drystart import check_start, line_of, refusal_in
from alflow.sampling.steering import SteeringReference
from alflow.structures import alkane
from alflow.types import Frames

ETHANE = alkane(2)
ACETYLENE = Frames.of(np.array([1, 6, 6, 1]), np.array([[[0.0, 0, 0], [1.06, 0, 0], [2.26, 0, 0], [3.32, 0, 0]]]))
BOND = [{"name": "bond", "distance": [0, 1]}]
TO = {"kind": "steered", "to": 2.0, "force_constant": 20.0}
GRID = {"lower": 2.0, "upper": 3.0, "spacing": 0.1}
HILLS = {"kind": "metadynamics", "hill_height_ev": 0.1, "hill_width": 0.1, **GRID}
TEXT = """colvar {
  name d
  distance {
    group1 {
      atomNumbers 1
    }
    group2 {
      atomNumbers 2
    }
  }
}
"""


def checked(molecule, variables, bias):
    settings = SamplingSettings.model_validate({"variables": variables, "bias": bias})
    reference = SteeringReference("colvars", settings.coordinate_settings, molecule)
    reference.bind(settings.pull)
    check_start(reference, settings.pull)


def own(text):
    return {"kind": "colvars", "text": text}


REFUSED = {
    "far": (ETHANE, BOND, {**TO, "from": 3.0}, "'bond' is 1.53 Å there, the centre 3: 21.6 eV"),
    "far-window": (ETHANE, BOND, {"kind": "umbrella", "centres": [1.5, 2.5], "force_constant": 9.0}, "approach_steps"),
    "beside-the-grid": (ETHANE, BOND, HILLS, "start inside of the grid; 'bond' is 1.53"),
    "straight-dihedral": (ACETYLENE, [{"name": "turn", "dihedral": [0, 1, 2, 3]}], TO, "differentiable .*'turn'"),
    "straight-angle": (ACETYLENE, [{"name": "bend", "angle": [0, 1, 2]}], TO, "differentiable .*'bend', 180"),
    "constant": (
        ETHANE,
        [{"name": "none", "coordination": {"group1": [0], "group2": [1], "cutoff": 1e-4}}],
        TO,
        "'none' is .* stays so",
    ),
    "no-such-function": (ETHANE, [], own(TEXT.replace("distance {", "distancee {")), "no valid components .*line 2"),
    "no-brace": (ETHANE, [], own(TEXT[:-2]), "Error: unmatched curly braces"),
    "no-such-variable": (ETHANE, [], own(TEXT + "harmonic {\n  colvars q\n}\n"), 'named "q". .line 13 .*colvars q'),
    "no-such-keyword": (ETHANE, [], own(TEXT + "blah 3\n"), 'keyword "blah" .*line 12 of its configuration: .blah 3'),
    "negative-width": (ETHANE, [], own(TEXT.replace("name d", "name d\n  width -1")), '"width" must .*line 3'),
    "no-temperature": (
        ETHANE,
        [],
        own(TEXT.replace("name d", "name d\n  extendedLagrangian on\n  extendedFluctuation -0.1")),
        "extendedFluctuation",
    ),
    "a-vector": (ETHANE, [], own(TEXT.replace("distance {", "distanceVec {")), "'d' is not"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_start_is_a_sentence(name):
    molecule, variables, bias, words = REFUSED[name]
    with pytest.raises(ConfigError, match=f"(?s){words}") as refused:
        checked(molecule, variables, bias)
    assert str(refused.value).startswith("sampling.")
    assert "Traceback" not in str(refused.value)


def test_a_good_start_says_nothing_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checked(ETHANE, BOND, TO)
    checked(ETHANE, [], own(TEXT))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("atoms", [[0, 8], [7, 100]])
def test_atoms_that_do_not_exist_are_named(atoms):
    with pytest.raises(StructureError, match=f"counted from 0 to 7; the variables bond name {atoms[1]}."):
        checked(ETHANE, [{"name": "bond", "distance": atoms}], TO)
    with pytest.raises(StructureError, match=f"name {atoms[1]}; a configuration of Colvars counts from 1"):
        checked(ETHANE, [], own(TEXT.replace("atomNumbers 2", f"atomNumbers {atoms[1] + 1}")))


RULES = [
    ([], TO, "acts on ..sampling.variables.., and there are none"),
    (BOND, None, "need a .sampling.bias."),
    (BOND + BOND, {**TO, "to": [1.0, 2.0]}, "names of their own"),
    (BOND, {**TO, "to": [1.0, 2.0]}, "bias.to has a number for each of bond"),
    (BOND, {**TO, "force_constant": 0.0}, "bias.force_constant is above 0"),
    (BOND, {**TO, "from": 2.0}, "from one place to another"),
    (BOND, {**TO, "kind": "pull"}, "the kind of a bias is one of"),
    (BOND, own(TEXT), "leave ..sampling.variables.. out"),
    (BOND, {"kind": "umbrella", "centres": [[1.0, 2.0]], "force_constant": 1.0}, "each of bias.centres has a number"),
    (BOND, {**HILLS, "upper": 1.0}, "a grid goes up"),
    ([], own("harmonic {\n}\n"), "a configuration of Colvars has a colvar block"),
    ([], own(TEXT + "scriptedColvarForces on\n"), "line 12 .*scriptedColvarForces"),
    ([], own(TEXT + "metadynamics {\n  useGrids off\n}\n"), "line 13 .*loses its hills"),
    ([], own(TEXT + "histogram {\n  outputFile x\n}\n"), "line 13 .*outputFile"),
    ([], {"kind": "colvars", "file": "nowhere.in"}, "must be readable text"),
    ([], {"kind": "colvars", "file": "nowhere.in", "text": TEXT}, "either text or file"),
    ([{"name": "two", "distance": [0, 1], "angle": [0, 1, 2]}], TO, "got distance and angle"),
    ([{"name": "none"}], TO, "got none"),
    ([{"name": "same", "distance": [1, 1]}], TO, "different atoms"),
    ([{"name": "few", "angle": [0, 1]}], TO, "angle is of 3 atoms or groups; got 2"),
    ([{"name": "below", "distance": [-1, 1]}], TO, "indices from 0"),
    ([{"name": "sum", "combine": []}], TO, "one term or more"),
    ([{"name": "r_d", "distance": [0, 1]}], TO, "extended variables"),
    ([{"name": "c", "coordination": {"group1": [0], "group2": [0], "cutoff": 1.0}}], TO, "no atom in common"),
    ([{"name": "r", "rmsd": {"atoms": [0, 1], "reference": "x.xyz"}}], TO, "three atoms or more"),
]


@pytest.mark.parametrize("number", range(len(RULES)))
def test_settings_that_break_a_rule_are_refused(number):
    variables, bias, words = RULES[number]
    given = {"variables": variables} | ({} if bias is None else {"bias": bias})
    with pytest.raises(ValidationError, match=words) as refused:
        SamplingSettings.model_validate(given)
    assert refused.value.error_count() == 1


def test_steps_of_bias_and_pull_are_the_same():
    given = {"variables": BOND, "bias": {**TO, "steps": 80}}
    assert SamplingSettings.model_validate(given).pull.steps == 80
    with pytest.raises(ValidationError, match="leave one out; got 80 and 90"):
        SamplingSettings.model_validate({**given, "pull": {"steps": 90}})


def test_a_file_of_colvars_is_read_once_and_its_files_are_named_from_the_root(tmp_path):
    path = tmp_path / "in.colvars"
    path.write_text(TEXT + "# a comment\nindexFile groups.ndx\n")
    settings = SamplingSettings.model_validate({"bias": {"kind": "colvars", "file": str(path)}})
    path.unlink()
    written = settings.model_dump(mode="json", exclude_none=True)
    assert f'indexFile "{tmp_path / "groups.ndx"}"' in written["bias"]["text"]
    assert SamplingSettings.model_validate(written) == settings


def test_words_and_line_of_a_refusal():
    log = '# name = "d"\n  # width = -1\n  # other = 2 [default]\n  Error: "width" must be positive.\nERROR on proc 0'
    assert refusal_in(log) == ('Error: "width" must be positive.', "width")
    assert line_of(*refusal_in(log), "colvar {\n  name d\n  width -1\n}\n") == (3, "width -1")
    assert refusal_in("all is well") == ("", "")
    assert line_of("something", "", "colvar {\n}\n") is None
