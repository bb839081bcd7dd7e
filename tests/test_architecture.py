"""The house rules that a linter does not know."""

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import napari_gem3d

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "napari_gem3d"
MODELS = ROOT / "models"
WINDOW_LIBRARIES = {"magicgui", "napari", "PyQt5", "PyQt6", "PySide2", "PySide6", "qtpy", "superqt", "vispy"}
LONGEST_FILE = 400
# From the ground up: a room knows only rooms of earlier lines.
FLOORS = (
    ("errors",),
    ("grid",),
    ("volume", "device"),
    ("labels",),
    ("foreground", "io", "networks"),
    ("anatomy", "numbering"),
    ("samples", "pictures", "bundle", "masks", "brain"),
    ("sampling", "doctor"),
    ("evaluation",),
    ("training", "viewer"),
    ("cohorts", "downstream"),
    ("cli",),
)


def modules() -> list[Path]:
    found = sorted(PACKAGE.rglob("*.py"))
    assert len(found) > 20
    return found


def imported_roots(source: str) -> Iterator[str]:
    """Top-level names of everything a module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0]


def test_imported_roots_sees_every_form_of_import():
    source = "import a.b\nfrom c.d import e\ndef f():\n    import g as h\nfrom . import i\n"
    assert sorted(imported_roots(source)) == ["a", "c", "g"]


def test_only_the_viewer_knows_napari_and_qt():
    offenders = {
        str(path.relative_to(ROOT)): sorted(found)
        for path in modules()
        if PACKAGE / "viewer" not in path.parents
        and (found := WINDOW_LIBRARIES.intersection(imported_roots(path.read_text(encoding="utf-8"))))
    }
    assert offenders == {}


def rooms_known_by(path: Path) -> Iterator[str]:
    """Rooms of the package that a module imports from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE.name:
            inside = node.module.split(".")[1:]
            yield from inside[:1] or (alias.name for alias in node.names if not alias.name.startswith("__"))


def test_imports_point_downwards():
    floor = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
    upwards = []
    for path in modules():
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if room == "__init__":
            continue
        others = set(rooms_known_by(path)) - {room}
        upwards += [f"{path.relative_to(ROOT)} imports {other}" for other in others if floor[other] >= floor[room]]
    assert upwards == []


def imports_within(folder: Path, package: str) -> dict[str, set[str]]:
    """Which modules of a package each of them imports, wherever in it and even if for types alone."""
    names = {
        ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in folder.rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        wanted: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                wanted |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
        found[name] = (wanted & names.keys()) - {name}
    return found


def in_circles(imports: dict[str, set[str]]) -> set[str]:
    """Modules that import themselves through others: those left when none without imports, or importers, is left."""
    left = set(imports)
    while True:
        ends = {name for name in left if not imports[name] & left}
        ends |= left - set().union(*(imports[name] for name in left))
        if not ends:
            return left
        left -= ends


def test_modules_of_the_viewer_import_each_other_in_no_circle():
    imports = imports_within(PACKAGE / "viewer", f"{PACKAGE.name}.viewer")
    assert len(imports) > 50 and sum(map(len, imports.values())) > 150
    assert in_circles(imports) == set()
    composer = f"{PACKAGE.name}.viewer.workbench"
    assert [name for name, wanted in imports.items() if composer in wanted] == [f"{PACKAGE.name}.viewer.panel"]


def test_circles_are_found_even_if_for_types_alone(tmp_path):
    for name, source in {
        "a": "from __future__ import annotations\nif TYPE_CHECKING:\n    from p.b import B\n",
        "b": "def f():\n    import p.c\n",
        "c": "from p import a\n",
        "d": "from p.a import A\n",
        "e": "",
    }.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    assert in_circles(imports_within(tmp_path, "p")) == {"p.a", "p.b", "p.c"}


def test_no_module_is_too_long():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_models_hold_no_code_and_little_weight():
    files = [path for path in MODELS.rglob("*") if path.is_file()]
    if not files:
        pytest.skip("no bundled model in this checkout")
    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors", ".png"}
    assert sum(path.stat().st_size for path in files) <= 40e6


def loaded_by(statement: str, heavy: tuple[str, ...]) -> str:
    """Which of the heavy libraries a fresh interpreter has loaded after a statement, comma-separated."""
    report = f"{statement}\nimport sys\nprint(','.join(sorted(set({heavy!r}) & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "statement",
    ["import napari_gem3d; dir(napari_gem3d)", "import napari_gem3d; napari_gem3d.plan_windows(40, 3)"],
)
def test_import_is_light(statement):
    assert loaded_by(statement, ("torch", "diffusers", "napari", "qtpy", "skimage")) == ""


def test_reading_a_scan_needs_neither_torch_nor_napari():
    assert loaded_by("from napari_gem3d import read_volume, write_volume", ("torch", "napari", "qtpy")) == ""


def test_generating_needs_no_napari():
    assert loaded_by("from napari_gem3d import generate, run_recipe, load_bundle", ("napari", "qtpy", "magicgui")) == ""


def test_every_exported_name_exists():
    missing = [name for name in napari_gem3d.__all__ if not hasattr(napari_gem3d, name)]
    assert missing == []
    assert set(napari_gem3d.__all__) <= set(dir(napari_gem3d))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        napari_gem3d.nonsense  # noqa: B018


@pytest.mark.parametrize("module", ["napari_gem3d.cli.main", "napari_gem3d.cli.train"])
def test_help_starts_at_once(module):
    """`--help` is what people type first: it must not wait for PyTorch (two seconds even on a fast machine)."""
    call = f"import sys; from {module} import main; sys.argv = ['program', '--help']"
    begin = time.perf_counter()
    report = f"{call}\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
    assert "torch" not in loaded_by(report, ("torch", "diffusers", "napari")).splitlines()[-1]
    assert time.perf_counter() - begin < 10
