"""Results into the documentation, and the machine that they are from."""

from __future__ import annotations

import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from napari_gem3d.device import has_fast_bfloat16
from napari_gem3d.io import replacing


def machine() -> dict[str, str]:
    """What decides the figures, without names of people or hosts."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    fast = has_fast_bfloat16(torch.device("cpu"))
    return {
        "processor": f"{_processor()}, {cores} cores, {torch.get_num_threads()} threads",
        "bfloat16": "in hardware" if fast else "none in hardware, so float32",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "torch": metadata.version("torch"),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def replace_section(page: Path, heading: str, body: str) -> None:
    """Put text under a second-level heading of a page, in the place of what was there; at the end if it is new."""
    text = page.read_text(encoding="utf-8")
    section = f"## {heading}\n\n{body.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    if pattern.search(text):
        text = pattern.sub(lambda _: section + "\n", text, count=1)
    else:
        text = f"{text.rstrip()}\n\n{section}"
    with replacing(page) as temporary:
        temporary.write_text(text.rstrip() + "\n", encoding="utf-8")


def publish(results: dict[str, Any], text: str, out: Path | None, page: Path | None, heading: str) -> None:
    """Print a report; write the results to `out` as JSON and the report to its section of `page`, where given."""
    print(text)
    if out:
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if page:
        replace_section(page, heading, text)
