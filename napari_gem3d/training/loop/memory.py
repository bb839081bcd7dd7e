"""Whether a micro step fits into memory: tried before the first step, made smaller where it does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from accelerate.utils.memory import clear_device_cache
from torch import Tensor, nn

from napari_gem3d.device import autocast_to_learn
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.memory import is_out_of_memory
from napari_gem3d.training.loop import processes
from napari_gem3d.training.loop.samples import Samples, Share
from napari_gem3d.training.loop.state import generators, modules_of, set_generators
from napari_gem3d.training.stages.stage import Stage, learning


@dataclass(frozen=True)
class Trial:
    """What a micro step costs.

    Attributes
    ----------
    activations
        Bytes kept between forward and backward.
    seconds
        Of forward and backward.
    """

    activations: int
    seconds: float


def too_little(name: str) -> InputError:
    """What to say when not even one sample fits."""
    return InputError(
        f"There is too little memory for stage {name} even with one sample at a time; take a smaller network "
        "(channels), smaller slices, or a machine with more."
    )


def smaller(share: Share, name: str, say: Callable[[str], None]) -> Share:
    """Halve the micro batch and double the accumulation, and say so.

    Raises
    ------
    InputError
        If it is one sample already.
    """
    half = share.smaller()
    if half is None:
        raise too_little(name)
    say(
        f"{name}: memory ran out; continuing with micro steps of {half.batch} instead of {share.batch}, "
        f"{half.accumulation} a step, which gives the same result."
    )
    return half


def find_share(
    stage: Stage, samples: Samples, share: Share, step: int, say: Callable[[str], None]
) -> tuple[Share, Trial]:
    """Try a forward and backward, with smaller micro steps until it fits into the memory of every process.

    Nothing is left of it: gradients are thrown away, buffers and global generators put back.

    Parameters
    ----------
    stage
        What is trained.
    samples, step
        Where the batch comes from.
    share
        Of this process, to begin with.
    say
        Told when it gets smaller.

    Returns
    -------
    tuple
        The share that fits, and what a micro step of it costs.

    Raises
    ------
    InputError
        If not even one sample fits.
    """
    while True:
        trial = _attempt(stage, samples, share, step)
        failed = processes.total([float(trial is None)])[0]
        if trial is not None and not failed:
            return share, trial
        free(stage)
        share = smaller(share, stage.name, say)


def free(stage: Stage) -> None:
    """Give back what a failed attempt has left: gradients, and the device's cache."""
    _drop_gradients(stage)
    clear_device_cache(garbage_collection=True)


def bytes_of(tensors: list[nn.Parameter] | list[Tensor]) -> int:
    """Size of tensors in memory."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _attempt(stage: Stage, samples: Samples, share: Share, step: int) -> Trial | None:
    """Cost of a micro step; None if memory runs out."""
    kept, tally = _Kept(), 0.0
    try:
        with _leaving_no_trace(stage):
            # The optimisers' two moments do not exist before the first step: their place is taken here.
            moments = 2 * sum(bytes_of(learning(module)) for module in modules_of(stage))
            reserved = torch.empty(moments, dtype=torch.uint8, device=stage.device)
            batch = samples.source.join([samples[i] for i in share.indices(step, 0)]).to(stage.device)
            with torch.autograd.graph.saved_tensors_hooks(kept.note, lambda tensor: tensor):
                _forward_backward(stage, batch, step)
            _drop_gradients(stage)
            started = time.perf_counter()
            _forward_backward(stage, batch, step)
            tally = time.perf_counter() - started
            del reserved
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    finally:
        _drop_gradients(stage)
    return Trial(kept.bytes(modules_of(stage)), tally)


def _drop_gradients(stage: Stage) -> None:
    for module in modules_of(stage):
        module.zero_grad(set_to_none=True)


def _forward_backward(stage: Stage, batch: object, step: int) -> None:
    with autocast_to_learn(stage.precision, stage.device):
        outcome = stage.objective(batch, step)
    outcome.loss.backward()
    if stage.adversary is not None:
        with autocast_to_learn(stage.precision, stage.device):
            judged = stage.adversary(batch, outcome.made.detach())
        judged.backward()
    if stage.device.type == "cuda":
        torch.cuda.synchronize(stage.device)
    elif stage.device.type == "mps":
        torch.mps.synchronize()


@dataclass
class _Kept:
    """Sizes of the memory that autograd keeps, by its address: several tensors may share it."""

    sizes: dict[int, int] = field(default_factory=dict)

    def note(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    def bytes(self, modules: list[nn.Module]) -> int:
        """All but the weights."""
        weights = {p.untyped_storage().data_ptr() for module in modules for p in module.parameters()}
        return sum(size for address, size in self.sizes.items() if address not in weights)


@contextmanager
def _leaving_no_trace(stage: Stage) -> Iterator[None]:
    states = generators(stage.device)
    buffers = [(buffer, buffer.clone()) for module in modules_of(stage) for buffer in module.buffers()]
    try:
        yield
    finally:
        set_generators(states)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
