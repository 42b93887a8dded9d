"""The GPU that torch sees: NVIDIA's, AMD's (which torch calls cuda as well), or Intel's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alflow.errors import InputError

if TYPE_CHECKING:
    import torch


def accelerator() -> torch.device | None:
    """Return the GPU of this process; None where torch sees none."""
    import torch  # noqa: PLC0415 - torch is heavy

    return next((torch.device(name) for name in ("cuda", "xpu") if getattr(torch, name).is_available()), None)


def device_named(name: str, setting: str) -> torch.device:
    """Return the device that a setting asks for: "auto", "cpu" or "gpu".

    Raises:
        InputError: a GPU is asked for, and torch sees none.
    """
    import torch  # noqa: PLC0415 - torch is heavy

    found = accelerator() if name != "cpu" else None
    if name == "gpu" and found is None:
        raise InputError(
            f"{setting} is 'gpu', and torch finds none here. Set it to 'auto' or 'cpu', run on a machine with one, or "
            "install the build of torch that is made for it."
        )
    return found or torch.device("cpu")


def accelerators() -> list[str]:
    """Return name and unique identifier of each GPU that torch sees."""
    import torch  # noqa: PLC0415 - torch is heavy

    found = []
    for kind in (torch.cuda, torch.xpu):
        for index in range(kind.device_count() if kind.is_available() else 0):
            properties = kind.get_device_properties(index)
            found.append(f"{properties.name} {getattr(properties, 'uuid', '')}".strip())
    return found
