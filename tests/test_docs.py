"""The documentation names the options that there are, all of them, and no others."""

import argparse
import re
from pathlib import Path

import pytest

from napari_gem3d.cli import main as cli
from napari_gem3d.cli import train
from napari_gem3d.sampling.settings import settings_table

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCE = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
PARSERS = {"napari-gem3d": cli.make_parser(), "napari-gem3d-train": train._parser()}
# pip, the benchmarks, accelerate, Dask and Slurm.
OTHER_PROGRAMS = {
    *("--exclude-editable", "--plot", "--volumes", "--write-docs", "--steps", "--baseline"),
    *("--multi_gpu", "--num_machines", "--num_processes", "--machine_rank", "--main_process_ip", "--main_process_port"),
    *(
        "--dashboard-address",
        "--job-name",
        "--no-dashboard",
        "--protocol",
        "--nodes",
        "--ntasks-per-node",
        "--gpus-per-node",
        "--cpus-per-task",
        "--time",
        "--signal",
        "--requeue",
    ),
    *("--cpu", "--logdir"),
    *("--gpus-per-task", "--scheduler-file", "--nthreads", "--resources", "--lifetime", "--lifetime-stagger"),
    *("--gres", "--pid"),
}


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of every command."""
    (subparsers,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(subparsers.choices)


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings if option.startswith("--")}


ALL = [(program, name, command) for program, parser in PARSERS.items() for name, command in commands(parser).items()]


@pytest.mark.parametrize(("program", "name", "command"), ALL, ids=[f"{p} {n}" for p, n, _ in ALL])
def test_the_reference_has_every_option_of(program, name, command):
    part = REFERENCE.split("## napari-gem3d-train")[program == "napari-gem3d-train"]
    if program == "napari-gem3d":
        part = part.split(f"### {name}\n")[1].split("\n### ")[0]
    documented = set(re.findall(r"--[a-z-]+", part))
    assert options(command) - {"--help"} <= documented


def test_the_page_of_a_generations_settings_is_their_table():
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    assert settings_table() in page


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_no_page_names_an_option_that_is_not_there(page):
    known = set().union(*(options(command) for _, _, command in ALL), options(PARSERS["napari-gem3d"]))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", page.read_text(encoding="utf-8"))) <= known | OTHER_PROGRAMS


def test_the_page_of_settings_is_what_the_command_prints(capsys):
    assert train.main(["settings"]) == 0
    page = (ROOT / "docs" / "training" / "settings.md").read_text(encoding="utf-8")
    assert page.split("```yaml\n")[1].split("\n```")[0] == capsys.readouterr().out.rstrip()


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_between_files_lead_somewhere(page):
    """mkdocs checks the site; README and links to files outside it are checked here."""
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
