"""Damaged files of every format through the readers: one sentence each, nothing printed, and little memory.

A short part runs always. ``GEM3D_FUZZ=500`` makes so many of each format instead, in a process whose memory is limited:
``GEM3D_FUZZ=500 pytest -n0 tests/io/test_fuzz.py``.
"""

import gzip
import json
import os
import re
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import pytest
from PIL import Image

from napari_gem3d.errors import InputError
from napari_gem3d.io import read_label_map, read_slice, read_volume, sha256
from napari_gem3d.io.checks import quiet
from napari_gem3d.io.slices import has_spacing, is_slice

from .conftest import dicom_slice
from .test_segments import LOWER, UPPER, save_nrrd, seg

QUICK = 22
# Beyond what Python with these libraries takes.
MOST_BYTES = 2**30
VOXELS = (np.arange(8 * 9 * 10) % 251).reshape(8, 9, 10).astype(np.int16)
AFFINE = np.array([[-1.5, 0, 0, 90], [0, 2, 0, -126], [0, 0, 3, -72], [0, 0, 0, 1.0]])
NUMBERS = ("0", "-1", "1e308", "nan", "inf", "99999999999999999999", "65535", "0x7f", "", "x", "none", "(1,2)", "1 2 3")
EXTREMES = [
    np.array(value, dtype).tobytes()
    for dtype, values in {
        "<i2": (0, -1, 32767, -32768, 2, 4, 1024),
        ">i2": (2, 4, 32767),
        "<i4": (0, -1, 2**31 - 1, -(2**31)),
        ">i4": (1, -1, 2**31 - 1, 65536),
        "<f4": (np.nan, np.inf, -np.inf, 0, 1e30, -1e-30),
        "<i8": (-1, 2**62),
    }.items()
    for value in values
]


def mutated(content: bytes, rng: np.random.Generator, header: int = 600) -> bytes:
    """Bytes with a few changes, most of them in the header."""
    out = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        most = max(1, min(len(out), header) if rng.random() < 0.8 else len(out))
        at, kind = int(rng.integers(most)), rng.random()
        if kind < 0.45:
            extreme = EXTREMES[int(rng.integers(len(EXTREMES)))]
            at -= at % (2 if len(extreme) == 2 else 4) if rng.random() < 0.8 else 0
            out[at : at + len(extreme)] = extreme
        elif kind < 0.75:
            out[at : at + 1] = bytes([int(rng.integers(256))])
        elif kind < 0.85:
            del out[at : at + int(rng.integers(1, 9))]
        elif kind < 0.93:
            out[at:at] = bytes(rng.integers(256, size=int(rng.integers(1, 9)), dtype=np.uint8))
        else:
            del out[at:]
    return bytes(out)


def mutated_text(text: str, rng: np.random.Generator) -> str:
    """Lines with numbers and words that nobody expects, lost, repeated or in another order."""
    lines = text.split("\n")
    for _ in range(int(rng.integers(1, 4))):
        at, kind = int(rng.integers(1, len(lines) - 1)), rng.random()
        if kind < 0.15:
            del lines[at]
        elif kind < 0.25:
            lines.insert(int(rng.integers(1, len(lines))), lines[at])
        elif words := list(re.finditer(r"[-\w.]+", lines[at])):
            word = words[int(rng.integers(len(words)))]
            new = NUMBERS[int(rng.integers(len(NUMBERS)))]
            lines[at] = lines[at][: word.start()] + new + lines[at][word.end() :]
        if len(lines) < 3:
            break
    return "\n".join(lines)


def nifti(folder: Path, rng: np.random.Generator) -> Path:
    kind = nib.Nifti2Image if rng.random() < 0.2 else nib.Nifti1Image
    shape = (*VOXELS.T.shape, 1) if rng.random() < 0.2 else VOXELS.T.shape
    content = kind(VOXELS.T.reshape(shape), AFFINE).to_bytes()
    return written(folder / "a.nii", mutated(content, rng), rng.random() < 0.4)


def written(path: Path, content: bytes, packed: bool) -> Path:
    """A file, or a gzip file whose content is damaged and which is whole itself."""
    if packed:
        path, content = path.with_name(f"{path.name}.gz"), gzip.compress(content, 1)
    path.write_bytes(content)
    return path


def freesurfer(folder: Path, rng: np.random.Generator) -> Path:
    content = nib.MGHImage(VOXELS.T.astype(np.int32), AFFINE).to_bytes()
    path = folder / ("a.mgz" if rng.random() < 0.5 else "a.mgh")
    content = mutated(content, rng, header=90)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".mgz" else content)
    return path


def nrrd_file(folder: Path, rng: np.random.Generator) -> Path:
    path, encoding = folder / "a.nrrd", ("raw", "gzip", "bzip2", "ascii")[int(rng.integers(4))]
    if rng.random() < 0.3:
        parts = np.stack([VOXELS[:4, :4, :4] == k for k in (1, 2)]).astype(np.uint8)
        save_nrrd(path, parts, [{"Name": "a", "LabelValue": 1, "Layer": 0}, {"Name": "b", "LabelValue": 1, "Layer": 1}])
    else:
        header = {"space": "left-posterior-superior", "space directions": np.diag([1.5, 2, 3]), "encoding": encoding}
        nrrd.write(str(path), VOXELS.T, {**header, "space origin": [1, 2, 3], "space units": ["mm"] * 3})
    content = path.read_bytes()
    end = content.index(b"\n\n")
    if rng.random() < 0.7:
        content = mutated_text(content[:end].decode(), rng).encode() + content[end:]
    else:
        content = mutated(content, rng, header=end)
    path.write_bytes(content)
    return path


