"""What is said on the line of messages."""

import pytest

from napari_gem3d.errors import InputError
from napari_gem3d.viewer.signals import Saying

FOLDER = "/home/jane doe/.cache/napari-gem3d/sessions/2026-12-01-101112-4711"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (f"The label map {FOLDER}/mask-001.nii.gz holds the value 9.", "The mask holds the value 9."),
        (f"{FOLDER}/scan-012.nii.gz shows no body.", "The scan shows no body."),
        (
            f"/data/a b.nii.gz is not on the grid of {FOLDER}/painted-003-ab12.nii.gz (2 mm).",
            "/data/a b.nii.gz is not on the grid of the mask (2 mm).",
        ),
        (r"C:\Users\j d\cache\sessions\2026-12-01-101112-4711\run-001.nii.gz is gone.", "The result is gone."),
        ("/data/mask-001.nii.gz is a pipe.", "/data/mask-001.nii.gz is a pipe."),
    ],
)
def test_files_of_the_session_are_called_what_they_are(told: str, said: str) -> None:
    line = Saying()
    line.say_error(InputError(told))
    assert line.message == said and line.failed
