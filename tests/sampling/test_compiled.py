"""torch.compile is a wish: where it does not work, generation goes on and says so."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from napari_gem3d.bundle import load_bundle
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.recipe import make_recipe


@pytest.mark.parametrize("works", [True, False])
def test_a_compiled_network_gives_the_same_or_gives_way(
    tiny_patient: Any, tiny_model: Any, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    calls = []

    def compile(network: Callable[..., Any], dynamic: bool) -> Callable[..., Any]:
        def compiled(*arguments: Any, **named: Any) -> Any:
            calls.append(network)
            if not works:
                raise RuntimeError("No working C++ compiler found\nlong trace")
            return network(*arguments, **named)

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    bundle = load_bundle(tiny_model)
    files = (tiny_patient.labels, tiny_patient.scan)
    recipe = make_recipe(*files, model=tiny_model, seed=3, device="cpu", compiled=True)
    parts = list(open_job(recipe, bundle=bundle).run())
    plain = list(open_job(recipe.model_copy(update={"compiled": False}), bundle=bundle).run())
    for a, b in zip(parts, plain, strict=True):
        np.testing.assert_array_equal(a.voxels, b.voxels)
    told = [part.message for part in parts if part.message]
    if works:
        assert len(calls) > 3 and not told
    else:
        assert len(calls) == 1
        assert told == ["torch.compile does not work here (No working C++ compiler found); continuing without it."]
