"""What the readers share when they are fuzzed, so that an input costs its reading alone.

Whoever opens an engine of DuckDB gets one and the same, with temporary tables of its own; a command
has one parser; an option is read as a time once, and what reads times is a macro of the engine; a
query of the same tables is compiled once, and a table's columns are told without one; a config that
has not changed is not read again; weights that a file lacks are 0. What killed runs have left is
not looked for.
"""

from __future__ import annotations

import atexit
import copy
import functools
import itertools
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any


@functools.cache
def engine() -> Any:
    """The one engine."""
    from twhin_hf.tables import open_engine

    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(open_engine(threads=1))


def connection() -> Any:
    """DuckDB's own connection."""
    return engine().con


def clear_engine() -> None:
    """Drops what `read_table` leaves in an engine that goes on."""
    for (name,) in connection().execute("SHOW TABLES").fetchall():
        connection().execute(f'DROP VIEW IF EXISTS "{name}"')
    ((spill,),) = connection().execute("SELECT current_setting('temp_directory')").fetchall()
    for file in Path(spill).glob("*.parquet"):
        file.unlink()


def share_what_is_slow() -> None:
    """Makes once what takes ten times longer than to read a small file."""
    leave_abandoned()
    share_engine()
    share_parsers()
    share_times()
    share_queries()
    share_schemas()
    make_stores_late()
    share_models()


def leave_abandoned() -> None:
    """Does not look for what killed runs have left."""
    from twhin_hf import files, scratch

    scratch.remove_abandoned = files.remove_abandoned = lambda folder, pattern: None


