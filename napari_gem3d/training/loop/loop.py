"""The loop that every stage of training shares: steps, validation, checkpoints, stopping."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from napari_gem3d.device import autocast_to_learn
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.memory import is_out_of_memory
from napari_gem3d.training.loop import processes, schedule
from napari_gem3d.training.loop.checkpoints import Checkpoints
from napari_gem3d.training.loop.forecast import forecast
from napari_gem3d.training.loop.memory import find_share, free, smaller
from napari_gem3d.training.loop.reports import Reports, duration
from napari_gem3d.training.loop.samples import Samples, Share, load
from napari_gem3d.training.loop.state import State, generators, set_generators
from napari_gem3d.training.loop.stopping import StopRequest
from napari_gem3d.training.stages.stage import Stage

# A step that took this much longer than the trial was interrupted (a suspended laptop): the excess is not counted.
_LONGEST_STEP_S, _LONGEST_STEP = 20.0, 10.0
_STEPS_BETWEEN_READINGS = 10


def train_stage(
    stage: Stage, folder: Path, *, seed: int, resume: bool = False, say: Callable[[str], None] = print
) -> bool:
    """Train a stage within its budget, leaving the EMA weights in its networks.

    Every process of a run calls it; the main one writes and says.

    Parameters
    ----------
    stage
        The networks, their loss and their settings.
    folder
        Where checkpoints, history and pictures go.
    seed
        Of the samples.
    resume
        Continue from the folder's newest checkpoint that can be read, if there is any.
    say
        Receives messages for people.

    Returns
    -------
    bool
        Whether the budget is spent; False after Ctrl-C or SIGTERM, with everything saved.

    Raises
    ------
    InputError
        If a checkpoint does not fit, not even one sample fits into memory, or the loss is not a number (the last
        checkpoint is kept).
    KeyboardInterrupt
        At a second Ctrl-C; what came after the last checkpoint is lost.
    """
    processes.join(stage.device)
    loop = _Loop(stage, folder, seed, say if processes.is_main() else _silent)
    processes.once(lambda: folder.mkdir(parents=True, exist_ok=True))
    loop.begin(resume)
    stopped = False
    if loop.progress < 1:
        with StopRequest() as stop:
            stopped = loop.run(stop)
    loop.state.ema.copy_to(loop.state.parameters)
    processes.wait()
    return not stopped


def _readings(device: torch.device) -> int:
    """Steps between readings of figures: a graphics card runs ahead until one is read, on a processor it is free."""
    return 1 if device.type == "cpu" else _STEPS_BETWEEN_READINGS


def _silent(message: str) -> None:
    del message


@dataclass
class _Moment:
    """What a step leaves to be recorded.

    Attributes
    ----------
    names, values
        Figures of this process, on its device: the loss, its terms, the norm of the gradient.
    losses
        Of the micro steps.
    origins
        Of the samples of each micro step.
    waited, elapsed
        Seconds for data, and of the whole step.
    step, seconds, learning_rate
        After and at this step.
    """

    names: list[str]
    values: Tensor
    losses: Tensor
    origins: list[tuple[str, ...]]
    waited: float
    elapsed: float = 0.0
    step: int = 0
    seconds: float = 0.0
    learning_rate: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)


class _Loop:
    """A stage on its way; see `train_stage`."""

    def __init__(self, stage: Stage, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self.stage, self.settings, self.folder, self.say = stage, stage.settings, folder, say
        torch.manual_seed(seed)
        self.samples = Samples(stage.source, seed, stage.name)
        share = Share(self.settings.batch, self.settings.accumulation, processes.index(), processes.count())
        self.state = State(stage, share)
        self.checkpoints = Checkpoints(folder, self.settings.keep_checkpoints)
        on_processor = stage.device.type == "cpu"
        self.readings = _readings(stage.device)
        # Precision is the stage's own `autocast`, as in validation and sampling, not whatever a launcher is set to.
        self.accelerator = Accelerator(
            cpu=on_processor,
            mixed_precision="no",
            kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
        )
        self.moments: list[_Moment] = []
        self.clock = self.saved_at = 0.0
        self.longest = _LONGEST_STEP_S
        self.feed: Iterator[Any] | None = None

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0 to 1; the same in all processes."""
        return schedule.progress(self.settings, self.state.step, self.state.seconds)

    def begin(self, resume: bool) -> None:
        """Take up the newest checkpoint if wanted."""
        self.checkpoints.anew = not resume
        found = self.checkpoints.newest(self.say) if resume and processes.is_main() else None
        path = processes.once(lambda: None if found is None else found.path)
        if path is None:
            return
        content = found.content if found else torch.load(path, weights_only=True, map_location="cpu")
        self.state.load(content, str(path))
        self.clock = self.saved_at = self.state.seconds
        self.say(f"{self.stage.name}: resumed at step {self.state.step} from {path}")
        before, now = content["samples"]["step"], self.state.share.effective
        if before != now:
            self.say(f"{self.stage.name}: a step now has {now} samples, before it had {before}; other samples follow.")

    def run(self, stop: StopRequest) -> bool:
        """Train until the budget is spent or a stop is wanted; returns whether it was stopped."""
        state, name = self.state, self.stage.name
        state.share, trial = find_share(self.stage, self.samples, state.share, state.step, self.say)
        self.pace = trial.seconds * state.share.accumulation
        self.longest = max(_LONGEST_STEP_S, _LONGEST_STEP * self.pace)
        for line in forecast(state, trial):
            self.say(line)
        # Of the kernels of 1 × 1 convolutions, where both layouts are the same bytes.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        self.objective = self.accelerator.prepare_model(self.stage.objective, device_placement=False)
        self.adversary = None
        if self.stage.adversary is not None:
            self.adversary = self.accelerator.prepare_model(self.stage.adversary, device_placement=False)
        stopped = False
        reports = Reports(self.folder, name, state.step, self.say, active=processes.is_main())
        try:
            self._open_feed()
            with reports:
                while self.progress < 1 and not stopped:
                    stopped = self._step(stop, reports)
                reports.entry(state.history.last)
                self._save()
        finally:
            # Here, not when it is collected: loading processes are told to end while they can still listen.
            self.feed = None
        spent = f"{state.step:,} steps in {duration(state.seconds)}"
        self.say(f"{name}: {spent}, {state.history.data_share():.1%} of them waiting for data")
        return stopped

    def _open_feed(self) -> None:
        workers = processes.threads_of_loaders(self.settings.workers, self.stage.device)
        pin = self.stage.device.type == "cuda"
        self.feed = iter(load(self.samples, self.state.share, self.state.step, workers, pin))

    def _step(self, stop: StopRequest, reports: Reports) -> bool:
        """Do an optimiser step and what is due after it; returns whether all processes are to stop."""
        started, state, settings = time.perf_counter(), self.state, self.settings
        moment = self._gradients()
        since_saved = self.clock + time.perf_counter() - started - self.saved_at
        save_due = since_saved > 60 * settings.checkpoint_minutes
        wishes = [float(stop.wanted), *((float(save_due), self.clock) if processes.is_main() else (0.0, 0.0))]
        stops, saves, state.seconds = processes.total(wishes)
        ends = schedule.progress(settings, state.step + 1, state.seconds) >= 1
        validates = ends or (state.step + 1) % settings.validate_every == 0
        moment.learning_rate = schedule.learning_rate(settings, state.step, state.seconds)
        self._clip(moment)
        self.moments.append(moment)
        if validates or stops or saves or len(self.moments) >= self.readings:
            # Before the step: what is not a number must never reach the weights that are saved.
            self._read()
        self._update(moment)
        moment.elapsed = time.perf_counter() - started
        self.clock += min(moment.elapsed, self.longest)
        if moment.figures:
            self._record(reports)
        if validates:
            self._validate(reports)
        if saves and not ends and not stops:
            self._save()
        return stops > 0

    def _gradients(self) -> _Moment:
        """Accumulate the gradients of a step; where memory runs out, in smaller micro steps."""
        while True:
            try:
                return self._micro_steps()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if processes.count() > 1:
                    # The others wait for gradients of this one: only before the first step can all change together.
                    raise InputError(
                        f"Memory ran out in process {processes.index()} of stage {self.stage.name}; continue with "
                        f"--resume and a smaller {self.stage.name}.batch, with more accumulation."
                    ) from error
            free(self.stage)
            self.state.share = smaller(self.state.share, self.stage.name, self.say)
            self._open_feed()

    def _micro_steps(self) -> _Moment:
        state, stage, parts = self.state, self.stage, self.state.share.accumulation
        assert self.feed is not None
        rows, names, origins, waited = [], ["loss"], [], 0.0
        for micro in range(parts):
            asked = time.perf_counter()
            batch = next(self.feed)
            waited += time.perf_counter() - asked
            batch = batch.to(stage.device)
            with ExitStack() as quiet:
                if micro < parts - 1:  # processes exchange gradients once a step
                    for module in (self.objective, self.adversary):
                        quiet.enter_context(self.accelerator.no_sync(module))
                with autocast_to_learn(stage.precision, stage.device):
                    outcome = self.objective(batch, state.step)
                state.scaler.scale(outcome.loss / parts).backward()
                figures = {"loss": outcome.loss.detach(), **outcome.figures}
                if self.adversary is not None:
                    with autocast_to_learn(stage.precision, stage.device):
                        judged = self.adversary(batch, outcome.made.detach())
                    state.scaler.scale(judged / parts).backward()
                    figures["discriminator"] = judged.detach()
            names = list(figures)
            rows.append(torch.stack([value.float() for value in figures.values()]))
            origins.append(batch.origins)
        table = torch.stack(rows)
        return _Moment(names, table.mean(dim=0), table[:, 0], origins, waited)

    def _clip(self, moment: _Moment) -> None:
        """Clip the objective's gradients; their norm is a figure of the step."""
        for optimiser in self.state.optimisers:
            self.state.scaler.unscale_(optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.state.parameters, self.settings.clip)
        moment.names.append("gradient_norm")
        moment.values = torch.cat([moment.values, norm.detach().float().reshape(1)])

    def _update(self, moment: _Moment) -> None:
        state = self.state
        for group in state.optimisers[0].param_groups:
            group["lr"] = moment.learning_rate
        for optimiser in state.optimisers:
            state.scaler.step(optimiser)
            optimiser.zero_grad(set_to_none=True)
        state.scaler.update()
        state.ema.step(state.parameters)
        state.step += 1
        moment.step, moment.seconds = state.step, state.seconds

    def _read(self) -> None:
        """Turn the figures of the last steps into numbers, means over all processes."""
        table = torch.stack([moment.values for moment in self.moments]).double().cpu()
        means = torch.tensor(processes.total(table.flatten().tolist())).view(table.shape) / processes.count()
        for moment, row in zip(self.moments, means.tolist(), strict=True):
            moment.figures = dict(zip(moment.names, row, strict=True))
        for number, moment in enumerate(self.moments):
            # Float16 overflows now and then, and the scaler leaves such a step out.
            watched = ("loss",) if self.state.scaler.is_enabled() else ("loss", "gradient_norm")
            for name in watched:
                if not math.isfinite(moment.figures[name]):
                    self._give_up(name, moment, self.state.step - len(self.moments) + 1 + number)

    def _give_up(self, name: str, moment: _Moment, step: int) -> None:
        """Stop all processes over a step whose loss or gradient is not a number; none of its weights were saved."""
        losses = moment.losses.tolist()
        mine = [o for o, loss in zip(moment.origins, losses, strict=True) if name != "loss" or not math.isfinite(loss)]
        origins = [origin for share in processes.gather(mine) for micro in share for origin in micro]
        what = "loss" if name == "loss" else "gradient"
        paths = self.checkpoints.paths()
        where = f"and continue with --resume from {paths[0]}" if paths else "and start again"
        raise InputError(
            f"The {what} of stage {self.stage.name} is not a number at step {step} (batch: {'; '.join(origins)}); "
            f"look at these, or lower learning_rate, {where}."
        )

    def _record(self, reports: Reports) -> None:
        """Put the figures that were read into the history."""
        history = self.state.history
        for moment in self.moments:
            if history.full and history.entries:
                reports.entry(history.last)
            figures = {name: value for name, value in moment.figures.items() if math.isfinite(value)}
            times = {"seconds_per_step": moment.elapsed, "data_seconds": moment.waited}
            history.add(moment.step, moment.seconds, moment.learning_rate, figures | times)
        self.moments.clear()
        pace = history.last["seconds_per_step"]
        end = schedule.last_step(self.settings, self.state.step, self.state.seconds, pace)
        reports.step(self.state.step, end, pace, history.last)

    def _validate(self, reports: Reports) -> None:
        """Validate the moving average, in the main process; the others wait at their next exchange."""
        if not processes.is_main():
            return
        state, settings = self.state, self.settings
        states = generators(self.stage.device)
        state.ema.store(state.parameters)
        state.ema.copy_to(state.parameters)
        try:
            with torch.no_grad():
                state.history.validated(self.stage.validate())
                number = math.ceil(state.step / settings.validate_every)
                reports.validation(state, settings.volume_every > 0 and number % settings.volume_every == 0)
        finally:
            state.ema.restore(state.parameters)
            set_generators(states)

    def _save(self) -> None:
        """Write checkpoint and history, in the main process."""
        self.saved_at = self.clock
        if processes.is_main():
            self.checkpoints.write(self.state.as_dict(), self.state.step)
            self.state.history.write(self.folder / "history.json")
