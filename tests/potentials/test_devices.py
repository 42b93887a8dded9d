"""Which GPU is taken: what torch says is replaced, no GPU is needed."""

from types import SimpleNamespace

import pytest
import torch

from alflow.errors import InputError
from alflow.potentials.ani.settings import ANITrainingSettings
from alflow.potentials.ani.training.trainer import _device
from alflow.potentials.devices import accelerator, accelerators


def pretend(monkeypatch, **counts):
    for name in ("cuda", "xpu"):
        count = counts.get(name, 0)
        module = getattr(torch, name)
        monkeypatch.setattr(module, "is_available", lambda count=count: count > 0)
        monkeypatch.setattr(module, "device_count", lambda count=count: count)
        properties = SimpleNamespace(name=f"{name} device", uuid="1234")
        monkeypatch.setattr(module, "get_device_properties", lambda index, properties=properties: properties)


@pytest.mark.parametrize(
    ("counts", "device", "taken"),
    [({}, "auto", "cpu"), ({"cuda": 1}, "auto", "cuda"), ({"xpu": 2}, "gpu", "xpu"), ({"cuda": 1}, "cpu", "cpu")],
)
def test_the_gpu_that_is_there_is_taken(monkeypatch, counts, device, taken):
    pretend(monkeypatch, **counts)
    assert _device(ANITrainingSettings(device=device)).type == taken
    (names,) = counts.items() or ((taken, 0),)
    assert accelerators() == [f"{names[0]} device 1234"] * names[1]


def test_a_gpu_that_is_asked_for_must_be_there(monkeypatch):
    pretend(monkeypatch)
    with pytest.raises(InputError, match="torch finds none here"):
        _device(ANITrainingSettings(device="gpu"))


def test_a_campaign_that_asks_for_a_gpu_that_is_not_there_ends_with_code_2(alflow, tiny_file):
    if accelerator() is not None:
        pytest.skip("there is a GPU here")
    code, _, said = alflow("run", tiny_file, "-o", "kind=threads", "--set", "training.device=gpu")
    assert code == 2
    assert "training.device is 'gpu', and torch finds none here" in said
    assert "Traceback" not in said
