"""Damaged documents (JSON, YAML, CSV, safetensors): one sentence each.

A short part runs always, ``GEM3D_FUZZ=500`` makes so many of each kind.
"""

import copy
import json
import os
import shutil
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml

from napari_gem3d import make_recipe
from napari_gem3d.bundle import load_bundle
from napari_gem3d.bundle.store import read_plan
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.generation import open_job
from napari_gem3d.sampling.recipe import read_recipe, write_recipe
from napari_gem3d.training.config.loading import load_config
from napari_gem3d.training.config.settings import DataSettings
from napari_gem3d.training.data.dataset import read_dataset

QUICK = 25
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        3,
        2**70,
        -(2**70),
        1e308,
        float("nan"),
        float("inf"),
        0.5,
        "",
        "x",
        "NaN",
        "../..",
        "a" * 5000,
    ),
    *([], {}, [None], [[1, [2]]], {"a": 1}, ["x"] * 3, [1e308] * 4, [0] * 1000),
)


def damaged(document: Any, rng: np.random.Generator) -> Any:
    """The same with a few values lost, replaced by others, or under other names."""
    document = copy.deepcopy(document)
    for _ in range(int(rng.integers(1, 4))):
        inner, key = document, None
        while isinstance(inner, dict | list) and inner:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            held, key = inner, keys[int(rng.integers(len(keys)))]
            inner = held[key]
            if rng.random() < 0.3:
                break
        if key is None:
            return VALUES[int(rng.integers(len(VALUES)))]
        if rng.random() < 0.25:
            del held[key]
        elif isinstance(held, dict) and rng.random() < 0.15:
            held["unheard of"] = held.pop(key)
        else:
            held[key] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
    return document


@pytest.fixture
def made(tiny_patient, tiny_model, tmp_path) -> dict[str, tuple[Any, Callable[[Any], object]]]:
    """What is damaged, by kind, and how it is then read."""
    recipe = make_recipe(tiny_patient.labels, tiny_patient.scan, model=tiny_model, seed=1, slice=9)
    write_recipe(recipe, tmp_path / "r.json")
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    dataset = tmp_path / "dataset"
    for name, source in (("imagesTr/a_0000", tiny_patient.scan), ("labelsTr/a", tiny_patient.lesions)):
        (dataset / name).parent.mkdir(parents=True)
        shutil.copyfile(source, dataset / f"{name}.nii.gz")
    facts = {"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "a": 1}, "numTraining": 1}
    files = [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}]

    def replay(document: Any) -> object:
        (tmp_path / "r.json").write_text(json.dumps(document))
        return open_job(read_recipe(tmp_path / "r.json"))

    def bundle(document: Any) -> object:
        (model / "model.json").write_text(json.dumps(document))
        read_plan(model)
        return load_bundle(model)

    def cases(document: Any) -> object:
        (dataset / "dataset.json").write_text(json.dumps(document))
        return read_dataset(dataset, DataSettings())

    def config(document: Any) -> object:
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(document))
        return load_config(tmp_path / "c.yaml")

    return {
        "recipe": (json.loads(recipe.model_dump_json()), replay),
        "model": (json.loads((tiny_model / "model.json").read_bytes()), bundle),
        "dataset": ({**facts, "file_ending": ".nii.gz", "training": files}, cases),
        "listed": ({**facts, "dataset": {"a": {"images": ["imagesTr/a_0000.nii.gz"], "label": "l.nii.gz"}}}, cases),
        "config": (load_config("tiny").model_dump(mode="json"), config),
    }


@pytest.mark.parametrize("kind", ["recipe", "model", "dataset", "listed", "config"])
def test_damaged_documents_are_read_or_refused_in_a_sentence(made, kind, capfd):
    document, read = made[kind]
    refused, said = 0, []
    for index in range(int(os.environ.get("GEM3D_FUZZ", QUICK))):
        changed = damaged(document, np.random.default_rng([zlib.crc32(kind.encode()), index]))
        try:
            read(changed)
        except InputError as error:
            refused += 1
            said.append((index, str(error)))
        except Exception as error:
            raise AssertionError(f"{kind} {index}: {type(error).__name__}: {error}") from error
    assert not [one for one in said if len(one[1]) > 1000 or "\n" in one[1] or one[1][-1] not in ".?"]
    assert refused > QUICK // 4
    assert capfd.readouterr() == ("", "")


def test_damaged_weights_are_read_or_refused_in_a_sentence(tiny_model, tmp_path):
    said: list[str] = []
    whole = sorted(tiny_model.rglob("*.safetensors"))
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    for index in range(int(os.environ.get("GEM3D_FUZZ", QUICK // 2))):
        rng = np.random.default_rng(index)
        source = whole[int(rng.integers(len(whole)))]
        content = bytearray(source.read_bytes())
        length = int.from_bytes(content[:8], "little")
        if rng.random() < 0.6:  # in the header, which is JSON
            header = damaged(json.loads(content[8 : 8 + length]), rng)
            text = json.dumps(header).encode()
            content = bytearray(len(text).to_bytes(8, "little") + text + content[8 + length :])
        else:
            at = int(rng.integers(8 if rng.random() < 0.3 else len(content)))
            content[at : at + 8] = rng.integers(256, size=8, dtype=np.uint8).tobytes()
        path = model / source.relative_to(tiny_model)
        path.write_bytes(content)
        try:
            load_bundle(model)
        except InputError as error:
            said.append(str(error))
        except Exception as error:
            raise AssertionError(f"{index}: {type(error).__name__}: {error}") from error
        shutil.copyfile(source, path)
    assert said and not [one for one in said if "\n" in one or len(one) > 1000]
