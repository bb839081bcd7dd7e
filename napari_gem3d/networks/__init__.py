"""The networks of GEM-3D: nothing but ``nn.Module``, with no knowledge of files, patients or schedules."""

from napari_gem3d.networks.position_unet import PositionUNet
from napari_gem3d.networks.slice_unet import SliceUNet
from napari_gem3d.networks.vae import SliceVAE
from napari_gem3d.networks.volume_unet import VolumeUNet

__all__ = ["PositionUNet", "SliceUNet", "SliceVAE", "VolumeUNet"]
