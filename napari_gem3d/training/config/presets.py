"""Sets of settings by name; each names only what differs from the defaults."""

from __future__ import annotations

from typing import Any

DEFAULT_PRESET = "laptop"

_TINY_UNET = {"steps": 4, "batch": 4, "channels": (16, 16, 32), "head_channels": 16, "norm_groups": 8}

# The published U-Nets; the channels are those of stage 1 and 2.
_PUBLISHED_UNET = {
    "channels": (224, 448, 672, 896),
    "layers_per_block": 2,
    "head_channels": 32,
    "norm_groups": 32,
}
_PUBLISHED_TRAINING = {
    "learning_rate": 4e-5,
    "schedule": "constant",
    "warmup_steps": 0,
    "weight_decay": 0.01,
    "ema_decay": 0.9999,
    "validate_every": 2_500,
    "checkpoint_minutes": 20,
}

PRESETS: dict[str, dict[str, Any]] = {
    # Two processor cores and about four hours; models/brain-flair was made with these, in two sessions.
    "laptop": {
        "schedule": {"slice_correlation": 0.9},
        "vae": {"steps": 20_000, "minutes": 70, "texture_weight": 0.5},
        "slice": {"steps": 20_000, "minutes": 63, "batch": 16, "learning_rate": 5e-4, "ema_decay": 0.9995},
        "volume": {"steps": 6_000, "minutes": 30, "learning_rate": 5e-4},
        "position": {"steps": 20_000, "minutes": 80, "ema_decay": 0.9995},
    },
    # Seconds a stage, for tests of the software; what it makes is noise.
    "tiny": {
        "data": {"validation_cases": 1, "variants": 2, "workers": 1},
        "vae": {
            "steps": 4,
            "batch": 2,
            "crop": 32,
            "channels": (8, 16, 16),
            "latent_channels": 4,
            "perceptual_weight": 0,
        },
        "slice": _TINY_UNET,
        "volume": {"steps": 4, "batch": 1},
        "position": _TINY_UNET,
        "window": 4,
    },
    # The published networks and schedule, for a machine with several large graphics cards (theirs had eight). The paper
    # does not state batches: here a process has one window. The label map keeps a channel a label: as a grey picture
    # its classes would be ordinal.
    "paper": {
        "window": 16,
        "sampling": {"residual_mm": 0.0, "persistence_mm": 0.0, "streak_filter": False},
        "data": {"size": (512, 512), "framing": "stretch"},
        "schedule": {
            "prediction_type": "epsilon",
            "rescale_betas_zero_snr": False,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "timestep_spacing": "leading",
            "set_alpha_to_one": False,
        },
        "vae": {
            **_PUBLISHED_TRAINING,
            "steps": 150_000,
            "channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "latent_channels": 4,
            "norm_groups": 32,
            "middle_attention": True,
            "unshuffle": 1,
            "crop": 256,
            "batch": 4,
            "l2_weight": 0,
            "gradient_weight": 0,
            "kl_weight": 1e-6,
            "perceptual_weight": 1.0,
            "adversarial_weight": 0.5,
            "adversarial_start": 50_000,
        },
        "slice": {
            **_PUBLISHED_TRAINING,
            **_PUBLISHED_UNET,
            "steps": 150_000,
            "batch": 16,
            "attention": (False, True, True, True),
            "far_share": 0,
            "mirrored_share": 0,
        },
        "volume": {
            **_PUBLISHED_TRAINING,
            "steps": 50_000,
            "batch": 1,
            "timestep_weighting": "published",
            "far_share": 0,
            "mirrored_share": 0,
            "edge_share": 0,
        },
        "position": {
            **_PUBLISHED_TRAINING,
            **_PUBLISHED_UNET,
            "channels": (224, 448, 896, 896),
            "steps": 150_000,
            "batch": 16,
            "attention": (True, True, True, False),
        },
    },
}
