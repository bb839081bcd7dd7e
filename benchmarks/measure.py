"""Time and memory of one generation, in a process of its own.

``python -m benchmarks.measure --slices 64`` prints one line of JSON; ``--command`` measures from the start of the
process, reading files as a user's command does, ``--pressed`` from the moment at which Generate is pressed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from napari_gem3d.bundle import ModelBundle

ROOT = Path(__file__).resolve().parents[1]


def peak_mb() -> float:
    """The most memory that this process has had, in MB."""
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return float(memory.peak_wset) / 1e6
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux that starts with what the process had which started this one.
        held = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return float(held.split()[1]) / 1e3
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most / 1e3


def timed_run(job: Any) -> dict[str, float]:
    """Seconds of a whole run, and until its first slices that were generated."""
    begun, first = time.perf_counter(), 0.0
    for part in job.run():
        if part.indices and part.progress > 0 and not first:
            first = time.perf_counter() - begun
    return {"seconds": time.perf_counter() - begun, "first": first}


def in_a_process(*arguments: str, module: str = "benchmarks.measure") -> dict[str, Any]:
    """Run a module, by default this one, with arguments; the JSON that it printed last."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _generation(options: argparse.Namespace) -> dict[str, float]:
    from benchmarks.cases import make_job
    from napari_gem3d.bundle import load_bundle

    bundle = load_bundle(options.model)
    before = peak_mb()
    size = None if options.size is None else (options.size[0], options.size[1])
    job = make_job(bundle, options.slices, size, solver=options.solver, steps=options.steps)
    return {**timed_run(job), "loaded_mb": before, "peak_mb": peak_mb()}


def _command(options: argparse.Namespace) -> dict[str, float]:
    """From the start of the process to the first slices, by stages."""
    begun = psutil.Process().create_time()
    from napari_gem3d.sampling.generation import open_volume
    from napari_gem3d.sampling.settings import Settings

    stages = {"imports": time.time() - begun}
    labels, scan = (Path(options.command) / f"{name}.nii.gz" for name in ("labels", "scan"))
    settings = Settings(steps=options.steps, solver=options.solver, seed=1)
    job = open_volume(labels, scan, model=options.model, settings=settings)
    stages["prepared"] = time.time() - begun
    for part in job.run():
        if part.indices and part.progress > 0:
            break
    return {**stages, "first": time.time() - begun}


def _pressed(options: argparse.Namespace) -> dict[str, float]:
    """From pressing Generate, with the model loaded and nothing else prepared."""
    from napari_gem3d.bundle import load_bundle
    from napari_gem3d.sampling.generation import open_volume
    from napari_gem3d.sampling.settings import Settings

    bundle = load_bundle(options.model)
    before = peak_mb()
    labels, scan = (Path(options.pressed) / f"{name}.nii.gz" for name in ("labels", "scan"))
    begun = time.perf_counter()
    settings = Settings(steps=options.steps, solver=options.solver, seed=1)
    job = open_volume(labels, scan, model=options.model, settings=settings, bundle=bundle)
    prepared = time.perf_counter() - begun
    run = timed_run(job)
    run = {name: prepared + seconds for name, seconds in run.items()}
    return {"prepared": prepared, **run, "loaded_mb": before, "peak_mb": peak_mb()}


def pressed_to_volume(
    bundle: ModelBundle, model: str, slices: int, *, solver: str | None = None, steps: int | None = None
) -> dict[str, Any]:
    """Seconds from pressing Generate, the model loaded, until inputs, first slices and volume are there; memory."""
    from benchmarks.cases import write_case

    how = [*(["--solver", solver] if solver else []), *(["--steps", str(steps)] if steps else [])]
    with TemporaryDirectory() as folder:
        write_case(bundle, Path(folder), slices)
        return {"slices": slices, **in_a_process("--model", model, "--pressed", folder, *how)}


def command_to_first_slices(bundle: ModelBundle, model: str, slices: int) -> dict[str, Any]:
    """Seconds from the start of a command until its imports, its inputs and its first slices are there."""
    from benchmarks.cases import write_case

    with TemporaryDirectory() as folder:
        write_case(bundle, Path(folder), slices)
        return in_a_process("--model", model, "--command", folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the measurement of one generation as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="brain-flair", help="bundled model or folder of one")
    parser.add_argument("--slices", type=int, default=32, help="slices with body")
    parser.add_argument("--size", type=int, nargs=2, help="rows and columns that the networks see")
    parser.add_argument("--steps", type=int, help="denoising steps")
    parser.add_argument("--solver", help="solver")
    parser.add_argument("--command", metavar="FOLDER", help="from the start of the process, with the case in FOLDER")
    parser.add_argument("--pressed", metavar="FOLDER", help="from pressing Generate, with the case in FOLDER")
    options = parser.parse_args(arguments)
    measure = _command if options.command else _pressed if options.pressed else _generation
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
