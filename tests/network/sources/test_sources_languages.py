"""Language identification, with detectors that stand in for the packages."""

import sys
import types

import pyarrow as pa
import pytest

from twhin_hf.network.sources import fasttext_detector, package_detector
from twhin_hf.network.sources.text import clean_languages, decode_entities, html_to_text

POSTS = [
    {"user_id": "u", "post_id": "1", "text": "zwei\nTexte", "lang": ""},
    {"user_id": "u", "post_id": "2", "text": "a text", "lang": "en-GB"},
    {"user_id": "u", "post_id": "3", "text": "12345", "lang": None},
]


def test_only_posts_without_a_language_are_asked_for(load, write_lines):
    asked = []

    def detect(texts):
        asked.extend(texts)
        return ["de-AT" if text.startswith("zwei") else None for text in texts]

    report, _, posts = load("table", write_lines("l.jsonl", POSTS), detect_language=detect)
    assert asked == ["zwei\nTexte", "12345"]
    assert [row[2] for row in posts] == ["de", "en", None]
    assert (report.detected_languages, report.unknown_languages) == (1, 1)


def test_a_fasttext_model(monkeypatch, tmp_path):
    class Model:
        def predict(self, texts, k, threshold):
            assert (k, threshold) == (1, 0.5)
            assert all("\n" not in text for text in texts)
            labels = [["__label__de"] if "zwei" in text else [] for text in texts]
            return labels, [[0.9] if label else [] for label in labels]

    package = types.ModuleType("fasttext")
    package.load_model = lambda path: Model()
    monkeypatch.setitem(sys.modules, "fasttext", package)
    (tmp_path / "lid.ftz").touch()
    assert fasttext_detector(tmp_path / "lid.ftz")(["zwei\nTexte", "?"]) == ["de", None]

    def refuse(path):
        raise ValueError("wrong file format")

    package.load_model = refuse
    with pytest.raises(ValueError, match=r"lid\.ftz is no fastText model: wrong file format"):
        fasttext_detector(tmp_path / "lid.ftz")


def test_the_package_without_a_model_file(monkeypatch):
    class Identifier:
        @classmethod
        def from_model_file(cls, path, norm_probs, min_confidence):
            assert (path, norm_probs, min_confidence) == ("model", True, 0.5)
            return cls()

        def classify(self, text):
            return ("de", 0.9) if "zwei" in text else ("und", 0.1)

    package = types.ModuleType("py3langid.langid")
    package.MODEL_FILE, package.LanguageIdentifier = "model", Identifier
    monkeypatch.setitem(sys.modules, "py3langid", types.ModuleType("py3langid"))
    monkeypatch.setitem(sys.modules, "py3langid.langid", package)
    codes = package_detector()(["zwei Texte", "?"])
    assert clean_languages(pa.array(codes)).to_pylist() == ["de", None]


def test_the_package_itself():
    pytest.importorskip("py3langid", reason="the extra languages is not installed")
    texts = [
        "Guten Morgen, wie geht es dir heute?",
        "お茶が好きです",
        "hola, ¿qué tal estás hoy?",
        "🌋",
    ]
    codes = package_detector()(texts)
    assert clean_languages(pa.array(codes)).to_pylist() == ["de", "ja", "es", None]


def test_a_missing_package_names_its_extra(monkeypatch, tmp_path):
    for name in ("fasttext", "py3langid", "py3langid.langid"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "lid.ftz").touch()
    with pytest.raises(ImportError, match=r"pip install twhin_hf\[fasttext\]"):
        fasttext_detector(tmp_path / "lid.ftz")
    with pytest.raises(ImportError, match=r"pip install twhin_hf\[languages\]"):
        package_detector()
    with pytest.raises(FileNotFoundError, match="path of the language model"):
        fasttext_detector(tmp_path / "nowhere.ftz")


def test_html_of_links_lists_and_mentions():
    content = (
        '<p><span class="h-card"><a href="https://e.org/@a" class="u-url">@<span>a</span></a>'
        '</span> <a href="https://e.org/x"><span class="invisible">https://</span>'
        '<span class="ellipsis">e.org/</span><span class="invisible">x</span></a></p>'
        "<ul><li>1 &amp;lt; 2</li><li>&#39;3&#39;</li></ul>"
    )
    texts = decode_entities(html_to_text(pa.array([content, None, "plain", "a & b"])))
    assert texts.to_pylist() == ["@a https://e.org/x\n1 &lt; 2\n'3'", None, "plain", "a & b"]


def test_entities_common_and_rare():
    texts = ["&lt;a&gt; &quot;b&quot; &#39;c&#39; &amp;amp;", "&eacute;&lt; &amp;lt; &copy x", "&"]
    assert decode_entities(pa.array(texts)).to_pylist() == [
        "<a> \"b\" 'c' &amp;",
        "é< &lt; © x",
        "&",
    ]


def test_language_codes():
    codes = ["pt-BR", "zh_Hant", "in", "iw", "EN", "qme", "und", "zxx", "toolong", "", None]
    assert clean_languages(pa.array(codes)).to_pylist() == [
        *("pt", "zh", "id", "he", "en"),
        *[None] * 6,
    ]
