"""What the chosen networks demand of the plan: the latents of the VAE, and of what rows and columns are multiples."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from napari_gem3d.errors import InputError
from napari_gem3d.io.documents import read_json
from napari_gem3d.training.config.settings import TrainingConfig, VAESettings

# By its input channels, what a VAE from elsewhere sees: grey or colour slices, or the planes of a pixel-unshuffle.
_UNSHUFFLE = {1: 1, 3: 1, 4: 2, 16: 4}
_ADVICE = "give a folder of a diffusers AutoencoderKL (config.json and weights), or a bundle"


class LatentGeometry(NamedTuple):
    """Shape of a VAE's latents, in the words of the plan's `LatentSpace`.

    Attributes
    ----------
    channels
        Of the latents.
    factor
        Voxels a latent spans along rows and along columns.
    unshuffle
        Pixel-unshuffle before the encoder.
    """

    channels: int
    factor: int
    unshuffle: int


def vae_folder(config: TrainingConfig) -> Path | None:
    """Folder of the ``AutoencoderKL`` that the VAE starts from: its own ``init``, else that of the run's bundle.

    Either may be a bundle, by folder or name, which has its VAE inside. None if the VAE starts afresh.

    Raises
    ------
    InputError
        If there is no such bundle.
    """
    wanted, own = (config.vae.init, True) if config.vae.init is not None else (config.init, False)
    if wanted is None or (own and wanted.is_dir() and not (wanted / "model.json").is_file()):
        return wanted
    if own and not wanted.exists() and len(wanted.parts) > 1:
        raise InputError(f"There is no VAE in {wanted}; {_ADVICE}.")
    from napari_gem3d.bundle.store import find_bundle  # loads PyTorch

    folder = find_bundle(wanted) / "vae"
    return folder if own or folder.is_dir() else None


def latent_geometry(config: TrainingConfig) -> LatentGeometry:
    """Latents of the VAE that a run will have.

    Raises
    ------
    InputError
        If the VAE to start from is missing or of no use for grey slices.
    """
    folder = vae_folder(config)
    return _of_settings(config.vae) if folder is None else read_geometry(folder)


def read_geometry(folder: Path) -> LatentGeometry:
    """Latents of an ``AutoencoderKL`` on disk.

    Raises
    ------
    InputError
        If there is none, or it takes pictures that a grey slice cannot be.
    """
    path = folder / "config.json"
    try:
        facts = read_json(path)
        inputs, levels = int(facts["in_channels"]), len(facts["block_out_channels"])
        channels = int(facts.get("embed_channels") or facts["latent_channels"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"There is no VAE in {folder}; {_ADVICE}.") from error
    if inputs not in _UNSHUFFLE:
        raise InputError(f"The VAE in {folder} takes {inputs} channels, which no grey slice fills; choose another.")
    unshuffle = _UNSHUFFLE[inputs]
    return LatentGeometry(channels, unshuffle * 2 ** (levels - 1), unshuffle)


def size_step(config: TrainingConfig) -> int:
    """Of what rows and columns of the slices must be multiples: every level of a U-Net halves the latents."""
    halvings = max(len(config.slice.channels), len(config.position.channels)) - 1
    return int(latent_geometry(config).factor * 2**halvings)


def _of_settings(settings: VAESettings) -> LatentGeometry:
    factor = settings.unshuffle * 2 ** (len(settings.channels) - 1)
    return LatentGeometry(settings.latent_channels, factor, settings.unshuffle)
