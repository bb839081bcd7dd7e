"""The noise field: unit variance, the correlation asked for, decided by the generator alone."""

import pytest
import torch

from napari_gem3d.sampling.noise import correlated_noise


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_slices_have_unit_variance_and_the_correlation_asked_for(correlation):
    noise = correlated_noise((12, 1, 200, 200), correlation, generator=torch.Generator().manual_seed(0)).flatten(1)
    torch.testing.assert_close(noise.std(dim=1), torch.ones(12), rtol=0, atol=0.03)
    measured = torch.corrcoef(noise)
    torch.testing.assert_close(measured.diagonal(1), torch.full((11,), correlation), rtol=0, atol=0.03)
    torch.testing.assert_close(measured.diagonal(3), torch.full((9,), correlation**3), rtol=0, atol=0.03)


def test_a_gaussian_decay_is_as_smooth_between_neighbours_and_forgets_sooner():
    generator = torch.Generator().manual_seed(0)
    noise = correlated_noise((160, 1, 100, 200), 0.9, 2, generator, "gaussian").flatten(1)
    torch.testing.assert_close(noise.std(dim=1), torch.ones(160), rtol=0, atol=0.03)
    measured = torch.corrcoef(noise)
    for distance in (1, 2, 4, 8):
        wanted = torch.full((80 - distance,), 0.9 ** (distance**2))
        torch.testing.assert_close(measured[:80, :80].diagonal(distance), wanted, rtol=0, atol=0.03)
    assert float(measured[:80, 80:].abs().max()) < 0.04
    assert torch.isfinite(correlated_noise((400, 1, 2, 2), 0.99, decay="gaussian")).all()
    independent = correlated_noise((8, 1, 100, 200), 0.0, decay="gaussian").flatten(1)
    torch.testing.assert_close(torch.corrcoef(independent), torch.eye(8), rtol=0, atol=0.03)


def test_windows_are_independent_of_each_other():
    noise = correlated_noise((8, 1, 200, 200), 0.9, 2, torch.Generator().manual_seed(0)).flatten(1)
    assert abs(float(torch.corrcoef(noise)[3, 4])) < 0.03


def test_one_seed_one_field():
    fields = [correlated_noise((5, 2, 3, 4), 0.4, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(fields[0], fields[1]) and not torch.equal(fields[0], fields[2])
