"""The page of a report: what every table says, and that a browser shows it."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from napari_gem3d.evaluation.markup import anchor, picture, table
from napari_gem3d.evaluation.page import page
from napari_gem3d.evaluation.pictures import Example
from napari_gem3d.evaluation.protocol import INSIDE, PROTOCOL
from napari_gem3d.evaluation.summary import summarise

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing of the user's, nothing from outside.
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Writes into the page what only a browser knows.
PROBE = """<script>addEventListener("load", () => {
  const report = document.createElement("pre");
  report.id = "probe";
  report.textContent = JSON.stringify({
    images: [...document.images].map(image => image.complete && image.naturalWidth),
    shown: [...document.images].map(image => image.getBoundingClientRect().width),
    rows: [...document.querySelectorAll("table")].map(table => table.rows.length),
    dead: [...document.querySelectorAll("nav a")]
      .filter(link => !document.querySelector(link.getAttribute("href"))).length,
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  });
  document.body.append(report);
})</script>"""


def test_every_table_says_how_many_and_the_distances_by_what(compared) -> None:
    shown = (compared.out / "report.html").read_text(encoding="utf-8")
    tables = re.findall(r"<table.*?</table>", shown, re.DOTALL)
    assert len(tables) == 8
    for found in tables:
        assert re.search(r"<caption><span>n = \d+ \w+", found), found[:200]
        if re.search("Fréchet|kernel distance", found):
            assert "EfficientNet-Lite0" in found and "not FID" in found
        if "MS-SSIM</t" in found:
            assert PROTOCOL in unescape(found) and INSIDE in unescape(found)
        if "perceptual distance</t" in found:
            assert "EfficientNet-Lite0 (ImageNet); not LPIPS" in found
    assert sum("MS-SSIM</t" in found for found in tables) == 3
    assert "mean of 3 pairs" in shown and "n = 4 synthetic scans against 2 real scans" in shown
    assert "ann (n = 2)" in shown and "±" in shown
    assert "Most alike: " in shown and "Least alike: " in shown


def test_the_page_needs_no_other_file(compared) -> None:
    shown = (compared.out / "report.html").read_text(encoding="utf-8")
    assert "://" not in shown and "<script" not in shown and "<link" not in shown
    sources = re.findall(r"src='(.{20})", shown)
    assert len(sources) == 3 + 5 and all(source.startswith("data:image/") for source in sources)
    assert str(compared.folders.real) not in shown


def test_a_browser_shows_all_pictures_and_tables(compared, tmp_path: Path) -> None:
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    page = tmp_path / "report.html"
    text = (compared.out / "report.html").read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    call = [browser, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,900", "--dump-dom"]
    done = subprocess.run([*call, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)[1])  # type: ignore[index]
    assert len(found["images"]) == 8 and min(found["images"]) > 100 and min(found["shown"]) > 100
    assert len(found["rows"]) == 8 and min(found["rows"]) >= 3
    assert found["dead"] == 0, "links within the page lead somewhere"
    assert found["wide"] <= 0, "wide tables scroll by themselves, not the page"
    assert "Fréchet distance (not FID)" in done.stdout


def test_sets_alone_make_a_page(compared) -> None:
    figures = compared.report["figures"]
    alone = {key: value for key, value in compared.report.items() if key != "segmentation"}
    told = page(alone | summarise([], figures) | {"pairs": {}}, [Example("bob", b"")], {})
    assert "only sets are compared" in told and "all scans, each in its own range" in told
    titles = re.findall("<h2 id='([^']+)'", told)
    assert titles == ["at-a-glance", "pictures", "along-the-body", "sets-of-slices", "scans-by-themselves"]


def test_a_figure_that_no_pair_has_is_left_blank(compared) -> None:
    """No real scan has any step of brightness, so there is no flicker."""
    pairs = {name: entry | {"flicker": None} for name, entry in compared.report["pairs"].items()}
    report = compared.report | summarise(list(pairs.values()), compared.report["figures"]) | {"pairs": pairs}
    assert "flicker" not in report["mean"]
    assert "<td>flicker</td><td></td>" in page(report, [], {})


def test_names_cannot_spoil_the_page() -> None:
    shown = table(["<b>"], [["a & <i>"]], "n = 1 'scan' <x>")
    assert "<b>" not in shown and "<i>" not in shown and "<x>" not in shown and "a &amp; &lt;i&gt;" in shown
    assert "alt='a &#x27; onload=&#x27;'" in picture(b"", "a ' onload='")
    assert anchor("Memorisation: nearest training scans") == "memorisation-nearest-training-scans"


def test_long_tables_are_folded_up() -> None:
    rows = [[str(n)] for n in range(5)]
    assert "<details>" not in table(["n"], rows, "n = 5", longest=5)
    assert "<details><summary>all 5 rows" in table(["n"], rows, "n = 5", longest=4)
    assert table(["n"], rows, "n = 5", totals=1).count("class='total'") == 1
