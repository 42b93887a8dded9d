"""A function of tensors that stay where they are, recorded once as a CUDA graph and replayed in one launch."""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UPS = 3
"""Calls before the recording: libraries make their handles and workspaces in the first ones."""


def captured(function: Callable[[], None], device: torch.device) -> tuple[Callable[[], None], str]:
    """Return what does the same as the function, by a CUDA graph where one can be recorded.

    The function is called a few times to warm up: what it changes has to be put back afterwards. It must read and write
    the same tensors each time, and must not wait for the device.

    Args:
        function: works in place on tensors of the device.
        device: where they are.

    Returns:
        What to call, and why it is the function itself and no graph; an empty sentence for a graph.
    """
    if device.type != "cuda":
        return function, f"CUDA graphs need a CUDA device; this is {device.type}."
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            function()
    torch.cuda.current_stream(device).wait_stream(side)
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            function()
    except RuntimeError as error:
        torch.cuda.synchronize(device)
        return function, f"The step could not be recorded as a CUDA graph: {str(error).splitlines()[0]}"
    return graph.replay, ""
