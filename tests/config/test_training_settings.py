"""Settings of training: presets fill what is not given."""

import pytest
from pydantic import ValidationError

from alflow.potentials.ani.settings import ANISettings, ANITrainingSettings


def test_what_is_given_stands_and_the_preset_fills_the_rest():
    chosen = ANITrainingSettings(preset="paper", epochs=7)
    assert (chosen.epochs, chosen.batch_size, chosen.schedule, chosen.force_weight) == (7, 64, "plateau", 0.1)
    assert chosen.descriptor_floor == 0.0


def test_the_default_is_the_fast_preset():
    assert ANITrainingSettings() == ANITrainingSettings(preset="fast")
    assert ANITrainingSettings() != ANITrainingSettings(preset="paper")


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_resolved_settings_read_back_are_the_same(preset):
    chosen = ANITrainingSettings(preset=preset, batch_size=3)
    assert ANITrainingSettings.model_validate_json(chosen.model_dump_json()) == chosen


def test_carried_over_weights_get_fewer_epochs():
    assert ANITrainingSettings(epochs=60).for_start(carried_over=False)[0] == 60
    assert ANITrainingSettings(epochs=60).for_start(carried_over=True)[0] == 40
    given = ANITrainingSettings(epochs_carried_over=5, learning_rate_carried_over=1e-4)
    assert given.for_start(carried_over=True) == (5, 1e-4)


def test_unknown_keys_and_senseless_values_are_refused():
    for values in ({"epoch": 3}, {"epochs": 0}, {"averaging": 1.0}, {"preset": "slow"}):
        with pytest.raises(ValidationError):
            ANITrainingSettings(**values)


def test_layers_of_unlike_depth_are_refused():
    with pytest.raises(ValidationError, match="same number of hidden layers"):
        ANISettings(hidden_layers={"H": (16, 16)}, other_layers=(16,))
    assert ANISettings().layers("C") == (224, 192, 160)
    assert ANISettings().layers("Br") == (160, 128, 96)
