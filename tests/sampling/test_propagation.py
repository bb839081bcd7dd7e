"""Algorithm 1: what the network is shown in every window, and that windows and batches fit together."""

from threading import Event

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_gem3d.bundle import ModelBundle, load_bundle
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.propagation import Propagation, batches
from napari_gem3d.sampling.settings import Drawing
from napari_gem3d.sampling.windows import plan_windows

SAMPLING = Drawing(solver="dpmsolver++", steps=3, seed=1, device="cpu", precision="float32")
SLICES, START = 20, 9


class Recorder(nn.Module):
    """A volume U-Net that keeps what it was shown."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.calls: list[tuple[Tensor, int]] = []

    def forward(self, x: Tensor, t: Tensor, num_slices: int) -> Tensor:
        self.calls.append((x.clone(), num_slices))
        assert len(t.unique()) == 1 and len(t) == len(x)
        return self.network(x, t, num_slices=num_slices)


@pytest.fixture
def bundle(tiny_model) -> ModelBundle:
    return load_bundle(tiny_model)


def labels() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.choice(np.array([0, 1, 3, 4], np.uint8), (SLICES, 32, 32))


def informed() -> Tensor:
    return torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(7))


def run(bundle: ModelBundle, sampling: Drawing = SAMPLING) -> Tensor:
    propagation = Propagation(bundle, labels(), informed(), START, sampling)
    for _ in propagation.run():
        pass
    return propagation.latents


def test_batches_pair_the_directions_and_keep_the_plan():
    plan = plan_windows(155, 40)
    grouped = list(batches(plan))
    assert [w for batch in grouped for w in batch] == list(plan)
    assert [w.direction for w in grouped[1]] == ["up", "down"]
    assert {len(batch) for batch in grouped} == {1, 2}
    assert len(grouped) == 1 + max(sum(w.direction == d for w in plan) for d in ("up", "down"))


def test_every_window_is_informed_by_the_nearest_known_slice_at_its_distance(bundle):
    recorder = Recorder(bundle.volume_unet)
    bundle.volume_unet = recorder
    bundle.plan = bundle.plan.model_copy(update={"spacing": (2.5, 1.0, 1.0)})
    propagation = Propagation(bundle, labels(), informed(), START, SAMPLING)
    for _ in propagation.run():
        pass
    grouped = list(batches(propagation.windows))
    assert len(recorder.calls) == SAMPLING.steps * len(grouped)
    for number, batch in enumerate(grouped):
        x, num_slices = recorder.calls[SAMPLING.steps * number]
        assert num_slices == len(batch[0].slices)
        for window, shown in zip(batch, x.split(num_slices), strict=True):
            origin = START if window.informed is None else window.informed
            latents = informed() if window.informed is None else propagation.latents[origin : origin + 1]
            # Channels: 4 noisy latents, 3 labels, 4 informed latents, position, fine and coarse distance.
            assert torch.equal(shown[:, 7:11], latents.expand(num_slices, -1, -1, -1))
            distance = 2.5 * (torch.tensor(list(window.slices)) - origin)
            torch.testing.assert_close(shown[:, 12, 0, 0], torch.tanh(distance / 4))
            lowest = -1 + 2 * window.slices.start / (SLICES - 1)
            assert float(shown[0, 11, 0, 0]) == pytest.approx(lowest)


def test_known_slices_enter_a_window_as_their_latents_with_their_own_noise(bundle):
    recorder = Recorder(bundle.volume_unet)
    bundle.volume_unet = recorder
    # With half of the schedule left, a known slice is visible in what the network is shown.
    schedule = bundle.plan.schedule.model_copy(update={"rescale_betas_zero_snr": False})
    bundle.plan = bundle.plan.model_copy(update={"schedule": schedule})
    propagation = Propagation(bundle, labels(), informed(), START, SAMPLING)
    for _ in propagation.run():
        pass
    noise = torch.randn(propagation.latents.shape, generator=torch.Generator().manual_seed(SAMPLING.seed))
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    signal = torch.cumprod(1 - betas, 0)
    timesteps = (999, 666, 332)
    for number, batch in enumerate(batches(propagation.windows)):
        for step, timestep in enumerate(timesteps):
            x, num_slices = recorder.calls[len(timesteps) * number + step]
            for window, shown in zip(batch, x.split(num_slices), strict=True):
                for i in window.known:
                    level = signal[timestep].sqrt() * propagation.latents[i] + (1 - signal[timestep]).sqrt() * noise[i]
                    torch.testing.assert_close(shown[i - window.slices.start, :4], level, rtol=0, atol=1e-3)


def test_finished_slices_are_never_touched_again(bundle):
    propagation = Propagation(bundle, labels(), informed(), START, SAMPLING)
    finished: dict[int, Tensor] = {}
    for batch, final in propagation.run():
        for i, latents in finished.items():
            assert torch.equal(propagation.latents[i], latents)
        if final:
            for i in (i for window in batch for i in window.new):
                assert i not in finished
                finished[i] = propagation.latents[i].clone()
    assert sorted(finished) == list(range(SLICES))


@pytest.mark.parametrize("solver", ["dpmsolver++", "unipc", "ddim"])
def test_one_seed_one_volume(bundle, solver):
    sampling = SAMPLING.model_copy(update={"solver": solver, "eta": 1.0 if solver == "ddim" else 0.0})
    first, again = run(bundle, sampling), run(bundle, sampling)
    other = run(bundle, sampling.model_copy(update={"seed": 2}))
    assert torch.equal(first, again)
    assert first.isfinite().all() and not torch.allclose(first, other, atol=0.1)


def test_running_the_same_propagation_twice_gives_the_same(bundle):
    propagation = Propagation(
        bundle, labels(), informed(), START, SAMPLING.model_copy(update={"solver": "ddim", "eta": 0.5})
    )
    results = []
    for _ in range(2):
        for _ in propagation.run():
            pass
        results.append(propagation.latents.clone())
    assert torch.equal(*results)


def test_a_batch_of_two_gives_what_two_single_windows_give(bundle, monkeypatch):
    together = run(bundle)
    monkeypatch.setattr("napari_gem3d.sampling.propagation.batches", lambda windows: ((window,) for window in windows))
    torch.testing.assert_close(run(bundle), together, rtol=0, atol=1e-3)


def test_the_first_window_does_not_depend_on_the_rest_of_the_plan(bundle):
    before = run(bundle)
    bundle.plan = bundle.plan.model_copy(update={"overlap": 3})
    first = plan_windows(SLICES, START, bundle.plan.window)[0].slices
    assert torch.equal(run(bundle)[first.start : first.stop], before[first.start : first.stop])


def test_cancel_stops_before_the_next_step(bundle):
    recorder = Recorder(bundle.volume_unet)
    bundle.volume_unet = recorder
    cancel = Event()
    propagation = Propagation(bundle, labels(), informed(), START, SAMPLING)
    for number, _ in enumerate(propagation.run(cancel)):
        if number == 5:  # the first window took three steps and one report; this is the second step of the next
            cancel.set()
    assert len(recorder.calls) == 5
    first = propagation.windows[0].new
    done = [i for i in range(SLICES) if propagation.latents[i].any()]
    assert done == list(first)


def test_a_cancel_that_is_set_already_computes_nothing(bundle):
    cancel = Event()
    cancel.set()
    assert list(Propagation(bundle, labels(), informed(), START, SAMPLING).run(cancel)) == []


def test_a_volume_shorter_than_the_window(bundle):
    propagation = Propagation(bundle, labels()[:3], informed(), 2, SAMPLING)
    assert [final for _, final in propagation.run()] == [False] * 3 + [True]
    assert propagation.latents.isfinite().all() and propagation.latents.any()


def test_a_bundle_without_a_volume_unet_is_refused(bundle):
    bundle.volume_unet = None
    with pytest.raises(InputError, match="tiny has no volume U-Net"):
        Propagation(bundle, labels(), informed(), START, SAMPLING)
