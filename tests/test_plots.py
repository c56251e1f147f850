import matplotlib.image
import numpy as np
import pytest

from twhin_hf.errors import InputError
from twhin_hf.plots import plot_comparison, plot_losses, plot_reliability


def test_losses(tmp_path):
    steps = np.arange(1, 60)
    mlm = [{"step": int(s), "loss": 9 / s**0.5, "mlm_loss": 9 / s**0.5} for s in steps]
    social = [
        {
            "step": int(s),
            "loss": 5 / s**0.3,
            "mlm_loss": 6 / s**0.2,
            "social_loss": 4.8 / s**0.3,
            "social_accuracy": 1 - 1 / s**0.4,
        }
        for s in steps
    ]
    social.append({"step": 60, "train_runtime": 3.2})
    path = plot_losses(
        {"stage 1: MLM": mlm, "stage 2: MLM": mlm[:40], "stage 2: MLM + social": social},
        tmp_path / "new" / "losses.png",
    )
    picture = matplotlib.image.imread(path)
    assert picture.shape[0] > 800
    assert picture[..., :3].std() > 0.05


def test_no_losses(tmp_path):
    with pytest.raises(ValueError, match=r"No entry of \['a'\] holds a step with any of \['loss'"):
        plot_losses({"a": [{"step": 1, "eval_loss": 2.0}, {"loss": 1.0}]}, tmp_path / "x.png")


def test_comparison(tmp_path):
    values = {
        "untrained": [0.031, 0.033, 0.029],
        "MLM": [0.082, 0.080, 0.088],
        "MLM + social": [0.121, 0.115, 0.124],
    }
    picture = matplotlib.image.imread(plot_comparison(values, tmp_path / "hits.png"))
    assert picture[..., :3].std() > 0.05
    plot_comparison({"one": [0.0]}, tmp_path / "one.png")


def test_comparison_with_baselines(tmp_path):
    values = {"words": [0.4], "stock": [0.35], "ours": [0.44, 0.43, 0.46]}
    path = plot_comparison(
        values,
        tmp_path / "hits.svg",
        baselines=("words", "stock"),
        intervals={"words": [0.38, 0.42], "ours": [0.42, 0.47], "stock": []},
        chance=0.01,
    )
    drawn = path.read_text()
    for text in ("0.440", "× 1.10", "chance 0.010", "× over words"):
        assert f"<!-- {text} -->" in drawn
    assert "× 0.88" not in drawn  # a baseline is over nothing
    with pytest.raises(ValueError, match=r"No HITS@10 of \['other'\]; values has \['words'"):
        plot_comparison(values, tmp_path / "x.png", baselines=("other",))


@pytest.mark.parametrize("values", [{}, {"a": [0.1], "b": []}])
def test_no_values(values, tmp_path):
    with pytest.raises(ValueError, match=r"No HITS@10 of"):
        plot_comparison(values, tmp_path / "x.png")


def test_reliability_is_a_point_a_bin_beside_what_would_be_calibrated(monkeypatch, tmp_path):
    drawn = []

    def keep(figure, path):
        drawn.append(figure)
        return path

    monkeypatch.setattr("twhin_hf.plots.save_figure", keep)
    plot_reliability([0.001, 0.01, 0.1], [0.002, 0.0, 0.2], tmp_path / "r.png", error=0.0123)
    (axis,) = drawn[0].axes
    calibrated, found = axis.lines
    assert list(found.get_xdata()) == [0.001, 0.1]  # nothing happened in the second bin
    assert list(found.get_ydata()) == [0.002, 0.2]
    assert list(calibrated.get_xdata()) == list(calibrated.get_ydata())
    assert "calibration error 0.012" in axis.get_title()
    assert axis.get_xscale() == axis.get_yscale() == "log"
    with pytest.raises(InputError, match="2 predictions and 1 shares"):
        plot_reliability([0.1, 0.2], [0.1], tmp_path / "r.png")
