import pyarrow.parquet as pq

from twhin_hf.commands.cli import main
from twhin_hf.data.splits import split_posts


def test_files_are_the_splits_of_every_stage(posts, tmp_path, capsys):
    posts.to_parquet(tmp_path / "posts.parquet")
    command = ["split", "--posts", str(tmp_path / "posts.parquet"), "--seed", "3"]
    assert main([*command, "--output", str(tmp_path / "split")]) == 0
    expected = split_posts(posts["post_id"], 3)
    for split in ("train", "validation", "test"):
        table = pq.read_table(tmp_path / "split" / f"{split}.parquet")
        own = [i for i, name in enumerate(expected) if name == split]
        assert table["post_id"].to_pylist() == [f"p{i}" for i in own]
        assert table["text"].to_pylist() == [posts[i]["text"] for i in own]
    assert "posts, saved in" in capsys.readouterr().out
