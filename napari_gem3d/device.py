"""Which device computes, and in which precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from napari_gem3d.errors import InputError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """Turn a device name into a device that exists; ``auto`` prefers cuda, then mps, then cpu.

    Raises
    ------
    InputError
        If the name is unknown or the device is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    kind = name.split(":")[0]
    if kind not in there:
        raise InputError(f"The device '{name}' is unknown; choose one of {', '.join(DEVICES)}.")
    if not there[kind]:
        raise InputError(f"This machine has no device '{name}'; use --device auto or cpu.")
    return torch.device(name)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device computes matrix products in bfloat16 faster than in float32.

    A processor needs AVX-512 BF16, AMX or the Arm BF16 instructions: without them bfloat16 is emulated and slower.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return False
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="ignore")
        return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))
    return False


def choose_precision(name: str, device: torch.device) -> str:
    """Resolve ``auto`` to ``bfloat16`` where the device is faster with it, else ``float32``.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    if name not in PRECISIONS:
        raise InputError(f"The precision '{name}' is unknown; choose one of {', '.join(PRECISIONS)}.")
    if name == "auto":
        return "bfloat16" if has_fast_bfloat16(device) else "float32"
    return name


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which networks run in this precision."""
    if precision in _HALVES:
        return torch.autocast(device.type, _HALVES[precision])
    return contextlib.nullcontext()


@contextlib.contextmanager
def autocast_to_learn(precision: str, device: torch.device) -> Iterator[None]:
    """Run networks in this precision for a loss whose gradients are wanted.

    On a processor in bfloat16, the gradients of PyTorch's fused attention are slow for the few tokens of a window: with
    the plain product a step of the volume U-Net is a quarter faster, and as accurate.
    """
    with contextlib.ExitStack() as context:
        if device.type == "cpu" and precision == "bfloat16":
            context.enter_context(sdpa_kernel(SDPBackend.MATH))
        context.enter_context(autocast(precision, device))
        yield
