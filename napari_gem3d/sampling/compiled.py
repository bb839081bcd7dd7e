"""A network compiled by ``torch.compile``, where that works."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_gem3d.sampling.memory import is_out_of_memory


class Compiled:
    """A volume U-Net that is compiled at its first call, and goes on as it is if that fails.

    Parameters
    ----------
    network
        The volume U-Net.
    say
        Told, once, if it cannot be compiled.
    """

    def __init__(self, network: nn.Module, say: Callable[[str], None]) -> None:
        self._network, self._say = network, say
        self._compiled: Callable[..., Tensor] | None = torch.compile(network, dynamic=False)

    def __call__(self, x: Tensor, t: Tensor, num_slices: int) -> Tensor:
        """As the network itself."""
        if self._compiled is not None:
            try:
                return self._compiled(x, t, num_slices=num_slices)
            except Exception as error:
                # A missing C++ compiler, an unknown processor, …: torch.compile has many errors and no common one.
                if is_out_of_memory(error):
                    raise
                self._compiled = None
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                self._say(f"torch.compile does not work here ({reason}); continuing without it.")
        result: Tensor = self._network(x, t, num_slices=num_slices)
        return result
