"""What the published procedure costs, on the same weights and case as a job of ours.

One direction after the other from the start slice, windows one at a time, the label map encoded for every window
anew, DDIM with eta 1, plain float32, all slices decoded at the end. Its faults (noise levels, slots, slices that are
never generated) are left out: they cost nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_gem3d.bundle import ModelBundle
from napari_gem3d.bundle.conditioning import Conditions, body_positions, condition, label_channels
from napari_gem3d.sampling.job import Job
from napari_gem3d.sampling.prepare import informed_picture
from napari_gem3d.sampling.solver import denoise, make_solver

_TOGETHER = 4  # slices decoded at once, as ours


def published_windows(num_slices: int, start: int, window: int = 16, overlap: int = 1) -> list[tuple[range, int]]:
    """Windows of the upward and then the downward pass, each with the slice that informs it."""
    length = min(window, num_slices)
    found = []
    for origin in range(start, max(num_slices - 1, start + 1), length - overlap):
        begin = min(origin, num_slices - length)
        found.append((range(begin, begin + length), origin))
    for origin in range(start, 0, -(length - overlap)):
        end = max(origin + 1, length)
        found.append((range(end - length, end), origin))
    return found


@torch.no_grad()
def published_volume(bundle: ModelBundle, job: Job, steps: int, seed: int = 1) -> NDArray[np.float32]:
    """Generate the volume of a job by the published procedure, on the processor.

    Returns
    -------
    ndarray
        (Z, H, W), about [-1, 1].
    """
    vae, network, plan = bundle.vae, bundle.volume_unet, job.recipe.plan
    assert vae is not None and network is not None, "the job has checked that"
    labels, schedule = job.prepared.case.labels, plan.schedule
    picture, _ = informed_picture(job.prepared)
    informed = vae.encode(torch.from_numpy(picture)[None, None])
    start = job.recipe.start - job.prepared.case.slices.start
    latents = informed.new_zeros(len(labels), *informed.shape[1:])
    known = torch.zeros(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for slices, origin in published_windows(len(labels), start, plan.window, plan.overlap):
        shown = latents[origin : origin + 1] if known[origin] else informed
        conditions = _window_conditions(bundle, job, slices, shown, origin)

        def predict(x: Tensor, timestep: int, conditions: Tensor = conditions, count: int = len(slices)) -> Tensor:
            return network(torch.cat([x, conditions], dim=1), torch.full((count,), timestep), num_slices=count)

        inside = slice(slices.start, slices.stop)
        noise = torch.randn(latents[inside].shape, generator=generator)
        keep = known[inside, None, None, None].float()
        solver = make_solver(schedule, "ddim", steps, eta=1.0)
        *_, latents[inside] = denoise(
            predict, solver, schedule.prediction_type, noise, latents[inside].clone(), keep, generator
        )
        known[inside] = True
    return torch.cat([vae.decode(few)[:, 0] for few in latents.split(_TOGETHER)]).numpy()


def _window_conditions(bundle: ModelBundle, job: Job, slices: range, informed: Tensor, origin: int) -> Tensor:
    plan, labels = job.recipe.plan, job.prepared.case.labels
    part = labels[slices.start : slices.stop]
    if plan.conditioning == "grey":
        encoded = Conditions(plan, part, torch.device("cpu"), bundle.vae)
        return encoded.window(range(len(part)), informed, origin - slices.start)
    positions = torch.from_numpy(body_positions(len(labels)))[slices.start : slices.stop]
    offset = (torch.arange(slices.start, slices.stop) - origin) * plan.spacing[0]
    return condition(label_channels(plan, part), informed, positions, offset)