def dicom(folder: Path, rng: np.random.Generator) -> Path:
    """A series of three slices of which one is damaged, in its attributes or in its bytes."""
    series = folder / "series"
    series.mkdir(exist_ok=True)
    for index in range(3):
        data = dicom_slice(VOXELS[index], (10.0, -20.0, 2.0 * index))
        damaged_attributes(data, rng, index == 1)
        save_dicom(data, series / f"{index}.dcm", rng if index == 1 else None)
    return series if rng.random() < 0.6 else series / "1.dcm"


def dicom_seg(folder: Path, rng: np.random.Generator) -> Path:
    data = seg([(1, 4.0, UPPER), (2, 4.0, LOWER), (1, 8.0, LOWER)], {1: "a", 2: "b"})
    damaged_attributes(data, rng, True)
    return save_dicom(data, folder / "seg.dcm", rng)


def damaged_attributes(data: pydicom.Dataset, rng: np.random.Generator, really: bool) -> None:
    """Replace the values of some attributes, in sequences too, by text or bytes that they cannot have."""
    found = [(inner, part.tag, part.VR) for inner in [data, *nested(data)] for part in inner if part.VR != "SQ"]
    for index in rng.integers(len(found), size=int(rng.integers(1, 4)) if really else 0):
        inner, tag, kind_of_value = found[int(index)]
        if tag not in inner:
            continue
        kind = rng.random()
        if kind < 0.3:
            del inner[tag]
        else:
            words = [NUMBERS[int(word)] for word in rng.integers(len(NUMBERS), size=int(rng.integers(1, 4)))]
            content = "\\".join(words).encode() if kind < 0.8 else mutated(b"\0" * 8, rng)
            implicit, little = data.original_encoding if data.original_encoding[0] is not None else (False, True)
            content += b" " * (len(content) % 2)
            inner[tag] = pydicom.dataelem.RawDataElement(
                pydicom.tag.Tag(tag), kind_of_value, len(content), content, 0, bool(implicit), bool(little)
            )


def nested(data: pydicom.Dataset) -> list[pydicom.Dataset]:
    items = [item for element in data if element.VR == "SQ" for item in element.value]
    return [*items, *(inner for item in items for inner in nested(item))]


def save_dicom(data: pydicom.Dataset, path: Path, rng: np.random.Generator | None) -> Path:
    try:
        data.save_as(path, enforce_file_format=True)
    except Exception:  # what pydicom does not write any more
        path.write_bytes(bytes(128) + b"DICM" + bytes(99))
    content = path.read_bytes()
    if rng is not None and rng.random() < 0.4:
        content = mutated(content, rng, header=900)
    if rng is not None and rng.random() < 0.3:
        content = content[132:]
    path.write_bytes(content)
    return path


def picture(folder: Path, rng: np.random.Generator) -> Path:
    path = folder / f"a.{('png', 'jpg', 'tif', 'bmp')[int(rng.integers(4))]}"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.tile(VOXELS[0], (3, 3)).astype(np.uint8)).save(path, exif=exif)
    path.write_bytes(mutated(path.read_bytes(), rng, header=120))
    return path


FORMATS: dict[str, Callable[[Path, np.random.Generator], Path]] = {
    "nifti": nifti,
    "freesurfer": freesurfer,
    "nrrd": nrrd_file,
    "dicom": dicom,
    "dicom-seg": dicom_seg,
    "picture": picture,
}
READERS: tuple[Callable[[Path], object], ...] = (
    read_volume,
    lambda path: read_volume(path, assume_orientation="RAS", channel=0),
    read_label_map,
    is_slice,
    has_spacing,
    read_slice,
    sha256,
)


def fuzz(kind: str, number: int, folder: Path) -> dict[str, int]:
    """Put so many damaged files of a format through the readers; how often they were read and refused."""
    counts = {"read": 0, "refused": 0}
    for index in range(number):
        place = folder / str(index % 7)
        place.mkdir(exist_ok=True)
        with quiet:
            path = FORMATS[kind](place, np.random.default_rng([zlib.crc32(kind.encode()), index]))
        for reader in READERS:
            try:
                reader(path)
                counts["read"] += 1
            except InputError as error:
                counts["refused"] += 1
                said = str(error)
                one = said.endswith(".") and "\n" not in said and len(said) < 700 + 3 * len(str(path))
                # memory that was asked for before the size was believed
                assert one and "does not fit in the memory" not in said, f"{kind} {index}: {said}"
            except Exception as error:
                raise AssertionError(f"{kind} {index}: {type(error).__name__}: {error}") from error
    return counts


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_read_or_refused_in_a_sentence(kind, tmp_path, capfd, recwarn, caplog):
    number = int(os.environ.get("GEM3D_FUZZ", "0"))
    if number:
        command = [sys.executable, "-m", "tests.io.test_fuzz", kind, str(number), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        with capfd.disabled():
            print(f"\n{kind}: {done.stdout.strip()}")
        assert (done.returncode, done.stderr) == (0, "")
        return
    counts = fuzz(kind, QUICK, tmp_path)
    assert counts["refused"] > QUICK  # it does damage
    assert capfd.readouterr() == ("", "") and not recwarn.list and not caplog.records


def main() -> None:
    """Fuzz one format in this process, whose memory is limited, and say what came of it."""
    kind, number, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, used + MOST_BYTES))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = fuzz(kind, number, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"files": number, **counts, "peak_mb": peak // 1024, "before_mb": before // 1024}))


if __name__ == "__main__":
    main()
