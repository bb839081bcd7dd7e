"""The loop itself, on a stage small enough to compute by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from napari_gem3d.errors import InputError
from napari_gem3d.training.loop.history import CLOCKED
from napari_gem3d.training.loop.loop import train_stage
from napari_gem3d.training.loop.samples import Samples, Share


class KilledError(Exception):
    """Stands for the power cut."""


def kill_at(stage, wanted):
    def strike(batch, step):
        if step == wanted:
            raise KilledError

    stage.objective.before = strike


def quiet(message):
    pass


def test_steps_are_those_of_adamw_with_clipping_and_schedule(curve, tmp_path):
    """The whole loop, against ten lines of plain PyTorch."""
    stage, plain = curve(clip=0.2), curve(clip=0.2)
    assert train_stage(stage, tmp_path, seed=5, say=quiet)
    network, samples, settings = plain.objective, Samples(plain.source, 5, "curve"), plain.settings
    parameters = list(network.network.parameters())
    optimiser = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=settings.weight_decay)
    mean = [p.detach().clone() for p in parameters]
    for step in range(12):
        batch = plain.source.join([samples[i] for i in range(4 * step, 4 * step + 4)])
        optimiser.zero_grad()
        network(batch, step).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.2)
        low = settings.final_learning_rate
        cosine = low + (1 - low) * (1 + math.cos(math.pi * step / 12)) / 2
        optimiser.param_groups[0]["lr"] = settings.learning_rate * cosine * min(1, (step + 1) / 4)
        optimiser.step()
        decay = 0.0 if step == 0 else min(0.9, 1 - (1 + step) ** -0.75)
        mean = [decay * m + (1 - decay) * p.detach() for m, p in zip(mean, parameters, strict=True)]
    for learned, wanted in zip(stage.objective.network.parameters(), mean, strict=True):
        torch.testing.assert_close(learned.detach(), wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("judged", [False, True])
@pytest.mark.parametrize("when", [1, 4, 7, 11])
def test_resuming_continues_exactly(curve, tmp_path, judged, when):
    """Weights, average, adversary, buffers and history; also where networks draw from the global generator."""
    options = {"dropout": 0.3, "judged": judged}
    whole = curve(**options)
    assert train_stage(whole, tmp_path / "whole", seed=1, say=quiet)
    parted = curve(**options)
    kill_at(parted, when)
    with pytest.raises(KilledError):
        train_stage(parted, tmp_path / "parted", seed=1, say=quiet)
    said = []
    again = curve(**options)
    torch.manual_seed(99)
    assert train_stage(again, tmp_path / "parted", seed=1, resume=True, say=said.append)
    assert said[0].startswith(f"curve: resumed at step {when} from")
    ends = [torch.load(tmp_path / name / "checkpoint-0000012.pt", weights_only=True) for name in ("whole", "parted")]
    assert ends[0]["step"] == ends[1]["step"] == 12
    for part in ("parameters", "buffers", "optimisers", "ema", "generators"):
        torch.testing.assert_close(ends[1][part], ends[0][part], rtol=0, atol=0)
    histories = [
        [{key: value for key, value in entry.items() if key not in CLOCKED} for entry in end["history"]] for end in ends
    ]
    assert histories[0] == histories[1]
    for name, value in whole.weights().items():
        assert torch.equal(value, again.weights()[name])
    assert len(ends[0]["parameters"]) == 1 + judged


def test_accumulation_is_twice_the_batch(curve, tmp_path):
    at_once, in_parts = curve(batch=8, judged=True), curve(batch=4, accumulation=2, judged=True)
    for name, stage in (("a", at_once), ("b", in_parts)):
        assert train_stage(stage, tmp_path / name, seed=2, say=quiet)
    for name, value in at_once.weights().items():
        torch.testing.assert_close(in_parts.weights()[name], value, rtol=1e-6, atol=1e-7)
    for a, b in zip(at_once.adversary.parameters(), in_parts.adversary.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_the_moving_average_is_what_stays_in_the_networks(curve, tmp_path):
    stage = curve(ema_decay=0.99, learning_rate=0.1)
    train_stage(stage, tmp_path, seed=1, say=quiet)
    stored = torch.load(tmp_path / "checkpoint-0000012.pt", weights_only=True)
    average = stored["ema"]["shadow_params"]
    assert all(torch.equal(p, a) for p, a in zip(stage.objective.network.parameters(), average, strict=True))
    assert not torch.equal(stored["parameters"][0]["network.0.weight"], average[0])
    assert "frozen.weight" not in stored["parameters"][0]


def test_what_does_not_learn_has_no_gradient(curve, tmp_path):
    stage = curve()
    before = stage.objective.frozen.weight.clone()
    train_stage(stage, tmp_path, seed=1, say=quiet)
    assert stage.objective.frozen.weight.grad is None
    assert torch.equal(stage.objective.frozen.weight, before)


def test_a_budget_in_minutes_ends_and_decides_the_learning_rate(curve, tmp_path):
    stage = curve(steps=1_000_000, minutes=0.005, validate_every=10_000, checkpoint_minutes=10)
    assert train_stage(stage, tmp_path, seed=1, say=quiet)
    history = json.loads((tmp_path / "history.json").read_text())
    assert 0.005 <= history[-1]["minutes"] < 0.05
    assert 1 < history[-1]["step"] < 1_000_000
    assert history[-1]["learning_rate"] == pytest.approx(stage.settings.learning_rate * 0.03, rel=0.2)
    assert "validation_loss" in history[-1]


def test_a_finished_stage_is_taken_as_it_ended(curve, tmp_path):
    first, again = curve(), curve()
    train_stage(first, tmp_path, seed=1, say=quiet)
    kill_at(again, 12)
    assert train_stage(again, tmp_path, seed=1, resume=True, say=quiet)
    assert torch.equal(again.weights()["0.weight"], first.weights()["0.weight"])


@pytest.mark.parametrize(
    ("poison", "message"),
    [
        (float("nan"), r"The loss of stage curve is not a number at step 7 \(batch: (point -?\d\.\d+;? ?){4}\)"),
        (float("inf"), r"The loss of stage curve is not a number at step 7"),
    ],
)
def test_a_loss_that_is_not_a_number_stops_with_the_last_good_checkpoint(curve, tmp_path, poison, message):
    stage = curve()

    def spoil(batch, step):
        if step == 7:
            batch.y[1] = poison

    stage.objective.before = spoil
    with pytest.raises(InputError, match=message) as refusal:
        train_stage(stage, tmp_path, seed=1, say=quiet)
    newest = sorted(tmp_path.glob("checkpoint-*.pt"))[-1]
    assert newest.name == "checkpoint-0000007.pt"
    assert str(newest) in str(refusal.value)
    samples = Samples(stage.source, 1, "curve")
    assert all(samples[i].origins[0] in str(refusal.value) for i in Share(4).indices(7, 0))
    stored = torch.load(newest, weights_only=True)
    assert all(torch.isfinite(p).all() for p in stored["parameters"][0].values())


def test_of_several_micro_steps_the_bad_one_is_named(curve, tmp_path):
    stage = curve(batch=2, accumulation=3)
    calls = iter(range(1000))

    def spoil(batch, step):
        # Two calls are the trial's; micro step 1 of step 2.
        if next(calls) == 2 + 2 * 3 + 1:
            batch.y[0] = float("nan")

    stage.objective.before = spoil
    with pytest.raises(InputError, match="at step 2") as refusal:
        train_stage(stage, tmp_path, seed=1, say=quiet)
    samples = Samples(stage.source, 1, "curve")
    named = [samples[i].origins[0] for i in range(12, 18) if samples[i].origins[0] in str(refusal.value)]
    assert named == [samples[i].origins[0] for i in Share(2, 3).indices(2, 1)]


def test_a_gradient_that_is_not_a_number_never_reaches_the_weights(curve, tmp_path):
    """The square root of 0 has a finite value and no finite slope."""
    stage = curve()
    forward = stage.objective.forward

    def rooted(batch, step):
        outcome = forward(batch, step)
        if step != 3:
            return outcome
        return type(outcome)(outcome.loss + (outcome.made.sum() * 0).sqrt(), outcome.figures, outcome.made)

    stage.objective.forward = rooted
    with pytest.raises(InputError, match="The gradient of stage curve is not a number at step 3"):
        train_stage(stage, tmp_path, seed=1, say=quiet)
    assert all(torch.isfinite(value).all() for value in stage.weights().values())


def test_figures_read_late_are_the_same(curve, tmp_path, monkeypatch):
    """On a graphics card figures are read every few steps; entries, checkpoints and refusals must not notice."""
    from napari_gem3d.training.loop import loop

    histories = []
    for name, late in (("each", 1), ("late", 10)):
        monkeypatch.setattr(loop, "_readings", lambda device, late=late: late)
        stage = curve(steps=23, checkpoint_minutes=10, validate_every=9)
        assert train_stage(stage, tmp_path / name, seed=1, say=quiet)
        entries = json.loads((tmp_path / name / "history.json").read_text())
        histories.append([{k: v for k, v in entry.items() if k not in CLOCKED} for entry in entries])
    assert histories[0] == histories[1]
    assert [entry["step"] for entry in histories[0]] == [9, 18, 23]
    stage = curve(steps=23)

    def spoil(batch, step):
        if step == 12:
            batch.y[:] = float("nan")

    stage.objective.before = spoil
    with pytest.raises(InputError, match="not a number at step 12"):
        train_stage(stage, tmp_path / "spoilt", seed=1, say=quiet)


def test_float16_scales_the_loss_and_continues_exactly(curve, tmp_path):
    whole, parted, again = (curve(precision="float16", judged=True) for _ in range(3))
    assert train_stage(whole, tmp_path / "whole", seed=1, say=quiet)
    kill_at(parted, 6)
    with pytest.raises(KilledError):
        train_stage(parted, tmp_path / "parted", seed=1, say=quiet)
    assert train_stage(again, tmp_path / "parted", seed=1, resume=True, say=quiet)
    scalers = [
        torch.load(tmp_path / name / "checkpoint-0000012.pt", weights_only=True)["scaler"]
        for name in ("whole", "parted")
    ]
    assert scalers[0] == scalers[1]
    assert scalers[0]["scale"] > 1
    for name, value in whole.weights().items():
        assert torch.equal(again.weights()[name], value)
    plain = curve(judged=True)
    train_stage(plain, tmp_path / "plain", seed=1, say=quiet)
    for name, value in plain.weights().items():
        assert not torch.equal(whole.weights()[name], value)
        torch.testing.assert_close(whole.weights()[name], value, rtol=0, atol=5e-3)


def test_validation_is_of_the_average_and_leaves_no_trace(curve, tmp_path):
    """With and without validations a run ends the same, though they draw from the global generator."""
    often, once = curve(dropout=0.3, validate_every=1), curve(dropout=0.3, validate_every=12)
    for name, stage in (("often", often), ("once", once)):
        train_stage(stage, tmp_path / name, seed=1, say=quiet)
    assert torch.equal(often.weights()["0.weight"], once.weights()["0.weight"])
    history = json.loads((tmp_path / "often" / "history.json").read_text())
    assert history[-1]["validation_loss"] == pytest.approx(often.validate()["loss"], rel=1e-6)
    assert np.all([entry["steps"] == 1 for entry in history])