def share_engine() -> None:
    """One engine for all who open one."""
    import duckdb
    import ibis

    from twhin_hf import engines, tables

    spill = engines.spill_folder(engine())
    open_anew = duckdb.connect

    def connect_bare(*given: Any, **named: Any) -> Any:
        return open_anew(*given, **named) if given or named else bare_engine().cursor()

    def connect(**options: Any) -> Any:
        backend = object.__new__(type(engine()))
        own = {"_record_batch_readers_consumed": {}, "_memtables": weakref.WeakSet()}
        con = parent(next(_CONNECTED) // 1000).cursor()
        vars(backend).update(vars(engine()), con=con, **own)
        return backend

    duckdb.connect = connect_bare
    ibis.duckdb.connect = connect
    engines.spill_folder = tables.spill_folder = lambda connection: spill
    tell_engine("SET GLOBAL TimeZone = 'UTC'")


_CONNECTED = itertools.count()


@functools.lru_cache(1)
def parent(number: int) -> Any:
    """Whose connections those of an input are.

    One looks through all that it has ever given, of which those that instrumented code keeps stay.
    """
    return connection().cursor()


@functools.cache
def bare_engine() -> Any:
    """The one of those who need no more than DuckDB's own."""
    import duckdb

    return duckdb.connect(":memory:")


def tell_engine(statement: str) -> None:
    """Runs a statement now, and again in an engine that takes this one's place."""
    connection().execute(statement)
    _TOLD.append(statement)


_TOLD: list[str] = []


def reopen_broken(error: BaseException | None) -> None:
    """Opens the engines anew after an input has broken one for all that come after.

    People's own go with the reading.
    """
    import duckdb

    while error is not None:
        if isinstance(error, duckdb.FatalException):
            bare_engine.cache_clear()
            engine().reconnect()
            parent.cache_clear()
            for statement in _TOLD:
                connection().execute(statement)
            return
        error = error.__cause__ or error.__context__


def share_parsers() -> None:
    """One parser for each command."""
    from twhin_hf.commands import declared, parsing

    options_of = declared.options_of
    parsing.command_parser = functools.cache(parsing.command_parser)
    options = functools.cache(lambda command: list(options_of(command)))
    declared.options_of = parsing.options_of = options


def share_times() -> None:
    """The long expressions that read times are in the engine, and their names in the queries."""
    from twhin_hf import timestamps
    from twhin_hf.network import log

    log.read_time = functools.cache(log.read_time)
    timestamps._seconds = as_macro(timestamps._seconds, "int64")
    timestamps._form = as_macro(timestamps._form, "string")


def as_macro(function: Callable[[Any], Any], kind: str) -> Callable[[Any], Any]:
    """What makes an expression of a column of strings, as a macro of DuckDB."""
    import ibis
    import sqlglot
    from sqlglot.expressions import Column, column

    table = ibis.table({"text": "string"}, name="texts")
    query = sqlglot.parse_one(ibis.to_sql(function(table.text), dialect="duckdb"), dialect="duckdb")
    body = query.expressions[0].unalias()
    body = body.transform(lambda node: column("text") if isinstance(node, Column) else node)
    name = f"fuzzed{function.__name__}"
    tell_engine(f"CREATE MACRO {name}(text) AS ({body.sql('duckdb')})")
    return ibis.udf.scalar.builtin(function, name=name, signature=(("string",), kind))


def share_queries() -> None:
    """A query like one of an earlier input is not compiled again: see `count_names_anew`."""
    from ibis import util

    backend = type(engine())
    compile_query = backend.compile

    @functools.lru_cache(1024)
    def compiled(query: Any, limit: Any) -> str:
        return compile_query(engine(), query.to_expr(), limit=limit)

    def compile_once(own: Any, query: Any, *, limit: Any = None, params: Any = None) -> str:
        return compiled(query.op(), limit)

    backend.compile = compile_once
    util.gen_name = lambda kind: f"ibis_{kind}_{next(_NUMBERS[0])}"


def share_schemas() -> None:
    """What Ibis asks of a table's columns is told from its binding, and their types read once."""
    import duckdb
    from ibis import schema
    from ibis.common.exceptions import TableNotFound

    backend = type(engine())
    read_type = functools.cache(backend.compiler.type_mapper.from_string)

    def get_schema(own: Any, name: str, *, catalog: Any = None, database: Any = None) -> Any:
        try:
            table = own.con.table(name)
        except duckdb.CatalogException:
            raise TableNotFound(name) from None
        return schema(dict(zip(table.columns, map(read_type, map(str, table.types)), strict=True)))

    backend.get_schema = get_schema


def make_stores_late() -> None:
    """The tables of an import are made where a file has been found to be a log."""
    from twhin_hf.network.sources.events import EventStore

    def late(first: Callable[..., Any]) -> Callable[..., Any]:
        def call(store: EventStore, *arguments: Any) -> Any:
            for made, given, named in vars(store).pop("waiting", ()):
                made(store, *given, **named)
            return first(store, *arguments)

        return call

    def wait(made: Callable[..., None]) -> Callable[..., None]:
        def call(store: EventStore, *given: Any, **named: Any) -> None:
            vars(store).setdefault("waiting", []).append((made, given, named))

        return call

    EventStore.__init__ = wait(EventStore.__init__)
    EventStore.set_variables = wait(EventStore.set_variables)
    EventStore.append, EventStore.skipped = late(EventStore.append), late(EventStore.skipped)


_NUMBERS = [itertools.count()]


def count_names_anew() -> None:
    """Gives the tables of the next input the names that those of this one had."""
    _NUMBERS[0] = itertools.count()


def share_models() -> None:
    """Configs are kept by their content, and layers have no random numbers."""
    import torch

    from twhin_hf.loading import adapters, auto, pretrained

    read = functools.lru_cache(16)(lambda name, revision, content: stock_config(name, revision))
    stock_config = auto.stock_config

    def kept_config(name: str | Path, revision: str | None = None) -> Any:
        path = Path(name, "config.json")
        content = path.read_bytes() if path.is_file() else None
        return copy.deepcopy(read(str(name), revision, content))

    auto.stock_config = adapters.stock_config = kept_config
    count = pretrained.num_weights
    counted: dict[str, int] = {}

    def counted_once(config: Any) -> int:
        content = str(vars(config))
        if content not in counted:
            counted[content] = count(config)
        return counted[content]

    pretrained.num_weights = counted_once
    for layer in (torch.nn.Linear, torch.nn.Embedding):
        layer.reset_parameters = lambda self: None
    torch.Tensor.normal_ = lambda weights, *arguments, **options: weights.zero_()
