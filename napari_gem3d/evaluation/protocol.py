"""How slices are compared, in numbers, and the sentences that every table with these figures has."""

from __future__ import annotations

# The paper resizes slices to this many pixels, a side.
SIDE = 512
# Axial slices at either end of the body, which show next to nothing, are left out.
END_SLICES = 5
# Of the others MS-SSIM takes every fourth: neighbours are alike, and 512 × 512 pixels take a quarter of a second.
EVERY = 4
# Of the real foreground's intensities, which becomes 1.
PERCENTILE = 99.5
# The figures inside leave out what is nearer than this to the background.
MARGIN_MM = 4

PROTOCOL = (
    f"MS-SSIM: every {EVERY}th axial slice of the real foreground's box, without {END_SLICES} at either end, resized "
    f"to {SIDE} × {SIDE} pixels as in the paper, never padded; intensities from the background to the real scan's "
    f"{PERCENTILE}th percentile, or, by maximum, to its maximum as in the published code."
)
INSIDE = (
    f"SSIM inside and the Dice of fluid: voxels more than {MARGIN_MM} mm inside the foreground, so no background is in "
    "them; fluid is what is dark outside the lesion."
)
