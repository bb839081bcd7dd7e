"""What a generation does when memory runs out: smaller batches first, then the processor; it never starts again."""

from __future__ import annotations

import torch

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.device import choose_precision
from napari_gem3d.errors import InputError

# What allocators say that do not raise an error of a type of their own.
_PHRASES = (
    "out of memory",  # CUDA, MPS
    "can't allocate memory",  # the processor's allocator on Linux and macOS
    "not enough memory",  # on Windows
    "CUBLAS_STATUS_ALLOC_FAILED",
)
_PROCESSOR = torch.device("cpu")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device or the computer has too little memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _PHRASES)


class Workplace:
    """Where the networks of one job run, and on how much at once.

    Parameters
    ----------
    bundle
        The networks; moved to the processor when the device's memory does not even hold one window.
    device, precision
        Where they run at first, and in which numbers.

    Attributes
    ----------
    device, precision
        Where they run now, and in which numbers.
    windows, slices
        How many windows are denoised, and how many slices decoded, together.
    """

    def __init__(self, bundle: ModelBundle, device: torch.device, precision: str) -> None:
        self._bundle = bundle
        self.device, self.precision = device, precision
        # Four slices keep a processor busy, arrive smoothly and stay small in memory.
        self.windows, self.slices = 2, 4
        self._news: list[str] = []

    def news(self) -> str:
        """What has changed since the last call, in words for people; empty if nothing has."""
        said, self._news = " ".join(self._news), []
        return said

    def say(self, words: str) -> None:
        """Add to the news."""
        self._news.append(words)

    def give_way(self, error: BaseException, denoising: bool) -> None:
        """Take less at once from now on, or move to the processor, after an error while denoising or decoding.

        Raises
        ------
        InputError
            If nothing smaller is left.
        BaseException
            The error itself, if it is not about memory.
        """
        if not is_out_of_memory(error):
            raise error
        if denoising and self.windows > 1:
            self.windows = 1
            self.say("Memory ran out; continuing with one window at a time.")
        elif not denoising and self.slices > 1:
            self.slices = 1
            self.say("Memory ran out; continuing with one slice decoded at a time.")
        elif self.device != _PROCESSOR:
            self.say(f"The memory of {self.device} ran out; continuing on the processor, which is slower.")
            self.device = _PROCESSOR
            if self.precision != "float32":
                self.precision = choose_precision("auto", self.device)
            self._bundle.to(self.device)
        else:
            raise InputError(
                "There is too little memory to generate even one window at a time; close other programs, or use a "
                "machine with more."
            ) from error

    def free(self) -> None:
        """Give back what a failed attempt has left in the device's cache."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()
