"""The memorisation audit on the page of a report."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from napari_gem3d.evaluation.markup import picture, table
from napari_gem3d.evaluation.memorisation.pictures import ClosestPair

_HEAD = ("scan", "verdict", "nearest scan", "distance", "second", "closest slice", "of", "slices", "nearer")


def audit_section(audit: Mapping[str, Any], pictures: Mapping[str, Sequence[ClosestPair]]) -> str:
    """What the audit found.

    Parameters
    ----------
    audit
        As ``report.json`` holds it.
    pictures
        The closest pairs by the name of the distance.
    """
    parts = [
        "<p class='note'>Distances of synthetic scans from the nearest of "
        f"{audit['training_scans']} training scans; the yardstick is how near held-out real scans come. "
        "<b>copy</b>: nearer to one training scan than a scan of somebody new would be. <b>look</b>: near to several, "
        "or single slices are nearer to a training slice than any held-out slice is, which happens by chance too. "
        "<b>clear</b>: neither.</p>"
    ]
    if audit["doubtful_held_out_scans"]:
        names = html.escape(", ".join(audit["doubtful_held_out_scans"]))
        parts.append(
            "<p class='warning'><b>Measured by the other held-out scans, these are copies of training scans: "
            f"{names}.</b></p>"
        )
    for name, found in audit["distances"].items():
        synthetic, held_out = len(found["synthetic"]), len(found["held_out"])
        parts.append(
            f"<h3>By {html.escape(name)} ({synthetic} synthetic, {held_out} held-out scans)</h3>"
            f"<p class='note'>{_bounds(found)} "
            f"Nearer than any held-out slice ({found['closest_held_out_slice']:.3f}): "
            f"{found['share_of_synthetic_slices_closer']:.1%} of synthetic slices. "
            f"Nearer than any held-out scan ({found['closest_held_out_scan']:.3f}): "
            f"{found['share_of_synthetic_scans_closer']:.1%} of synthetic scans, by chance "
            f"{found['expected_share_of_scans_closer']:.1%}.</p>"
        )
        caption = (
            f"n = {synthetic} synthetic and {held_out} held-out against {audit['training_scans']} training scans; "
            f"distance: {found['how']}"
        )
        parts.append(table(_HEAD, _rows(found), caption))
        parts += [picture(pair.png, pair.caption, small=True) for pair in pictures.get(name, ())]
    return "".join(parts)


def _bounds(found: Mapping[str, Any]) -> str:
    told = f"A copy is below {found['copy_below']:.3f}"
    if found["expected_above"] is not None and found["expected_relative_above"] is not None:
        share = f"{found['expected_relative_above']:.3f} of its distance from the second nearest training scan"
        told += f", or below {found['expected_above']:.3f} and below {share}"
    return f"{told}."


def _rows(found: Mapping[str, Any]) -> list[list[str]]:
    """A row a scan: synthetic ones first, nearest first."""
    rows = []
    for kind in ("synthetic", "held_out"):
        for name, scan in sorted(found[kind].items(), key=lambda item: item[1]["distance"]):
            near = min(scan["slices"], key=lambda entry: entry["distance"])
            nearer = sum(entry["distance"] < found["closest_held_out_slice"] for entry in scan["slices"])
            second = scan["second_distance"]
            rows.append(
                [
                    name,
                    scan.get("verdict", "held out"),
                    scan["nearest_scan"],
                    f"{scan['distance']:.3f}",
                    "" if second is None else f"{second:.3f}",
                    f"{near['distance']:.3f}",
                    near["scan"],
                    str(len(scan["slices"])),
                    str(nearer),
                ]
            )
    return rows
