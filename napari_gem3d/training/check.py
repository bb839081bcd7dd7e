"""The end of a run: a bundle takes its place once it was loaded anew and something was generated with it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_gem3d.bundle import ModelBundle, Plan, load_bundle, save_bundle
from napari_gem3d.bundle.conditioning import Conditions
from napari_gem3d.device import autocast
from napari_gem3d.errors import InputError
from napari_gem3d.io.files import put_folder, staging
from napari_gem3d.labels import LabelMap
from napari_gem3d.sampling.generation import generate
from napari_gem3d.sampling.informed import draw_slice
from napari_gem3d.sampling.inputs import Inputs
from napari_gem3d.sampling.settings import Drawing, Settings
from napari_gem3d.training.data.cache import Cache
from napari_gem3d.volume import Volume

# Few denoising steps: whether it works at all is asked, not how well.
_STEPS = 2
# More slices than a window, so that windows share some.
_SLICES_BEYOND_WINDOW = 4
_SEED = 0


def put_bundle(
    bundle: ModelBundle,
    folder: Path,
    cache: Cache,
    device: torch.device,
    precision: str,
    card: Callable[[str], str],
) -> None:
    """Write a bundle beside its place, check it, and only then replace the one that was there.

    Parameters
    ----------
    bundle
        What to write, in half precision.
    folder
        Its place.
    cache
        Of the run; gives the patient that it is checked on.
    device, precision
        Where and how the check computes.
    card
        Writes the card (Markdown), given what was checked.

    Raises
    ------
    InputError
        If it fails; the failed one is kept as ``bundle-failed``, what was in its place stays.
    """
    with staging(folder) as temporary:
        candidate = Path(temporary) / folder.name
        save_bundle(bundle, candidate)
        try:
            checked = check_bundle(candidate, cache, device, precision)
        except (InputError, RuntimeError) as error:
            failed = folder.with_name(f"{folder.name}-failed")
            shutil.rmtree(failed, ignore_errors=True)
            candidate.rename(failed)
            kept = f"{folder} is left as it was" if folder.exists() else "there is no bundle yet"
            raise InputError(
                f"The new bundle failed its check ({str(error).rstrip('.')}): {kept}, and it is in {failed}; look at "
                "history.png and the pictures of its stages, and train them anew or longer."
            ) from error
        (candidate / "README.md").write_text(card(checked), encoding="utf-8")
        put_folder(candidate, folder)


def check_bundle(folder: Path, cache: Cache, device: torch.device, precision: str) -> str:
    """Load a bundle and draw a short volume of a held-out patient with it, or what its networks allow.

    The volume must be finite, of its label map's shape, not constant inside the body and, where the plan says so,
    background outside.

    Parameters
    ----------
    folder
        The bundle.
    cache
        Of the run.
    device, precision
        Where and how it computes.

    Returns
    -------
    str
        What was checked, a sentence.

    Raises
    ------
    InputError
        If something is not as it must be.
    """
    started = time.monotonic()
    bundle = load_bundle(folder).to(device)
    case = cache.cases("monitor")[0]
    images, labels = (cache.array(case, kind)[0] for kind in ("images", "labels"))
    # The middle of the body, where there is most of it.
    count = min(len(images), bundle.plan.window + _SLICES_BEYOND_WINDOW)
    first = (len(images) - count) // 2
    short = slice(first, first + count)
    image, mask = np.array(images[short], np.float32), np.array(labels[short])
    _check_networks(bundle, image, mask, device, precision)
    done = f"loaded anew, {_drawn(bundle)} computed without fault"
    if bundle.volume_unet is not None:
        _check_volume(folder, bundle.plan, image, mask, device, precision)
        done = (
            f"loaded anew, and {count} slices of a patient's label map drawn in {_STEPS} steps: finite, of the right "
            "shape"
        ) + (", nothing outside the body" if bundle.plan.background_outside_body else "")
    return f"{done[0].upper()}{done[1:]} ({time.monotonic() - started:.0f} s)."


def _drawn(bundle: ModelBundle) -> str:
    names = {"vae": "VAE", "slice_unet": "slice U-Net", "position_unet": "position U-Net"}
    return ", ".join(name for part, name in names.items() if getattr(bundle, part) is not None)


@torch.no_grad()
def _check_networks(
    bundle: ModelBundle, image: NDArray[np.float32], mask: NDArray[np.uint8], device: torch.device, precision: str
) -> None:
    """Run the VAE, the slice U-Net and the position U-Net on one slice."""
    plan, vae = bundle.plan, bundle.vae
    assert vae is not None, "a run's bundle has a VAE"
    middle = len(image) // 2
    with autocast(precision, device):
        latents = vae.encode(torch.from_numpy(image[middle : middle + 1])[:, None].to(device)).float()
        _check_finite("VAE", vae.decode(latents).float().cpu().numpy())
        if bundle.slice_unet is not None:
            conditions = Conditions(plan, mask, device, vae, precision).window(
                range(middle, middle + 1), latents, middle
            )
            t = torch.full((1,), plan.schedule.num_train_timesteps // 2, device=device)
            predicted = bundle.slice_unet(torch.cat([latents, conditions], dim=1), t)
            _check_finite("slice U-Net", predicted.float().cpu().numpy())
    if bundle.position_unet is not None:
        drawing = Drawing(solver=plan.default_solver, steps=_STEPS, seed=_SEED, device=str(device), precision=precision)
        drawn = draw_slice(bundle, 0.5, (image.shape[1], image.shape[2]), drawing)
        _check_finite("position U-Net", drawn.float().cpu().numpy())


def _check_finite(name: str, values: NDArray[np.float32]) -> None:
    if not np.isfinite(values).all():
        raise InputError(f"what the {name} computes is not finite")


def _check_volume(
    folder: Path,
    plan: Plan,
    image: NDArray[np.float32],
    mask: NDArray[np.uint8],
    device: torch.device,
    precision: str,
) -> None:
    """Generate a short volume through the interface that users have."""
    affine = np.diag([*plan.spacing[::-1], 1.0])
    low, high = (plan.intensity.low, plan.intensity.high) if plan.intensity.kind == "window" else (0.0, 1000.0)
    scan = (low + (image + 1) / 2 * (high - low)).astype(np.float32)
    inputs = Inputs(LabelMap(mask, affine), Volume(scan, affine, plan.modality))
    settings = Settings(steps=_STEPS, seed=_SEED, device=str(device), precision=precision)
    drawn = generate(load_bundle(folder), inputs, settings).result().voxels
    if drawn.shape != mask.shape:
        raise InputError(f"a volume of shape {drawn.shape} was drawn for a label map of {mask.shape}")
    _check_finite("volume U-Net", drawn)
    if np.ptp(drawn[mask > 0]) <= 0:
        raise InputError("what it draws inside the body is all the same")
    if plan.background_outside_body and not np.allclose(drawn[mask == 0], low, atol=1e-3 * (high - low)):
        raise InputError("it draws something outside the body")
