import re

import numpy as np
import pytest

from twhin_hf.errors import InputError
from twhin_hf.plots import plot_comparison, plot_losses, plot_reliability, reliability_chart


def texts_of(path):
    """The texts that stand in a picture."""
    return re.findall(r"<(?:text|tspan)[^>]*>([^<]+)<", path.read_text("utf-8"))


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
    histories = {"stage 1: MLM": mlm, "stage 2: MLM": mlm[:40], "stage 2: MLM + social": social}
    drawn = texts_of(plot_losses(histories, tmp_path / "new" / "losses.svg"))
    assert {"Total loss", "MLM loss", "Pairs found in the batch", *histories} <= set(drawn)
    assert "Engagement loss" not in drawn
    assert "100%" in drawn  # the axis of a share
    assert plot_losses(histories, tmp_path / "losses.png").read_bytes()[:4] == b"\x89PNG"


def test_no_losses(tmp_path):
    with pytest.raises(ValueError, match=r"No entry of \['a'\] holds a step with any of \['loss'"):
        plot_losses({"a": [{"step": 1, "eval_loss": 2.0}, {"loss": 1.0}]}, tmp_path / "x.png")


def test_comparison(tmp_path):
    values = {
        "untrained": [0.031, 0.033, 0.029],
        "MLM": [0.082, 0.080, 0.088],
        "MLM + social": [0.121, 0.115, 0.124],
    }
    drawn = texts_of(plot_comparison(values, tmp_path / "hits.svg"))
    # Medians, and the factor over the row above.
    assert {"0.031", "0.082  × 2.65", "0.121  × 1.48"} <= set(drawn)
    assert "HITS@10, median of 3 seeds" in drawn
    plot_comparison({"one": [0.0]}, tmp_path / "one.png")
    with pytest.raises(InputError, match=r"one\.gif: a picture ends in \.png, \.svg, \.pdf"):
        plot_comparison({"one": [0.0]}, tmp_path / "one.gif")


def test_comparison_with_baselines(tmp_path):
    values = {"words": [0.4], "stock": [0.35], "ours": [0.44, 0.43, 0.46]}
    path = plot_comparison(
        values,
        tmp_path / "hits.svg",
        baselines=("words", "stock"),
        intervals={"words": [0.38, 0.42], "ours": [0.42, 0.47], "stock": []},
        chance=0.01,
    )
    drawn = texts_of(path)
    for text in ("0.440  × 1.10", "0.350", "chance 0.010", "× over words"):  # a baseline over none
        assert text in drawn
    with pytest.raises(ValueError, match=r"No HITS@10 of \['other'\]; values has \['words'"):
        plot_comparison(values, tmp_path / "x.png", baselines=("other",))


@pytest.mark.parametrize("values", [{}, {"a": [0.1], "b": []}])
def test_no_values(values, tmp_path):
    with pytest.raises(ValueError, match=r"No HITS@10 of"):
        plot_comparison(values, tmp_path / "x.png")


def test_reliability_is_a_point_a_bin_beside_what_would_be_calibrated(tmp_path):
    spec = reliability_chart([0.001, 0.01, 0.1], [0.002, 0.0, 0.2]).to_dict()
    calibrated, found = sorted(spec["datasets"].values(), key=lambda rows: rows[0]["name"])
    # Nothing happened in the second bin.
    assert [(row["x"], row["y"]) for row in found] == [(0.001, 0.002), (0.1, 0.2)]
    assert all(row["x"] == row["y"] for row in calibrated)
    assert spec["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"
    path = plot_reliability([0.001, 0.1], [0.002, 0.2], tmp_path / "r.svg", error=0.0123)
    assert "Reliability, calibration error 0.012" in texts_of(path)
    with pytest.raises(InputError, match="2 predictions and 1 shares"):
        plot_reliability([0.1, 0.2], [0.1], tmp_path / "r.png")
