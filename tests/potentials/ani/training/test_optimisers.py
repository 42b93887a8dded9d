"""The optimiser of a device and the compiled one beside torch's own."""

import numpy as np
import pytest
import torch

from alflow.potentials.ani.network import fresh_networks
from alflow.potentials.ani.settings import ANITrainingSettings
from alflow.potentials.ani.training.compiled_optimiser import CompiledOptimiser
from alflow.potentials.ani.training.device_optimiser import DeviceOptimiser
from alflow.potentials.ani.training.parameters import from_networks
from alflow.potentials.ani.training.schedule import Optimiser
from alflow.potentials.sharing import Share


def made(name, settings):
    generators = [np.random.default_rng(member) for member in range(3)]
    parameters = from_networks(fresh_networks(12, [(6, 5), (7, 4)], "gelu", generators), torch.device("cpu"))
    gradient = parameters.like(torch.zeros_like(parameters.flat))
    kinds = {"torch": Optimiser, "device": DeviceOptimiser}
    if name == "compiled":
        return parameters, gradient, CompiledOptimiser(settings, parameters, gradient, Share())
    return parameters, gradient, kinds[name](settings, parameters, gradient)


def slopes(step, size):
    return torch.from_numpy(np.random.default_rng(step).normal(0.0, 1.0 + step, size).astype(np.float32))


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-sgd"])
@pytest.mark.parametrize("name", ["device", "compiled"])
def test_as_that_of_torch(name, optimizer):
    settings = ANITrainingSettings(optimizer=optimizer, weight_decay=(0.1, 0.02, 0.3))
    found = []
    for kind in ("torch", name):
        parameters, gradient, optimiser = made(kind, settings)
        start = parameters.flat.detach().clone()
        for step in range(20):
            gradient.flat.copy_(slopes(step, gradient.flat.shape))
            optimiser.step([1e-2, 2e-3 * (step + 1), 5e-3])
        found.append(parameters.flat.detach())
    assert float((found[0] - start).abs().min()) > 1e-5
    assert found[1].numpy() == pytest.approx(found[0].numpy(), abs=2e-6 * float(found[0].abs().max()))


def test_a_state_that_is_restored_goes_on_to_the_same_bits():
    settings = ANITrainingSettings()
    parameters, gradient, whole = made("device", settings)
    other, other_gradient, again = made("device", settings)
    for step in range(8):
        if step == 4:
            other.flat.copy_(parameters.flat)
            again.restore([{name: torch.as_tensor(value).clone() for name, value in whole.state()[0].items()}])
        gradient.flat.copy_(slopes(step, gradient.flat.shape))
        whole.step([1e-2] * 3)
        if step >= 4:
            other_gradient.flat.copy_(gradient.flat)
            again.step([1e-2] * 3)
    assert torch.equal(parameters.flat, other.flat)
