"""A model that is not there is said to be missing at once."""

import http.server
import socket
import threading

import pytest
from huggingface_hub import constants

from twhin_hf.commands.cli import main
from twhin_hf.errors import InputError
from twhin_hf.loading.auto import load_post_encoder
from twhin_hf.loading.fingerprint import model_fingerprint
from twhin_hf.loading.places import check_place, looks_local

_PATH = "/{repo_id}/resolve/{revision}/{filename}"


@pytest.fixture
def online(monkeypatch):
    """Lets the Hub be asked at an address; for how often it was asked there is a list."""
    asked = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(404 if "nobody" in self.path else 200)
            if "nobody" in self.path:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + _PATH)
    yield asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "name",
    [
        *("./m", "../m", "/nowhere/m", "~/m", "~nobody-known/m", "a/b/c", "weights.safetensors"),
        *("o/x.pt", "a b", "a/b..c", "a--b", "a/b-", "é/b", "a/b.git", "a/" + "b" * 97),
    ],
)
def test_local_paths_are_never_asked_of_the_hub(online, name):
    assert looks_local(name)
    with pytest.raises(FileNotFoundError, match=f"there is no {name}; give a folder that is there"):
        check_place(name)
    assert online == []


def test_a_folder_that_is_here_makes_its_paths_local(online, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(FileNotFoundError, match="there is no runs/model; give"):
        check_place("runs/model")
    (tmp_path / "runs" / "model").mkdir()
    check_place("runs/model")
    assert online == []


def test_a_repository_is_asked_for_once(online):
    check_place("somebody/model", "v1")
    assert online == ["/somebody/model/resolve/v1/config.json"]
    with pytest.raises(FileNotFoundError, match="no repository nobody/model that you may read"):
        check_place("nobody/model")
    assert len(online) == 2


def test_a_hub_that_cannot_be_reached(online, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + _PATH)
    with pytest.raises(FileNotFoundError, match="c/model, and the Hub cannot be"):
        check_place("c/model")


def test_commands_say_it_before_they_read(tmp_path, capsys):
    (tmp_path / "p.csv").write_text("post_id,text\n1,x\n")
    posts = ["--posts", str(tmp_path / "p.csv")]
    out = ["--output", str(tmp_path / "out")]
    for command in (
        ["embed", "--input", posts[1], *out, "--model", "./m"],
        ["convert", "--checkpoint", "./m", *out],
        ["pretrain", *posts, "--model_name_or_path", "./m", "--output_dir", out[1]],
        ["run", *posts, "--engagements", posts[1], "--model_name_or_path", "./m", *out],
    ):
        assert main(command) == 2
        assert "there is no ./m; give a folder" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="the Hub is not asked"):
        check_place("somebody/model")


def test_a_folder_of_old_sentence_transformers_is_named(tmp_path):
    (tmp_path / "0_Transformer").mkdir()
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "0_Transformer" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"lies in 0_Transformer inside.*save it again"):
        load_post_encoder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    check_place(str(tmp_path))


def test_adapters_that_stand_on_each_other(tmp_path):
    for name, base in (("a", "b"), ("b", "a"), ("c", "c")):
        (tmp_path / name).mkdir()
        content = f'{{"base_model_name_or_path": "{(tmp_path / base).as_posix()}"}}'
        (tmp_path / name / "adapter_config.json").write_text(content)
    for name in "abc":
        with pytest.raises(InputError, match="stand on each other in a circle"):
            model_fingerprint(str(tmp_path / name))
