"""Import of checkpoints in the layout of the published GEM-3D weights (that of latent diffusion)."""
