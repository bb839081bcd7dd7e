"""The wheel, the sdist and an installation from them carry everything that runs: manifest, models, label colours."""

import importlib.metadata
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("build")
pytest.importorskip("hatchling")

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "napari_gem3d" / "samples" / "data"
SAMPLES = sorted(DATA.glob("*_labels.nii.gz"))
MODELS = sorted(path.parent.name for path in ROOT.glob("models/*/model.json"))


def run(*arguments: object, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, source: Path, out: Path) -> Path:
    """Build a wheel or an sdist without network: hatchling is among the tools for development."""
    run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", out, source)
    (built,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder with the wheel installed in it, apart from the checkout; the dependencies are this environment's."""
    target = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def in_installed(installed: Path, code: str) -> str:
    """Run code with the installed copy first on the path and the checkout nowhere near."""
    report = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); import napari_gem3d\n"
        f"assert napari_gem3d.__file__.startswith({str(installed)!r}), napari_gem3d.__file__\n{code}"
    )
    return run(sys.executable, "-P", "-c", report, cwd=installed).strip()


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_manifest_package_and_models(wheel):
    inside = names(wheel)
    tracked = {p.relative_to(ROOT).as_posix() for p in ROOT.glob("napari_gem3d/**/*.py")}
    assert tracked <= inside
    assert {"napari_gem3d/napari.yaml", "napari_gem3d/py.typed"} <= inside
    assert {f"napari_gem3d/samples/data/{path.name}" for path in DATA.iterdir()} <= inside
    for model in MODELS:
        parts = {p.relative_to(ROOT).as_posix() for p in ROOT.glob(f"models/{model}/**/*") if p.is_file()}
        assert any(part.endswith(".safetensors") for part in parts)
        assert {f"napari_gem3d/{part}" for part in parts} <= inside


def test_the_wheel_holds_nothing_else(wheel):
    tops = {name.split("/")[0] for name in names(wheel)}
    assert tops == {"napari_gem3d", wheel.name.rsplit("-", 3)[0] + ".dist-info"}
    assert not [name for name in names(wheel) if "__pycache__" in name or name.endswith(".pyc")]


def test_entry_points(installed):
    (metadata,) = installed.glob("napari_gem3d-*.dist-info")
    points = importlib.metadata.Distribution.at(metadata).entry_points
    assert {(p.group, p.name, p.value) for p in points} == {
        ("console_scripts", "napari-gem3d", "napari_gem3d.cli.main:main"),
        ("console_scripts", "napari-gem3d-train", "napari_gem3d.cli.train:main"),
        ("napari.manifest", "napari-gem3d", "napari_gem3d:napari.yaml"),
    }


def test_the_core_needs_no_window_library(installed):
    (metadata,) = installed.glob("napari_gem3d-*.dist-info")
    requires = importlib.metadata.Distribution.at(metadata).requires
    core = [line for line in requires if "extra ==" not in line]
    assert any(line.startswith("torch") for line in core)
    assert not [line for line in core if any(word in line.lower() for word in ("napari", "qt", "pyside", "magicgui"))]


def test_the_sdist_makes_the_same_wheel(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert (source / "napari.yaml").resolve() == (source / "napari_gem3d" / "napari.yaml").resolve()
    assert (source / "napari.yaml").is_file()
    again = build("wheel", source, tmp_path / "again")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert set(first.namelist()) == set(second.namelist())
        assert [n for n in first.namelist() if first.read(n) != second.read(n)] == []


def test_the_manifest_of_an_installation_is_found_and_valid(installed):
    pytest.importorskip("npe2")
    code = (
        "from npe2 import PluginManifest\n"
        "manifest = PluginManifest.from_distribution('napari-gem3d')\n"
        "manifest.validate_imports()\n"
        "print(manifest.name, len(manifest.contributions.widgets), len(manifest.contributions.sample_data))"
    )
    name, widgets, samples = in_installed(installed, code).split()
    assert name == "napari-gem3d"
    assert int(widgets) >= 1
    assert int(samples) >= 1


def test_the_models_of_an_installation_load(installed):
    found = in_installed(installed, "print(sorted(napari_gem3d.bundled_models()))")
    assert found == str(MODELS)
    for model in MODELS:
        code = (
            f"from napari_gem3d import load_bundle; bundle = load_bundle({model!r})\n"
            f"print(bundle.volume_unet is not None, str(bundle.path).startswith({str(installed)!r}))"
        )
        assert in_installed(installed, code) == "True True"


def test_the_sample_patients_of_an_installation_read(installed):
    code = (
        "from napari_gem3d import sample_patients\n"
        "read = [sample.read() for sample in sample_patients().values()]\n"
        "print(len(read), all(scan.grid == labels.grid for scan, labels in read))"
    )
    assert in_installed(installed, code) == f"{len(SAMPLES)} True"
