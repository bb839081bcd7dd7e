"""One model of the settings: what is refused, and that options and the page come from it."""

import argparse

import pytest

from napari_gem3d.cli.options import add_settings, given
from napari_gem3d.errors import InputError
from napari_gem3d.sampling.settings import Drawing, Settings, settings_table, words_of


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, r"The seed -1 is not possible; choose a whole number from 0 to 4294967295\."),
        ({"seed": 1.5}, "The seed 1.5 is not possible"),
        ({"steps": 0}, "The number of steps 0 is not possible; choose 1 or more"),
        ({"solver": "euler"}, r"The solver euler is not possible; choose dpmsolver\+\+, unipc or ddim"),
        ({"mass_effect_mm": 31}, r"The mass effect 31 mm is not possible; choose 0 \(none\) to 30"),
        ({"margin_mm": 0}, "The margin 0 mm is not possible; choose more than 0, up to 50"),
        ({"pixel_mm": -2.0}, "The pixel size -2.0 mm is not possible"),
        ({"anatomy": "guess"}, "The anatomy guess is not possible; choose scan, map or none"),
        ({"position": "middle"}, "The position middle is not possible"),
        ({"sede": 1}, "There is no setting 'sede'; choose from steps, solver"),
    ],
)
def test_what_is_not_possible_is_refused_with_what_is(values, message):
    with pytest.raises(InputError, match=message):
        Settings(**values)


def test_changed_settings_are_checked():
    assert Settings(seed=3).changed(steps=7) == Settings(seed=3, steps=7)
    with pytest.raises(InputError, match="The eta 2"):
        Settings().changed(eta=2)


def test_every_setting_has_words_and_its_row_and_every_drawn_one_is_a_setting():
    table = settings_table()
    for name in Settings.model_fields:
        words = words_of(name)
        assert words["about"] and words["choices"] and words["option"].startswith("--")
        assert f"| `{name}` |" in table
    assert set(Drawing.model_fields) <= set(Settings.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_option_that_is_given_arrives_and_one_that_is_not_is_left_to_the_settings(name):
    parser = argparse.ArgumentParser()
    add_settings(parser.add_argument_group("how"), name)
    option = words_of(name)["option"]
    default = Settings.model_fields[name].default
    assert getattr(Settings(**given(parser.parse_args([]), [name])), name) == default
    values = {
        "assume_orientation": "LPS",
        "solver": "unipc",
        "anatomy": "none",
        "device": "cpu",
        "precision": "float32",
        "known_level": "published",
        "labels": "model",
    }
    words = [option] if isinstance(default, bool) else [option, values.get(name, "1")]
    assert str(getattr(Settings(**given(parser.parse_args(words), [name])), name)) in ("True", "1", "1.0", *words)
