import pytest

from napari_gem3d.cli.main import main


def test_the_command_compares_and_prints_the_table(eggs, more_eggs, tmp_path, capsys):
    pytest.importorskip("monai", reason="the stand-in is a network of MONAI: extra downstream")
    other = more_eggs("other", range(8, 10))
    how = ["--segmenter", "stand-in", "--steps", "2", "--spacing", "4", "--device", "cpu", "--region", "all=1,2,3"]
    assert main(["downstream", str(eggs), f"re-sampled={other}", "--out", str(tmp_path / "out"), *how]) == 0
    shown = capsys.readouterr().out
    assert "| training data | scans | Dice % all |" in shown
    assert "\n| real | 6 |" in shown and "\n| re-sampled | 2 |" in shown


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["re-sampled"], "'re-sampled' is no training set; write NAME=DATASET"),
        (["real=DATA"], "Two training sets are called real"),
        (["a=nowhere"], "nowhere does not exist"),
        (["--region", "WT=a"], "'WT=a' is no region"),
        (["--segmenter", "stand-in", "--prepare"], "Only nnU-Net has datasets to prepare"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(eggs, tmp_path, capsys, words, sentence):
    if "--prepare" in words:
        pytest.importorskip("monai", reason="extra downstream")
    words = [word.replace("DATA", str(eggs)) for word in words]
    assert main(["downstream", str(eggs), *words, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert sentence in told and told.count("\n") == 1
