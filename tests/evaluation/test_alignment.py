import csv
import math
import sys
import types

import numpy as np
import pytest
from datasets import Dataset

from twhin_hf.errors import InputError
from twhin_hf.evaluation.alignment import (
    Alignment,
    Distances,
    alignment_rows,
    available_methods,
    change_in_per_cent,
    evaluate_alignment,
    pair_distances,
    project,
    write_distances,
)
from twhin_hf.evaluation.alignment_plots import (
    alignment_points,
    plot_alignment,
    plot_distances,
    read_points,
    write_points,
)


def test_distances_by_hand():
    side_a = np.array([[3.0, 0.0], [0.0, 1.0]])
    side_b = np.array([[1.0, 1.0], [0.0, 2.0]])
    # Cosines of the pairs: 1/√2 and 1; differences (2, −1) and (0, −1): lengths √5 and 1.
    # Of the others: a0 with b1 0 and a1 with b0 1/√2; (3, −2) and (−1, 0): √13 and 1.
    found = pair_distances(side_a, side_b)
    assert found.cosine == pytest.approx((1 - 1 / math.sqrt(2)) / 2)
    assert found.euclidean == pytest.approx((math.sqrt(5) + 1) / 2)
    assert found.other_cosine == pytest.approx((1 + 1 - 1 / math.sqrt(2)) / 2)
    assert found.other_euclidean == pytest.approx((math.sqrt(13) + 1) / 2)


class Encoder:
    """Texts are `side number`; the sides stand `gap` apart."""

    def __init__(self, gap):
        self.gap = gap

    def encode(self, texts, pooling):
        assert pooling == "mean"
        rows = [(text.split()[0] == "b", int(text.split()[1])) for text in texts]
        return np.array([[math.cos(n + s * self.gap), math.sin(n + s * self.gap)] for s, n in rows])


def pairs(count=20):
    numbers = range(count)
    return Dataset.from_dict(
        {
            "text_a": [f"a {n}" for n in numbers],
            "text_b": [f"b {n}" for n in numbers],
            "lang_a": ["en"] * count,
            "lang_b": ["hi"] * count,
        }
    )


@pytest.fixture
def alignment():
    (found,) = evaluate_alignment(Encoder(1.0), Encoder(0.1), pairs(), max_pairs=12, pooling="mean")
    return found


def test_evaluate(alignment):
    assert alignment.languages == ("en", "hi")
    before, after = alignment.distances["before"], alignment.distances["after"]
    assert before.cosine == pytest.approx(1 - math.cos(1))
    assert after.cosine == pytest.approx(1 - math.cos(0.1), rel=1e-4)
    assert after.other_cosine > 0.3
    assert alignment.vectors["before"].shape == (24, 2)
    rows = {(row.language, row.metric): row for row in alignment_rows([alignment])}
    assert len(rows) == 12
    change = 100 * ((1 - math.cos(0.1)) / (1 - math.cos(1)) - 1)
    assert rows["en-hi", "cosine distance Δ%"].value == pytest.approx(change, rel=1e-4)
    assert rows["en-hi", "other cosine distance after"].details == {"pairs": 12}


def test_change():
    assert change_in_per_cent(0.5, 0.4) == pytest.approx(-20)
    assert change_in_per_cent(0.0, 0.4) is None


def test_csv_and_pictures(alignment, tmp_path):
    with write_distances([alignment], tmp_path / "new" / "distances.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["distance"] for row in rows] == list(Distances.__dataclass_fields__)
    assert float(rows[0]["before"]) == pytest.approx(1 - math.cos(1))
    assert float(rows[0]["change_%"]) < -90
    drawn = plot_distances([alignment], tmp_path / "distances.svg").read_text("utf-8")
    for when in ("before", "after"):
        assert f">{alignment.distances[when].cosine:.2f}<" in drawn
    points = alignment_points(alignment, ["t-SNE"])
    assert read_points(write_points(points, tmp_path / "points.csv")) == points
    assert {(p.method, p.when, p.language) for p in points} == {
        ("t-SNE", when, language) for when in ("before", "after") for language in ("en", "hi")
    }
    assert points[12].pair == 0  # the translation of the first text
    drawn = plot_alignment(alignment, tmp_path / "en-hi.svg").read_text("utf-8")
    assert f"t-SNE, before: {alignment.distances['before'].cosine:.3f}" in drawn
    with pytest.raises(InputError, match="has the columns"):
        read_points(tmp_path / "new" / "distances.csv")


def test_projection_is_of_its_seed(alignment):
    first, again = (project(alignment.vectors["before"], "t-SNE", seed=1) for _ in range(2))
    assert first.shape == (24, 2)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)
    with pytest.raises(ValueError, match="method is 'PCA'; choose one of"):
        project(alignment.vectors["before"], "PCA")


def test_umap_where_it_is_installed(alignment, monkeypatch, tmp_path):
    asked = []

    class UMAP:
        def __init__(self, **options):
            asked.append(options)

        def fit_transform(self, vectors):
            return vectors[:, :2]

    module = types.ModuleType("umap")
    module.UMAP = UMAP
    module.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "umap", module)
    assert available_methods() == ["t-SNE", "UMAP"]
    picture = plot_alignment(alignment, tmp_path / "x.svg", ["UMAP"], seed=3)
    assert "UMAP, after" in picture.read_text("utf-8")
    assert asked == [{"n_neighbors": 11, "metric": "cosine", "random_state": 3}] * 2
    monkeypatch.setitem(sys.modules, "umap", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert available_methods() == ["t-SNE"]


def test_too_few_pairs():
    with pytest.raises(ValueError, match="2 pairs of en and hi: at least 3 are needed"):
        evaluate_alignment(Encoder(1), Encoder(1), pairs(2), pooling="mean")


def test_an_encoder_that_gives_one_vector_for_all(tmp_path):
    same = Distances(*pair_distances(np.ones((5, 2)), np.ones((5, 2))).__dict__.values())
    assert (same.cosine, same.other_euclidean) == (pytest.approx(0), 0)
    vectors = {when: np.ones((10, 2), np.float32) for when in ("before", "after")}
    found = Alignment(("en", "hi"), dict.fromkeys(vectors, same), vectors)
    assert all(np.isfinite(row.value) for row in alignment_rows([found]))
    plot_distances([found], tmp_path / "x.png")
