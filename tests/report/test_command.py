"""The command: one page from folders, and what is told where there is none."""

from twhin_hf import write_report
from twhin_hf.commands.cli import main


def test_folders_become_a_page(run_folder, evaluations, tmp_path, capsys):
    output = tmp_path / "report"
    command = ["report", str(run_folder), str(evaluations), "-o", str(output), "--num_pairs", "1"]
    assert main(command) == 0
    page = output / "index.html"
    assert f"Saved in {page}" in capsys.readouterr().out
    text = page.read_text("utf-8")
    assert "<title>Report: run, evaluations</title>" in text
    assert "1 of 2 pairs" in text
    # What is there is kept, and made anew where that is asked for.
    assert main(command) == 2
    assert "index.html is there" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


def test_nothing_to_show_is_told_in_a_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty"), "-o", str(tmp_path / "report")]) == 2
    assert "hold nothing to show" in capsys.readouterr().err


def test_posts_bring_the_texts_of_pairs_that_stand_alone(run_folder, tmp_path):
    page = write_report(
        [run_folder / "pairs.parquet"],
        tmp_path / "report.html",
        posts=run_folder / "data" / "posts.parquet",
    )
    assert "thanks @user" in page.read_text("utf-8")
