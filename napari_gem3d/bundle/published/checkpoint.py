"""Reading a published checkpoint: never unpickling, and refusing whatever is something else."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from napari_gem3d.errors import InputError
from napari_gem3d.io.files import open_regular

UNET = "model.diffusion_model."
VAE = "first_stage_model."
EMA = "model_ema."

# What else latent diffusion keeps in a state_dict: the process in tables (betas and what follows from them), and the
# VAE once more, under the name of what encodes the conditions.
_TABLES = (
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "betas",
    "log_one_minus_alphas_cumprod",
    "logvar",
    "lvlb_weights",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "posterior_variance",
    "scale_factor",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
)
_VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "loss.")
_CONDITIONER = "cond_stage_model."
_ADVICE = "give a checkpoint of GEM-3D's slice, volume or position model"


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one file, by what they belong to, without their prefixes.

    Attributes
    ----------
    path
        The file.
    unet, vae
        Tensors of the U-Net and the VAE.
    ema
        Moving averages of the U-Net's tensors, by names without their dots.
    tables
        Buffers of the diffusion process, such as ``betas`` and ``scale_factor``.
    """

    path: Path
    unet: dict[str, Tensor]
    vae: dict[str, Tensor]
    ema: dict[str, Tensor]
    tables: dict[str, Tensor]

    def averaged(self) -> dict[str, Tensor]:
        """The U-Net's tensors from the moving average.

        Raises
        ------
        InputError
            If the checkpoint has none, or not of all tensors.
        """
        flat = {name: "diffusion_model" + name.replace(".", "") for name in self.unet}
        if not self.ema:
            raise InputError(
                f"{self.path} has no EMA weights: it lacks {EMA}{next(iter(flat.values()))} ({len(flat)} missing); "
                "convert its plain weights."
            )
        missing = [name for name, key in flat.items() if key not in self.ema]
        extra = sorted(self.ema.keys() - set(flat.values()) - {"decay", "num_updates"})
        if missing or extra:
            what = f"lack {EMA}{flat[missing[0]]}" if missing else f"have the unknown tensor {EMA}{extra[0]}"
            raise InputError(
                f"The EMA weights of {self.path} {what} ({len(missing)} missing, {len(extra)} extra); "
                "convert its plain weights."
            )
        return {name: self.ema[key] for name, key in flat.items()}


class _Inert:
    """Stands for the classes of PyTorch Lightning's own notes in a checkpoint; nothing of theirs is run."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint with ``weights_only=True``, or a safetensors file.

    Parameters
    ----------
    path
        A ``.ckpt`` that holds a ``state_dict``, or is one, or ``.safetensors``.

    Raises
    ------
    InputError
        If it is not such a file, is incomplete, holds code, or holds tensors of another model.
    """
    return _sort(path, _tensors(path, _read(path)))


def _read(path: Path) -> Any:
    try:
        with open_regular(path) as file:
            start = file.read(4)
    except InputError as error:
        reason = "is a folder" if path.is_dir() else "cannot be read"
        raise InputError(f"{path} {reason}; {_ADVICE}.") from error
    if not start:
        raise InputError(f"{path} is empty; get the file again.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"{path} is no complete safetensors file; get the file again.") from error
    if start == b"PK\x03\x04":
        if not zipfile.is_zipfile(path):
            raise InputError(f"{path} is incomplete (the end of the file is missing); get the file again.")
    elif start[:1] != b"\x80":
        raise InputError(f"{path} is not a PyTorch checkpoint; {_ADVICE}.")
    return _load(path, zipped=start[:1] == b"P")


def _load(path: Path, zipped: bool) -> Any:
    foreign: list[str] = []
    try:
        foreign = sorted(get_unsafe_globals_in_checkpoint(path)) if zipped else []
        notes: list[Any] = [
            (_Inert, name) for name in foreign if name.split(".")[0] in ("pytorch_lightning", "lightning")
        ]
        with safe_globals(notes):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        found = [name for name in foreign if name.split(".")[0] not in ("pytorch_lightning", "lightning")]
        what = f" ({found[0]})" if found else ""
        raise InputError(
            f"{path} holds code{what} instead of tensors alone, and is not opened; get the file from its authors, or "
            "ask them for safetensors."
        ) from error
    except Exception as error:  # torch.load has no exception of its own for damaged files
        raise InputError(f"{path} is damaged or not a PyTorch checkpoint; get the file again.") from error


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    held = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(held, Mapping) or not held or not all(isinstance(name, str) for name in held):
        raise InputError(f"{path} has no state_dict; {_ADVICE}.")
    others = [name for name, value in held.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(f"{path} has no state_dict ({others[0]} is no tensor); {_ADVICE}.")
    return dict(held)


def _sort(path: Path, tensors: dict[str, Tensor]) -> Checkpoint:
    found = Checkpoint(path, {}, {}, {}, {})
    strangers = []
    for name, tensor in tensors.items():
        if name.startswith(UNET):
            found.unet[name.removeprefix(UNET)] = tensor
        elif name.startswith(f"{VAE}loss."):
            continue  # the adversary that the VAE was trained against
        elif name.startswith(VAE):
            found.vae[name.removeprefix(VAE)] = tensor
        elif name.startswith(EMA):
            found.ema[name.removeprefix(EMA)] = tensor
        elif name in _TABLES:
            found.tables[name] = tensor
        elif not name.startswith(tuple(_CONDITIONER + part for part in _VAE_PARTS)):
            strangers.append(name)
    if not found.unet:
        raise InputError(
            f"{path} is not a GEM-3D checkpoint: it has no {UNET}* tensor, but {len(tensors)} others such as "
            f"{next(iter(tensors))}; {_ADVICE}."
        )
    if strangers:
        raise InputError(
            f"{path} is not a GEM-3D checkpoint: it has the unknown tensor {strangers[0]} ({len(strangers)} extra); "
            f"{_ADVICE}."
        )
    return found
