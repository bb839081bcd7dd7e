"""The bundled model on a real patient: geometry, units and place; how it looks is for people to judge."""

import numpy as np
import pytest

from napari_gem3d import make_recipe, read_label_map, read_volume, run_recipe
from napari_gem3d.bundle import bundled_models


@pytest.mark.slow
def test_a_glioma_patient_from_one_own_slice(shared_data, tmp_path):
    if "brain-flair" not in bundled_models():
        pytest.skip("no bundled model in this checkout")
    dataset = shared_data / "Dataset501_GliomaFLAIR"
    mask, scan = dataset / "labelsTs/Brats18_2013_11_1.nii.gz", dataset / "imagesTs/Brats18_2013_11_1_0000.nii.gz"
    # Two steps are enough to see that everything is in its place.
    written = run_recipe(make_recipe(mask, scan, body=scan, position=0.5, seed=1, steps=2), tmp_path / "out.nii.gz")
    assert written is not None
    result, real, labels = read_volume(written), read_volume(scan), read_label_map(mask)
    assert result.grid == labels.grid and result.orientation == "LPS" and result.voxels.dtype == real.voxels.dtype
    brain = real.voxels > 0
    assert (result.voxels[~brain] > 0).mean() < 0.01, "background but for holes in the brain's foreground"
    assert result.voxels[brain].mean() == pytest.approx(real.voxels[brain].mean(), rel=0.35)
    assert np.corrcoef(result.voxels[77][brain[77]], real.voxels[77][brain[77]])[0, 1] > 0.3
