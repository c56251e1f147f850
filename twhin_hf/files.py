"""Files and folders that appear whole or not at all, and what a folder holds.

Each is written under a temporary name beside its place, and renamed when it is finished, so that a
process that dies in between leaves what was there before. Temporary names begin with a dot, and
whatever reads a folder skips those.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import glob
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twhin_hf.errors import WRONG_CONTENT, InputError, reading
from twhin_hf.scratch import is_abandoned, owner, remove_abandoned, scratch_folder

_MOST_VALUES = 100_000
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_HIDDEN = (".", "_")


@contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path that takes the place of `path` when the block ends without an error.

    Several in one `contextlib.ExitStack` appear together: none of them before all are written. A
    link is followed: what it leads to is replaced, and not the link.

    Args:
        path: The file; its folder is made.

    Yields:
        The path to write to, in the same folder and with the same ending.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with new_file(folder / "a.txt") as path:
        ...     _ = path.write_text("whole")
        >>> [file.name for file in folder.iterdir()]
        ['a.txt']
    """
    path = followed(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stem, ending = glob.escape(path.stem), glob.escape(path.suffix)
    remove_abandoned(path.parent, f".{stem}.*.partial{ending}")
    partial = path.with_name(f".{path.stem}.{owner()}.partial{path.suffix}")
    try:
        yield partial
        flush(partial)
        os.replace(partial, path)
        flush_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends without an error.

    A folder that is there already is replaced as a whole, and stays where that fails. A link to a
    folder is followed.

    Args:
        path: The folder; the one above it is made.

    Yields:
        The folder to write in, beside `path`.

    Raises:
        FileExistsError: A file has the name.
        InputError: A disk is mounted there.
    """
    path = followed(path)
    if path.is_file():
        raise FileExistsError(f"{path} is a file; give the name of a folder.")
    if os.path.ismount(path):
        raise InputError(
            f"{path} is where a disk is mounted, and cannot be replaced as a whole; give the name "
            "of a folder in it"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    _restore(path)
    remove_abandoned(path.parent, f".{glob.escape(path.name)}.*.partial")
    partial = path.with_name(f".{path.name}.{owner()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                flush(file)
        _replace_folder(path, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a JSON file of indented lines, whole or not at all.

    Raises:
        InputError: NaN or infinity among the numbers, which JSON has no word for.
        TypeError: A value that JSON has no word for.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file.

    Raises:
        FileNotFoundError: No such file.
        InputError: The file is not UTF-8.
    """
    with reading(path, "Needed is a text file in UTF-8."):
        return Path(path).read_text(encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value of a JSON file.

    Raises:
        FileNotFoundError: No such file.
        InputError: The file is not JSON in UTF-8, or nested too deep.
    """
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def parse_json(text: str) -> Any:
    """The value of a JSON text, halves of characters (lone surrogates) in it replaced by U+FFFD.

    Raises:
        json.JSONDecodeError: It is not JSON, or nested too deep.

    Example:
        >>> parse_json('["a\\\\ud83d", "\\\\ud83c\\\\udf0b"]')
        ['a�', '🌋']
    """
    try:
        value = json.loads(text)
        if _HALF.search(text):
            halved = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass")
            value = json.loads(halved.decode("utf-16", "replace"))
    except RecursionError as error:
        raise json.JSONDecodeError("it is nested too deep", text, 0) from error
    return value


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        FileNotFoundError: No such file.
        InputError: The file is not JSON in UTF-8, nested too deep, or holds another value.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {type(content).__name__}; needed is a JSON object.")
    return content


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """The value of a YAML file; dates and times stay text, as options take them.

    Raises:
        FileNotFoundError: No such file.
        InputError: The file is not YAML in UTF-8; the line is told where it is known.
    """
    import yaml

    text = read_text(path)
    try:
        with reading(path, "Needed is YAML.", (*WRONG_CONTENT, AssertionError)):
            value = yaml.load(text, _yaml_loader())
            if _size(value) > _MOST_VALUES:
                raise InputError(
                    f"{path} repeats its aliases to more than {_MOST_VALUES:,} values; write them "
                    "out."
                )
            return value
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        tab = "; indent by blanks, not by tabs" if "'\\t'" in str(error.problem) else ""
        raise InputError(f"{path}, line {line}: no YAML: {error.problem}{tab}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())}") from error


def _yaml_loader() -> Any:
    """What `yaml.safe_load` loads by, without dates."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


def _size(value: Any) -> int:
    """How many values there are if those that are there by an alias are counted each time."""
    sizes: dict[int, int] = {}

    def of(value: Any) -> int:
        if not isinstance(value, (dict, list)):
            return 1
        if id(value) not in sizes:
            inner = value.values() if isinstance(value, dict) else value
            sizes[id(value)] = 1 + sum(map(of, inner))
        return sizes[id(value)]

    return of(value)


def list_files(path: str | os.PathLike[str]) -> list[Path]:
    """The file itself, or the files of a folder and its subfolders, sorted by their paths.

    Names that begin with "." or "_" are left out of a folder, as are the folders of such names.

    Raises:
        FileNotFoundError: No such file or folder.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. Check the path of the file or folder.")
    return [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file()
        and not any(part.startswith(_HIDDEN) for part in file.relative_to(path).parts)
    ]


def process_folder() -> Path:
    """A temporary folder, one a process, that is deleted when the process ends."""
    return _process_folder()


@functools.cache
def _process_folder() -> Path:
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(scratch_folder())


def followed(path: str | os.PathLike[str]) -> Path:
    """Where a link leads, whether anything is there or not; any other path as it is."""
    path = Path(path)
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def recover(path: str | os.PathLike[str]) -> None:
    """Ends what killed processes of this machine had begun to write at a path, and inside a folder.

    A folder that was set aside is put back where its new one is missing; else it goes, and so does
    all that is half written.
    """
    path = followed(path)
    _restore(path)
    remove_abandoned(path.parent, f".{glob.escape(path.stem)}.*.partial*")
    if path.is_dir():
        for folder in [path, *(inner for inner in path.rglob("*") if inner.is_dir())]:
            for old in folder.glob(".*.old"):
                name = old.name.removesuffix(".old").rpartition(".")[0]
                _restore(folder / name.removeprefix("."))
            remove_abandoned(folder, ".*.partial*")


def flush(path: Path) -> None:
    """Waits until a file is on the disk: a rename may otherwise get there first."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Waits until the names in a folder are on the disk, where the system can."""
    with contextlib.suppress(OSError):
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _replace_folder(path: Path, new: Path) -> None:
    """Renames `new` to `path`; what is there stays aside until that is done."""
    old = path.with_name(f".{path.name}.{owner()}.old")
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    flush_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _restore(path: Path) -> None:
    """Puts a folder back that a killed process had set aside, and removes what it need not have."""
    for old in path.parent.glob(f".{glob.escape(path.name)}.*.old"):
        if is_abandoned(old.name):
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(old, path)
