"""The manifest: valid, and everything it names exists."""

from napari.layers import Layer
from npe2 import PluginManifest

import napari_gem3d

MANIFEST = PluginManifest.from_file(f"{napari_gem3d.__path__[0]}/napari.yaml")


def test_the_manifest_is_valid_and_its_commands_exist() -> None:
    MANIFEST.validate_imports()
    assert MANIFEST.name == "napari-gem3d"
    assert [widget.display_name for widget in MANIFEST.contributions.widgets] == ["GEM-3D panel"]


def test_readers_take_every_format_and_folders() -> None:
    (reader,) = MANIFEST.contributions.readers
    assert set(reader.filename_patterns) == {"*.nii", "*.nii.gz", "*.nrrd", "*.nhdr", "*.dcm"}
    assert reader.accepts_directories


def test_sample_patients_say_that_they_are_phantoms(make_napari_viewer_proxy, home) -> None:
    samples = MANIFEST.contributions.sample_data
    assert all("Phantom" in sample.display_name and "procedural" in sample.display_name for sample in samples)
    viewer = make_napari_viewer_proxy()
    viewer.open_sample("napari-gem3d", "phantom-2")
    image, labels = viewer.layers
    assert image.name == "Phantom head 2 (procedural)"
    assert home in image.metadata["gem3d"].path.parents  # a file, so that recipes can refer to it
    assert "brain" in list(labels.features["name"])
    assert Layer.create(*labels.as_layer_data_tuple()).data.any()
