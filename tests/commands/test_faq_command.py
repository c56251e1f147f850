"""`twhin-hf faq`, and the line of an error that names it."""

import pickle

from twhin_hf.commands.cli import main
from twhin_hf.commands.faq import read_questions
from twhin_hf.errors import InputError


def test_all_are_listed(capsys):
    assert main(["faq"]) == 0
    shown = capsys.readouterr().out
    for name, question in read_questions().items():
        assert any(
            line.startswith(f"{name} ") and line.endswith(question.title)
            for line in shown.splitlines()
        )


def test_an_entry(capsys):
    assert main(["faq", "ids"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("A column of ids is of another type\n\n")
    assert "merge people" in shown
    assert "{#" not in shown
    assert "## " not in shown


def test_there_is_none(capsys):
    assert main(["faq", "nothing"]) == 2
    assert "there is no entry 'nothing'" in capsys.readouterr().err


def test_an_error_names_its_entry(tmp_path, capsys):
    (tmp_path / "posts.csv").write_text("id,text\n1,a post\n")
    line = ["split", "--posts", str(tmp_path / "posts.csv"), "--output", str(tmp_path / "split")]
    assert main(line) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[-1] == "More: twhin-hf faq columns"
    assert "has no column 'post_id'" in error[-2]


def test_an_error_without_an_entry_names_none(capsys):
    assert main(["split"]) == 2
    assert "More:" not in capsys.readouterr().err


def test_an_error_of_another_process_keeps_its_entry():
    assert pickle.loads(pickle.dumps(InputError("a", faq="ids"))).faq == "ids"
    assert InputError("a").faq is None
