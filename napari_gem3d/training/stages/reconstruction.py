"""The losses of the VAE (paper, section 3.2), and of the discriminator that it may learn against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from typing_extensions import override

from napari_gem3d.errors import InputError
from napari_gem3d.networks import SliceVAE
from napari_gem3d.training.config.settings import VAESettings
from napari_gem3d.training.stages.crops import CropBatch
from napari_gem3d.training.stages.perceptual import PatchDiscriminator, PerceptualLoss
from napari_gem3d.training.stages.stage import Outcome

# Blocks in which the strength of texture is compared, voxels.
_BLOCK, _STRIDE = 4, 2


def gradients(slices: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring voxels of (N, 1, H, W) along rows and columns."""
    return slices[..., 1:, :] - slices[..., :-1, :], slices[..., 1:] - slices[..., :-1]


def gradient_loss(made: Tensor, real: Tensor) -> Tensor:
    """Mean absolute error of the differences of neighbouring voxels, summed over both directions; a scalar."""
    pairs = zip(gradients(made), gradients(real), strict=True)
    return torch.stack([(a - b).abs().mean() for a, b in pairs]).sum()


def texture_loss(made: Tensor, real: Tensor) -> Tensor:
    """Mean absolute error of the mean gradient strength in blocks, summed over both directions; a scalar.

    It asks for as much texture as there is, wherever exactly it lies: fine noise, which no latent can hold, is blurred
    away by all losses that compare voxel by voxel.
    """
    pairs = zip(gradients(made), gradients(real), strict=True)
    return torch.stack([(_strength(a) - _strength(b)).abs().mean() for a, b in pairs]).sum()


def _strength(differences: Tensor) -> Tensor:
    return functional.avg_pool2d(differences.abs(), _BLOCK, _STRIDE)


class Reconstruction(nn.Module):
    """Encodes and decodes crops; the loss has the terms whose weight in the settings is not 0.

    Parameters
    ----------
    vae
        What learns.
    settings
        Weights of the terms.
    discriminator
        Judges what is made, in its present state; its parameters are not part of this module.
    say
        Is told if the perceptual term is left out because the packages it needs are missing.
    """

    def __init__(
        self,
        vae: SliceVAE,
        settings: VAESettings,
        discriminator: PatchDiscriminator | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        super().__init__()
        self.vae, self.settings = vae.train(), settings
        self.perceptual: PerceptualLoss | None = None
        if settings.perceptual_weight:
            try:
                self.perceptual = PerceptualLoss()
            except InputError as error:
                say(f"vae: no perceptual term. {error}")
        # In a tuple, where it is no submodule: it has its own optimiser.
        self._judges = tuple(judge for judge in (discriminator,) if judge is not None)
        if not settings.train_encoder:
            for part in (vae.autoencoder.encoder, vae.autoencoder.quant_conv):
                if part is not None:
                    part.requires_grad_(False)

    @override
    def forward(self, batch: CropBatch, step: int) -> Outcome:
        real = batch.crops
        posterior = self.vae.posterior(real)
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        made = self.vae.decode_raw(mean + (logvar / 2).exp() * batch.noise)
        terms = {
            name: term() * weight for name, (weight, term) in self._terms(made, real, mean, logvar).items() if weight
        }
        for judge in self._judges:
            terms["adversarial"] = self._adversarial(judge, made, step)
        total = torch.stack(list(terms.values())).sum()
        figures = {name: term.detach() for name, term in terms.items()}
        return Outcome(total, figures, made.float() if self._judges else None)

    def _terms(
        self, made: Tensor, real: Tensor, mean: Tensor, logvar: Tensor
    ) -> dict[str, tuple[float, Callable[[], Tensor]]]:
        """Weight of every term, and how it is computed."""
        settings, perceptual, exact = self.settings, self.perceptual, made.float()
        terms: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "l1": (settings.l1_weight, lambda: functional.l1_loss(exact, real)),
            "l2": (settings.l2_weight, lambda: functional.mse_loss(exact, real)),
            "gradient": (settings.gradient_weight, lambda: gradient_loss(exact, real)),
            "texture": (settings.texture_weight, lambda: texture_loss(exact, real)),
            "kl": (settings.kl_weight, lambda: (mean**2 + logvar.exp() - 1 - logvar).mean() / 2),
        }
        if perceptual is not None:
            terms["perceptual"] = (settings.perceptual_weight, lambda: perceptual(made, real).float())
        return terms

    def _adversarial(self, judge: PatchDiscriminator, made: Tensor, step: int) -> Tensor:
        """The adversarial loss, ramped up; the discriminator gets no gradients of it."""
        start = self.settings.adversarial_start
        weight = self.settings.adversarial_weight * min(1.0, max(0.0, (step - start) / max(start, 1)))
        fixed = {name: parameter.detach() for name, parameter in judge.named_parameters()}
        judged: Tensor = functional_call(judge, fixed, (made,))
        return -judged.float().mean() * weight


class Judgement(nn.Module):
    """The discriminator's own loss (hinge) on real crops and what was made of them."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = PatchDiscriminator()

    @override
    def forward(self, batch: CropBatch, made: Tensor) -> Tensor:
        return PatchDiscriminator.loss(self.discriminator(batch.crops).float(), self.discriminator(made).float())
