"""Pieces of a page that needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

_STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;padding:1.5em 2em 4em;max-width:84em;color:#1b1b1b}
h1{font-size:1.6em;margin-bottom:.1em}h3{margin-top:1.5em}
h2{margin-top:2em;border-bottom:1px solid #ccc;padding-bottom:.2em}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.6em 0 1.2em;font-variant-numeric:tabular-nums}
caption{text-align:left;color:#555;font-size:.88em;padding:.2em 0 .4em}
caption span{display:block;max-width:72em;position:sticky;left:0;width:min(72em,90vw)}
td,th{padding:.22em .5em;text-align:right;white-space:nowrap}
th{border-bottom:1px solid #999;font-weight:600;white-space:normal;vertical-align:bottom;min-width:4em}
td:first-child,th:first-child,.words td,.words th{text-align:left}tr:nth-child(even) td{background:#f4f4f4}
tr.total td{font-weight:600;border-top:1px solid #999}
figure{margin:1em 0}figure.small{display:inline-block;margin:.5em}img{max-width:100%}
figcaption{font-size:.88em;color:#555;max-width:60em}
p.note,ul.note{color:#444;max-width:60em}.warning{background:#fff3cd;padding:.6em 1em;border-left:4px solid #e69f00}
summary{cursor:pointer;color:#0056a8}nav a{margin-right:1.2em}
"""


def document(title: str, body: str) -> str:
    """A whole page."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str,
    totals: int = 0,
    longest: int = 40,
    words: bool = False,
) -> str:
    """A table; its last `totals` rows are set apart, and one of more rows than `longest` is folded up.

    Parameters
    ----------
    head, rows
        Cells as text.
    caption
        What is counted and how it was measured; never empty.
    totals
        How many of the last rows sum up the others.
    longest
        Rows that are shown without asking.
    words
        Whether cells are read rather than compared, and so begin at the left.
    """
    cells = []
    for index, row in enumerate(rows):
        kind = " class='total'" if index >= len(rows) - totals else ""
        cells.append(f"<tr{kind}>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>")
    named = "".join(f"<th scope='col'>{html.escape(cell)}</th>" for cell in head)
    told = f"<caption><span>{html.escape(caption)}</span></caption>"
    kind = " class='words'" if words else ""
    made = f"<div class='wide'><table{kind}>{told}<tr>{named}</tr>{''.join(cells)}</table></div>"
    return made if len(rows) <= longest else f"<details><summary>all {len(rows)} rows</summary>{made}</details>"


def picture(data: bytes, caption: str, kind: str = "png", small: bool = False) -> str:
    """A picture with its caption; `kind` is "png" or "svg+xml"."""
    shown, size = html.escape(caption), " class='small'" if small else ""
    return (
        f"<figure{size}><img alt='{shown}' src='data:image/{kind};base64,{base64.b64encode(data).decode()}'>"
        f"<figcaption>{shown}</figcaption></figure>"
    )


def section(title: str, body: str) -> str:
    """A part of the page with a heading that links lead to; "" if there is nothing in it."""
    return f"<h2 id='{anchor(title)}'>{html.escape(title)}</h2>{body}" if body else ""


def anchor(title: str) -> str:
    """The name that links to a section have."""
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def note(text: str) -> str:
    """A paragraph of explanation."""
    return f"<p class='note'>{html.escape(text)}</p>"


def number(value: float | None, digits: int = 3) -> str:
    """A figure as text; "" for one that there is not."""
    return "" if value is None else f"{value:.{digits}f}"


def spread(mean: float | None, deviation: float | None, digits: int = 3) -> str:
    """Mean ± standard deviation, or the mean alone."""
    return f"{number(mean, digits)} ± {number(deviation, digits)}" if deviation is not None else number(mean, digits)
