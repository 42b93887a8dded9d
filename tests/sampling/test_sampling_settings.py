import pytest
from pydantic import ValidationError

from alflow.config.sampling import MDSettings, PullSettings, RelaxSettings


@pytest.mark.parametrize(
    ("settings", "values", "message"),
    [
        (MDSettings, {"timestep_fs": 0.0}, "timestep_fs"),
        (MDSettings, {"timestep_fs": 500.0}, "timestep_fs"),
        (MDSettings, {"stepps": 3}, "stepps"),
        (RelaxSettings, {"langevin_steps": -1}, "langevin_steps"),
        (PullSettings, {"rate_angstrom_per_ps": -1.0}, "rate_angstrom_per_ps"),
        (PullSettings, {"steps": 0}, "steps"),
        (PullSettings, {"damping_fs": float("inf")}, "damping_fs"),
    ],
)
def test_what_is_out_of_range_is_refused(settings, values, message):
    with pytest.raises(ValidationError, match=message):
        settings(**values)


@pytest.mark.parametrize("settings", [MDSettings, RelaxSettings, PullSettings])
def test_every_field_is_described(settings):
    assert all(field.description for field in settings.model_fields.values())
