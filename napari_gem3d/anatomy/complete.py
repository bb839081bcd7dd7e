"""Completing label maps: tissue that a scan shows, where the map says no more than body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_gem3d.anatomy.find import find_anatomy
from napari_gem3d.labels import AnatomySource, LabelMap, LabelTable
from napari_gem3d.volume import Volume, resample


@dataclass(frozen=True)
class Completed:
    """A label map with what is known of its tissue.

    Attributes
    ----------
    labels
        On the grid of the map that was completed.
    unknown
        Values of the table's tissue labels that are known nowhere; the map does not hold them.
    notes
        Why tissue cannot be told from the scan, a sentence for each reason.
    """

    labels: LabelMap
    unknown: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def complete_anatomy(
    labels: LabelMap,
    table: LabelTable,
    source: AnatomySource = "scan",
    scan: Volume | None = None,
    inside: NDArray[np.bool_] | None = None,
    channel: str = "",
) -> Completed:
    """Say in a label map which tissue lies where it says body.

    Parameters
    ----------
    labels
        Label values with the body in it, on any grid.
    table
        What the values mean; without tissue labels nothing changes.
    source
        "scan": tissue that the map does not hold is found in `scan`; "map": the map alone says it; "none": nothing
        does, and tissue of the map becomes body.
    scan
        Skull-stripped MR or CT of the same patient, aligned by geometry.
    inside
        (Z, Y, X), its foreground, if that is known already.
    channel
        The scan's sequence, such as "FLAIR".
    """
    tissues, body = table.tissues, table.body
    if not tissues or body is None:
        return Completed(labels)
    held = {label.value for label in tissues} & set(labels.values())
    if source == "none":
        voxels = np.where(np.isin(labels.voxels, list(held)), body.value, labels.voxels) if held else labels.voxels
        return Completed(labels.with_voxels(voxels), tuple(label.value for label in tissues))
    lacking = {label.name: label.value for label in tissues if label.value not in held}
    if not lacking or source == "map" or scan is None:
        return Completed(labels, tuple(lacking.values()))
    lesions = np.isin(resample(labels, scan.grid, order=0).voxels, [label.value for label in table.lesions])
    found = find_anatomy(scan, inside, lesions, channel, lacking)
    shown = resample(LabelMap(found.voxels, scan.affine), labels.grid, order=0).voxels
    voxels, plain = labels.voxels.copy(), labels.voxels == body.value
    for name in found.found:
        voxels[plain & (shown == 1 + found.names.index(name))] = lacking[name]
    notes = tuple(
        f"{', '.join(name for name, other in found.missing.items() if other == reason)}: {reason}."
        for reason in dict.fromkeys(found.missing.values())
    )
    return Completed(labels.with_voxels(voxels), tuple(lacking[name] for name in found.missing), notes)
