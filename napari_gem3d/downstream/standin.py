"""The stand-in for nnU-Net on machines without a GPU: a small 3D U-Net of MONAI, trained in minutes.

Its figures are not those of nnU-Net: it sees coarse voxels, is small and learns for a few hundred steps. It is for
comparing training sets with each other under one budget.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from napari_gem3d.device import autocast_to_learn, choose_device, choose_precision
from napari_gem3d.downstream.datasets import TestSet, TrainingSet, read_json, write_json
from napari_gem3d.downstream.scans import NetworkScan, read_labels, read_scan, to_own_grid
from napari_gem3d.errors import InputError
from napari_gem3d.io import replacing, write_volume

if TYPE_CHECKING:
    from monai.transforms import Compose

Say = Callable[[str], None]


@dataclass(frozen=True)
class StandInSettings:
    """The stand-in's network and budget, the same for every training set.

    Attributes
    ----------
    spacing
        Edge of a voxel that the network sees, mm.
    patch
        Most voxels (Z, Y, X) of a training sample; a larger scan gives a random part.
    channels
        Feature maps of each level of the U-Net; each level halves the resolution.
    residual_units
        Residual units a level.
    steps
        Optimisation steps, one sample each.
    learning_rate
        Of AdamW at the beginning; it falls to 0 by a power of 0.9 as in nnU-Net.
    """

    spacing: float = 2.0
    patch: tuple[int, int, int] = (96, 96, 96)
    channels: tuple[int, ...] = (16, 32, 64, 128, 256)
    residual_units: int = 1
    steps: int = 800
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        if not (self.spacing > 0 and self.steps > 0 and self.learning_rate > 0):
            raise InputError("The stand-in needs a spacing, steps and a learning rate above 0; change them.")
        wrong = [size for size in self.patch if size < 2 * self.multiple or size % self.multiple]
        if len(self.channels) < 2 or wrong:
            raise InputError(
                f"The stand-in's patch {self.patch} does not fit {len(self.channels)} levels; give two levels or more, "
                f"and multiples of {self.multiple} from {2 * self.multiple} on."
            )

    @property
    def multiple(self) -> int:
        """What the sizes of the network's inputs are multiples of; they are twice that at least."""
        return 2 ** (len(self.channels) - 1)

    def window(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The input's size (Z, Y, X) for a scan: all of it, padded, or the patch where that is smaller."""
        padded = (max(-(-size // self.multiple), 2) * self.multiple for size in shape)
        return tuple(min(most, size) for most, size in zip(self.patch, padded, strict=True))


@dataclass
class StandIn:
    """Trains on one training set after the other and keeps what is done.

    Attributes
    ----------
    settings
        Network and budget.
    device
        "auto", "cpu", "cuda" or "mps".

    Raises
    ------
    InputError
        If MONAI is not installed or the device is not there.
    """

    settings: StandInSettings = field(default_factory=StandInSettings)
    device: str = "auto"
    _samples: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict, repr=False)

    key = "stand-in"

    def __post_init__(self) -> None:
        if find_spec("monai") is None:
            raise InputError(
                "The stand-in is a network of MONAI; install it with pip install 'napari-gem3d[downstream]'."
            )
        self._device = choose_device(self.device)
        self._precision = choose_precision("auto", self._device)

    @property
    def description(self) -> str:
        """What made the figures, for the caption of a table."""
        s = self.settings
        return (
            f"stand-in for nnU-Net: MONAI's 3D U-Net of {'-'.join(map(str, s.channels))} channels at {s.spacing:g} mm, "
            f"{s.steps} steps of one scan; not nnU-Net"
        )

    def predict(self, training: TrainingSet, test: TestSet, seed: int, folder: Path, say: Say) -> dict[str, Path]:
        """Train on a set where that is not done, and segment the test patients that are not segmented.

        Parameters
        ----------
        training, test
            What is learned from, and what is segmented.
        seed
            Decides the first weights, the order of samples and their augmentation.
        folder
            Of this training: gets ``network.safetensors``, ``training.json`` and ``predictions/``.
        say
            Gets a line now and then.

        Returns
        -------
        dict
            Label map on the scan's own grid by test case.
        """
        folder.mkdir(parents=True, exist_ok=True)
        network = self._trained(training, seed, folder, say)
        made, done = folder / "predictions", folder / "predicted.json"
        made.mkdir(exist_ok=True)
        known = read_json(done)
        scans = dict(known) if isinstance(known, dict) else {}
        for case in test.cases:
            out, scan = made / f"{case.name}.nii.gz", test.content[case.name][0]
            if not out.is_file() or scans.get(case.name) != scan:
                write_volume(to_own_grid(*self._probabilities(network, case.image)), out)
                scans[case.name] = scan
                write_json(scans, done)
        return {case.name: made / f"{case.name}.nii.gz" for case in test.cases}

    def summary(self, folder: Path) -> dict[str, dict[str, float | None]]:
        """Nothing: the stand-in does not judge itself."""
        return {}

    def _trained(self, training: TrainingSet, seed: int, folder: Path, say: Say) -> nn.Module:
        """The network of a training, from its folder if it is there."""
        weights, record = folder / "network.safetensors", folder / "training.json"
        classes = 1 + max(training.dataset.labels.values(), default=0)
        network = make_network(self.settings, classes, seed).to(self._device)
        # Through JSON and back, so that tuples are the lists that the file gives.
        wanted = {"settings": _plain(asdict(self.settings)), "seed": seed, "cases": training.content}
        found = read_json(record)
        if isinstance(found, dict) and {key: found.get(key) for key in wanted} == wanted and weights.is_file():
            network.load_state_dict(load_file(weights))
            return network
        # What belongs to another training goes before the new one is there.
        record.unlink(missing_ok=True)
        (folder / "predicted.json").unlink(missing_ok=True)
        shutil.rmtree(folder / "predictions", ignore_errors=True)
        told = f"{training.name}, seed {seed}"
        losses = self._train(network, self._read(training), seed, lambda line: say(f"{told}: {line}"))
        with replacing(weights) as temporary:
            save_file({name: value.contiguous().cpu() for name, value in network.state_dict().items()}, temporary)
        write_json({**wanted, "losses": losses}, record)
        return network

    def _read(self, training: TrainingSet) -> list[tuple[Tensor, Tensor]]:
        """Scans (1, Z, Y, X) and label maps (1, Z, Y, X), kept for the next seed."""
        if training.name not in self._samples:
            samples = []
            for case in training.cases:
                scan = read_scan(case.image, self.settings.spacing, **case.reading)
                labels = read_labels(case.labels, scan, **case.reading)
                samples.append((torch.from_numpy(scan.voxels)[None], torch.from_numpy(labels)[None]))
            self._samples[training.name] = samples
        return self._samples[training.name]

    def _train(self, network: nn.Module, samples: Sequence[tuple[Tensor, Tensor]], seed: int, say: Say) -> list[float]:
        """Train; returns the mean loss of every tenth of the steps."""
        from monai.losses import DiceCELoss

        settings = self.settings
        objective = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
        optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate)
        schedule = torch.optim.lr_scheduler.PolynomialLR(optimiser, settings.steps, power=0.9)
        losses: list[float] = []
        network.train()
        for step, (image, labels) in enumerate(_drawn(samples, settings, seed), 1):
            image, labels = image.to(self._device), labels.to(self._device)
            with autocast_to_learn(self._precision, self._device):
                logits = network(image.to(memory_format=torch.channels_last_3d))
            loss = objective(logits.float(), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 12.0)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
            if step % max(settings.steps // 5, 1) == 0:
                say(f"step {step} of {settings.steps}, loss {np.mean(losses[-settings.steps // 10 :]):.3f}")
        return [float(part.mean()) for part in np.array_split(losses, min(10, len(losses)))]

    @torch.no_grad()
    def _probabilities(self, network: nn.Module, path: Path) -> tuple[NDArray[np.float32], NetworkScan]:
        """Probabilities (classes, Z, Y, X) on the network's grid of a scan, mean over its mirror image and itself."""
        from monai.inferers import sliding_window_inference

        scan = read_scan(path, self.settings.spacing)
        window = self.settings.window(scan.voxels.shape)
        network.eval()

        def segment(images: Tensor) -> Tensor:
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bfloat16"):
                logits = network(images.to(memory_format=torch.channels_last_3d))
            return logits.float().softmax(1)

        image = torch.from_numpy(scan.voxels)[None, None].to(self._device)
        found = [
            sliding_window_inference(image.flip(axes), window, 1, segment, overlap=0.5, padding_mode="replicate").flip(
                axes
            )
            for axes in ((), (-1,))
        ]
        return torch.stack(found).mean(0)[0].cpu().numpy(), scan


def make_network(settings: StandInSettings, classes: int, seed: int) -> nn.Module:
    """MONAI's U-Net (Kerfoot et al. 2018) from one channel to `classes`, with weights that `seed` decides."""
    from monai.networks.nets import UNet

    levels = len(settings.channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet(
            3,
            1,
            classes,
            settings.channels,
            (2,) * (levels - 1),
            num_res_units=settings.residual_units,
            norm="instance",
        )
    return network.to(memory_format=torch.channels_last_3d)


def _drawn(
    samples: Sequence[tuple[Tensor, Tensor]], settings: StandInSettings, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Scans (1, 1, Z, Y, X) and label maps, augmented, as many as there are steps; every case once a round."""
    rng = np.random.default_rng(seed)
    change = _augmentation(settings).set_random_state(seed)
    order: list[int] = []
    for _ in range(settings.steps):
        order = order or rng.permutation(len(samples)).tolist()
        image, labels = samples[order.pop()]
        changed: Any = change({"image": image, "labels": labels})
        yield changed["image"].as_tensor()[None], changed["labels"].as_tensor()[None]


def _augmentation(settings: StandInSettings) -> Compose:
    """What varies every sample, after nnU-Net: part, side, turns, noise, shading, contrast, brightness, sharpness."""
    from monai import transforms

    both, image = ("image", "labels"), ("image",)
    size = tuple(settings.patch)
    return transforms.Compose(
        [
            transforms.RandSpatialCropd(both, size, random_size=False),
            transforms.DivisiblePadd(both, settings.multiple, mode="edge"),
            transforms.SpatialPadd(both, 2 * settings.multiple, mode="edge"),
            transforms.RandFlipd(both, prob=0.5, spatial_axis=2),
            transforms.RandAffined(
                both,
                prob=0.2,
                rotate_range=(0.3,) * 3,
                scale_range=(0.15,) * 3,
                mode=("bilinear", "nearest"),
                padding_mode="border",
            ),
            transforms.RandGaussianNoised(image, prob=0.15, std=0.1),
            transforms.RandBiasFieldd(image, degree=2, coeff_range=(-0.3, 0.3), prob=0.3),
            transforms.RandAdjustContrastd(image, prob=0.4, gamma=(0.6, 1.6), retain_stats=True),
            transforms.RandScaleIntensityd(image, factors=0.25, prob=0.3),
            transforms.RandShiftIntensityd(image, offsets=0.25, prob=0.3),
            transforms.RandGaussianSmoothd(
                image, prob=0.1, sigma_x=(0.25, 0.75), sigma_y=(0.25, 0.75), sigma_z=(0.25, 0.75)
            ),
        ]
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
