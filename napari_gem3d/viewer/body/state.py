"""What is going on with the patient's body."""

from __future__ import annotations

from psygnal import EventedModel


class BodyState(EventedModel):
    """What the body's buttons show and choose.

    Attributes
    ----------
    shown
        Whether the outline is drawn over the scan.
    correcting
        Whether the brush changes the body.
    extracting
        Whether a brain is being extracted.
    finding
        Whether the anatomy of a scan is being found.
    obstacle
        Why no brain can be extracted on this computer; empty if one can.
    """

    shown: bool = False
    correcting: bool = False
    extracting: bool = False
    finding: bool = False
    obstacle: str = ""
