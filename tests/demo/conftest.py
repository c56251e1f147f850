import pytest
from small_demo import CONFIG, KEY, make_inputs

from twhin_hf.demo.making import make_demo


@pytest.fixture(scope="session")
def inputs(texts, tokenizer, tmp_path_factory):
    """Models and data of a small demo."""
    return make_inputs(tmp_path_factory.mktemp("inputs"), texts, tokenizer)


@pytest.fixture(scope="session")
def demo_folder(inputs, tmp_path_factory):
    """A folder of all that a demo can have."""
    folder = tmp_path_factory.mktemp("made") / "demo"
    folder.mkdir()
    assert make_demo(inputs, folder, CONFIG, key=KEY, progress=False) == 240
    return folder
