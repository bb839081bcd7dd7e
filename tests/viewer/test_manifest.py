"""The manifest: valid, and everything it names exists."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from napari.layers import Layer
from npe2 import PluginManifest

import napari_gem3d
from napari_gem3d.samples import sample_patients
from napari_gem3d.viewer.runs.mark import is_synthetic
from napari_gem3d.viewer.samples import SAMPLES

MANIFEST = PluginManifest.from_file(f"{napari_gem3d.__path__[0]}/napari.yaml")


def test_the_manifest_is_valid_and_its_commands_exist() -> None:
    MANIFEST.validate_imports()
    assert MANIFEST.name == "napari-gem3d"
    assert [widget.display_name for widget in MANIFEST.contributions.widgets] == ["GEM-3D panel"]


def test_readers_take_every_format_and_folders() -> None:
    (reader,) = MANIFEST.contributions.readers
    assert set(reader.filename_patterns) == {"*.nii", "*.nii.gz", "*.mgz", "*.mgh", "*.nrrd", "*.nhdr", "*.dcm"}
    assert reader.accepts_directories


def test_sample_patients_say_that_they_are_synthetic(make_napari_viewer_proxy) -> None:
    offered = {sample.key: sample.display_name for sample in MANIFEST.contributions.sample_data}
    assert offered == SAMPLES
    assert list(offered) == list(sample_patients())
    assert all(name.startswith("Synthetic patient") for name in offered.values())


@pytest.mark.parametrize("name", sample_patients())
def test_a_sample_patient_opens_and_is_marked(make_napari_viewer_proxy, name: str) -> None:
    viewer, sample = make_napari_viewer_proxy(), sample_patients()[name]
    viewer.open_sample("napari-gem3d", name)
    image, labels = viewer.layers
    assert image.name == sample.title
    assert is_synthetic(image)
    assert image.metadata["gem3d"].path == sample.image  # a file, so that recipes can refer to it
    assert "brain" in list(labels.features["name"])
    assert Layer.create(*labels.as_layer_data_tuple()).data.any()


def test_the_page_of_preferences_is_that_of_the_manifest() -> None:
    page = (Path(napari_gem3d.__path__[0]).parent / "docs" / "reference" / "preferences.md").read_text(encoding="utf-8")
    written = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    configurations = MANIFEST.contributions.configurations
    assert written == [
        [
            setting.title,
            str(setting.default).lower() if setting.type == "boolean" else str(setting.default),
            setting.description,
        ]
        for category in configurations.values()
        for setting in category.properties.values()
    ]


def test_npe2_finds_nothing_wrong() -> None:
    """The command that the documentation of npe2 asks authors to run."""
    done = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", "--imports", "napari-gem3d"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Manifest for 'GEM-3D' valid" in done.stdout


def test_the_hub_finds_what_it_shows() -> None:
    """The napari hub reads the package's metadata and the manifest (napari.org: customizing your plugin's listing)."""
    classifiers = importlib.metadata.metadata("napari-gem3d").get_all("Classifier")
    assert "Framework :: napari" in classifiers
    for kind in ("Development Status", "Intended Audience", "Operating System", "Programming Language", "Topic"):
        assert any(classifier.startswith(f"{kind} :: ") for classifier in classifiers)
    assert MANIFEST.display_name and str(MANIFEST.visibility) != "hidden" and MANIFEST.categories
