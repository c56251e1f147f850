"""A command is a function, and its options are what the function takes."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from twhin_hf.commands.declared import GivenOptions, Option
from twhin_hf.commands.parsing import command_parser, parse_command, run_command, updated
from twhin_hf.commands.run import run
from twhin_hf.commands.spelling import RECIPES, find_config, spell_out
from twhin_hf.errors import InputError
from twhin_hf.network.log_config import LogConfig


@dataclass
class Sizes:
    """Sizes of things.

    Args:
        width: Width in tokens.
        layers: Sizes of the layers.
        kind: Kind of thing.
    """

    width: int = 8
    layers: list[int] | None = None
    kind: Literal["small", "large"] = "small"

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InputError(f"width is {self.width}; it must be 1 or more")


def make(
    posts: str,
    sizes: Sizes,
    columns: dict[str, str] | None = None,
    overrides: dict[str, Any] | None = None,
    languages: list[str] | None = None,
    rate: float = 0.5,
    bars: bool = True,
    shares: dict[str, float] | None = None,
    memory_limit: str = "1GB",
    given: GivenOptions = GivenOptions(),  # noqa: B008
) -> tuple:
    """Make a thing of posts.

    More about it.

    Args:
        posts: Posts to read.
        sizes: How large.
        columns: Rename columns: NAME=COLUMN.
        overrides: Values of another thing.
        languages: Languages to keep.
        rate: Learning rate.
        bars: Show bars.
        shares: Share of each.
        memory_limit: Memory limit of the reader.
        given: What was given.
    """
    return posts, sizes, columns, overrides, languages, rate, bars, given


def call(*options):
    return run_command(make, options, "twhin-hf make")


def test_defaults_are_those_of_the_function_and_the_dataclass():
    assert call("--posts", "p") == ("p", Sizes(), None, None, None, 0.5, True, {"posts"})


def test_lists_mappings_and_flags_are_written_as_people_write_them():
    found = call(
        "--posts=p", "--languages", "en", "ja", "--columns", "user_id=uid", "text=a=b",
        "--layers", "4", "2", "--no-bars", "--overrides", "size=3", "name=x", "--kind", "large",
    )  # fmt: skip
    assert found[1] == Sizes(layers=[4, 2], kind="large")
    assert found[2] == {"user_id": "uid", "text": "a=b"}
    assert found[3] == {"size": 3, "name": "x"}
    assert found[4] == ["en", "ja"]
    assert found[6] is False
    assert call("--posts", "p", "--languages", "1")[4] == ["1"]
    assert call("--posts", "p", "--bars", "--rate", "1")[5:7] == (1.0, True)
    assert call("--posts", "p", "--bars", "false")[6] is False
    assert call("--posts", "p", "--overrides", "{size: 3}")[3] == {"size": 3}


def test_ids_that_look_like_numbers_stay_text():
    assert call("--posts", "007", "--columns", "user_id=1")[::2][:2] == ("007", {"user_id": "1"})


def test_dashes_and_underscores_are_one():
    option = Option("batch_size", int, 1, "")
    assert spell_out(["--batch-size", "3"], [option]) == ["--batch_size=3"]


def test_fields_of_a_config_are_written_as_other_options():
    option = Option("log", LogConfig, LogConfig(), "")
    given = ["--log.columns", "user_id=who", "--log.relations", "like", "share", "--log.before=9"]
    assert spell_out(given, [option]) == [
        "--log.before=9",
        '--log.columns={"user_id": "who"}',
        '--log.relations=["like", "share"]',
    ]


def test_characters_beyond_two_bytes_are_read():
    found = call("--posts=p", "--languages", "en", "🌋", "--columns", "text=🌋")
    assert (found[4], found[2]) == (["en", "🌋"], {"text": "🌋"})


def test_options_go_over_the_config_and_the_config_over_defaults(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("width: 3\nlanguages: [de]\nrate: 1\n")
    found = call("--posts", "p", "--width", "5", "--config", str(path))
    assert (found[1].width, found[4], found[5]) == (5, ["de"], 1.0)
    assert found[-1] >= {"posts", "width"}
    assert "rate" not in found[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--posts", "p", "--width", "x"], "--width takes a whole number, not 'x'"),
        (["--posts", "p", "--kind", "huge"], "--kind is 'huge'; choose from small, large"),
        (["--posts", "p", "--layers", "1", "b"], r"--layers takes a list \(a whole number each\)"),
        (["--posts", "p", "--widht", "3"], "no option --widht; did you mean 'width'"),
        (["--posts", "p", "--wid", "3"], "no option --wid"),
        ([], "missing: --posts; `twhin-hf make --help` lists the options"),
        (["--posts", "p", "extra"], "'extra' belongs to no option"),
        (["--posts", "p", "--width", "0"], "width is 0; it must be 1 or more"),
        (["--posts", "p", "--memory_limit", "abc"], "memory_limit is 'abc'; needed is a size"),
        (
            ["--posts", "p", "--shares", "like=x"],
            r"--shares takes NAME=VALUE pairs \(a number each\), not \"{'like': 'x'}\"$",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(options, message):
    with pytest.raises(ValueError, match=message) as told:
        call(*options)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("widht: 3\n", "unknown key 'widht'; did you mean 'width'"),
        ("width: 3.5\n", "line 1: width takes a whole number, not '3.5'"),
        ("languages: en\n", r"line 1: languages takes a list \(text each\), not 'en'"),
        ("width:\n", "line 1: width is empty; needed is a whole number. Leave the line out for"),
        ("posts:\n\t- a\n", "line 2: no YAML: .*by blanks"),
        ("- 3\n", "holds no `key: value` lines"),
        ("width: 3\nposts: p\nwidth: 4\n", "line 3: width stands there twice"),
    ],
)
def test_a_config_is_checked_whole(text, message, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        call("--posts", "p", "--config", str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "output: x\nnetwork: 3\n",
            "line 2: network is 3; needed are `key: value` lines of m",
        ),
        (
            "log:\n  min_user_degree: many\n",
            "line 2: log.min_user_degree takes a whole number, not",
        ),
        (
            "log:\n  min_usr_degree: 2\n",
            "line 2: .* 'log.min_usr_degree'; did you mean ",
        ),
        ("output: x\nseeds: 3\n", r"line 2: seeds takes a list \(a whole number each\), not '3'"),
        (
            "output: x\nencoder: {3: 4}\n",
            "encoder has the key 3, which YAML does not take for text",
        ),
        ("output: x\nstage1: {m: 4, 3: 3}\n", "stage1 has the key 3, which"),
        ("output: x\nobjectives: {~: {social_weight: 1}}\n", "objectives has the key None, which"),
        ("output: x\nobjectives: {a: {7: 1}}\n", "objectives has the key 7, which"),
        ("output: x\nadd_tokens: [a]\nsettings: {no: 1}\n", "settings has the key False, which"),
    ],
)
def test_a_config_of_configs_is_checked_before_any_work(text, message, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        parse_command(run, ["--config", str(path)], "twhin-hf run")


def test_recipes_are_found_by_name_and_the_nearest_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("quickstart") == RECIPES / "quickstart.yaml"
    with pytest.raises(FileNotFoundError, match="no config file quickstrat; did you mean 'quick"):
        find_config("quickstrat")
    with pytest.raises(FileNotFoundError, match="recipes of the package are "):
        find_config("zzz")


@pytest.mark.parametrize("name", ["posts", "output"])
def test_an_empty_name_is_told(name):
    """As of a variable of the shell that is not set."""

    def show(posts: str, output: str = "out", title: str = "A title") -> tuple[str, ...]:
        """Show it.

        Args:
            posts: Posts.
            output: Output.
            title: Title.
        """
        return posts, output, title

    assert run_command(show, ["--posts", "a", "--title", ""], "x") == ("a", "out", "")
    with pytest.raises(InputError, match=f"--{name} is empty"):
        run_command(show, ["--posts", "a", f"--{name}", ""], "x")


def test_help_groups_options_and_says_each_default_once(capsys):
    command_parser(make, "twhin-hf make").print_help()
    printed = capsys.readouterr().out
    assert printed.startswith("usage: twhin-hf make --posts POSTS [OPTIONS]\n\nMake a thing")
    shown = " ".join(printed.split())
    assert shown.index("--posts POSTS Posts") < shown.index("Sizes of things:")
    assert shown.index("Sizes of things:") < shown.index("--width WIDTH")
    assert "Posts to read. (required)" in shown
    assert "--kind {small,large} Kind of thing. (default: small)" in shown
    assert "--columns NAME=COLUMN [...]" in shown
    assert "--no_bars turns it off" in shown
    assert "given" not in shown


def test_updated_changes_what_it_names_and_checks_it():
    assert updated([Sizes(), Sizes()], {}, "x") == [Sizes(), Sizes()]
    (changed,) = updated([Sizes(width=2)], {"layers": [1], "kind": "large"}, "a stage")
    assert changed == Sizes(2, [1], "large")
    with pytest.raises(ValueError, match="a stage has an unknown key 'with'; did you mean 'width'"):
        updated([Sizes()], {"with": 1}, "a stage")
    with pytest.raises(ValueError, match="a stage: --width takes a whole number"):
        updated([Sizes()], {"width": "x"}, "a stage")


def test_a_parameter_before_the_slash_needs_no_name():
    def show(shell: Literal["bash", "zsh"] = "bash", /, more: int = 0) -> tuple[str, int]:
        """Show it.

        Args:
            shell: Shell.
            more: More.
        """
        return shell, more

    assert run_command(show, ["zsh", "--more", "2"], "x") == ("zsh", 2)
    assert run_command(show, ["--shell", "zsh"], "x") == ("zsh", 0)
    assert parse_command(show, [], "x") == {"shell": "bash", "more": 0}


def test_a_list_before_the_slash_stands_behind_other_options_too():
    def show(paths: list[str], /, *, more: int = 0, quick: bool = False) -> tuple:
        """Show it.

        Args:
            paths: Paths.
            more: More.
            quick: Be quick.
        """
        return paths, more, quick

    expected = (["a", "b-c"], 2, True)
    for line in ("a b-c --more 2 --quick", "--quick --more 2 a b-c", "a --more 2 b-c --quick"):
        assert run_command(show, line.split(), "x") == expected
    assert run_command(show, ["--paths", "a", "b"], "x") == (["a", "b"], 0, False)
    assert run_command(show, ["--more=1", "a"], "x") == (["a"], 1, False)
    with pytest.raises(ValueError, match="missing: --paths"):
        run_command(show, ["--more", "1"], "x")


def test_a_default_of_zero_is_shown(capsys):
    def command(seed: int = 0, share: float = 0.0, quick: bool = False) -> None:
        """Do.

        Args:
            seed: Seed.
            share: Share.
            quick: Be quick.
        """

    command_parser(command, "do").print_help()
    shown = capsys.readouterr().out
    assert "Seed. (default: 0)" in shown
    assert "Share. (default: 0.0)" in shown
    assert "Be quick.\n" in shown


def test_what_an_optional_dataclass_refuses_is_told_in_one_line(tmp_path):
    def command(sizes: Sizes | None = None) -> None:
        """Do.

        Args:
            sizes: Sizes.
        """

    config = tmp_path / "a.yaml"
    config.write_text("sizes: {width: 0}")
    for arguments in ([f"--config={config}"], ["--sizes.width=0"]):
        with pytest.raises(InputError) as told:
            parse_command(command, arguments, "do")
        assert str(told.value) == "--sizes: width is 0; it must be 1 or more"
