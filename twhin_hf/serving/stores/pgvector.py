"""Vectors in a table of PostgreSQL with pgvector; each batch is one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pyarrow as pa

from twhin_hf.credentials import without_secrets
from twhin_hf.errors import InputError
from twhin_hf.serving.hits import Hits
from twhin_hf.serving.index.index_config import Metric
from twhin_hf.serving.stores.store import VectorStore, check_installed, hits_of, matrix

_PERMANENT = ("authentication failed", "does not exist", "permission denied")


class PgvectorStore(VectorStore):
    """A table with the columns `post_id`, `embedding` and those of the payload.

    It is made with the first batch, and searched exactly unless somebody has built an index on it.

    Args:
        place: As `open_store` takes it.
        address: Of the database, `postgresql://…`.
        table: Name of the table, maybe with its schema's and a dot.
        metric: What it is searched by.
    """

    def __init__(self, place: str, address: str, table: str, metric: Metric = "cosine"):
        super().__init__(place, metric)
        check_installed("pgvector", "psycopg", "pgvector")
        self.address, self.table = address, table
        self._open: Any = None

    def count(self) -> int:
        """Number of vectors."""
        if self.dimension() is None:
            return 0
        with self._transaction() as connection:
            return self._run(connection, "SELECT count(*) FROM {}").fetchone()[0]

    def dimension(self) -> int | None:
        """Dimension of the vectors."""
        with self._transaction() as connection:
            found = connection.execute(
                "SELECT atttypmod, format_type(atttypid, NULL) FROM pg_attribute "
                "WHERE attrelid = to_regclass(%s) AND attname = 'embedding'",
                [self._name().as_string(connection)],
            ).fetchone()
        if found is not None and found[1] != "vector":
            raise InputError(f"The column embedding of {self.place} is {found[1]}, not vector.")
        return None if found is None else found[0]

    def close(self) -> None:
        """Closes the connection."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _write(self, table: pa.Table) -> None:
        from psycopg import sql

        vectors = matrix(table)
        others = table.drop_columns(["post_id", "embedding"])
        kinds = {field.name: _kind(field) for field in others.schema}
        names = [sql.Identifier(name) for name in ("post_id", "embedding", *kinds)]
        columns = sql.SQL(", ").join(names)
        changes = sql.SQL(", ").join(
            sql.SQL("{0} = EXCLUDED.{0}").format(name) for name in names[1:]
        )
        with self._transaction() as connection:
            extra = [
                sql.SQL(", {} {}").format(sql.Identifier(name), sql.SQL(kind))
                for name, kind in kinds.items()
            ]
            self._run(
                connection,
                "CREATE TABLE IF NOT EXISTS {} (post_id text PRIMARY KEY, "
                f"embedding vector({vectors.shape[1]}) NOT NULL" + "{})",
                sql.SQL("").join(extra),
            )
            self._run(
                connection, "CREATE TEMP TABLE batch (LIKE {} INCLUDING DEFAULTS) ON COMMIT DROP"
            )
            into = sql.SQL("COPY batch ({}) FROM STDIN WITH (FORMAT BINARY)").format(columns)
            with connection.cursor() as cursor, cursor.copy(into) as copy:
                copy.set_types(["text", "vector", *kinds.values()])
                values = [column.to_pylist() for column in others.columns]
                for row in zip(table["post_id"].to_pylist(), vectors, *values, strict=True):
                    copy.write_row(row)
            self._run(
                connection,
                "INSERT INTO {} ({}) SELECT {} FROM batch ON CONFLICT (post_id) DO UPDATE SET {}",
                columns,
                columns,
                changes,
            )

    def _delete(self, ids: pa.Array) -> None:
        with self._transaction() as connection:
            self._run(
                connection, "DELETE FROM {} WHERE post_id = ANY(%s)", values=[ids.to_pylist()]
            )

    def _search(self, queries: np.ndarray, k: int) -> Hits:
        # Distances: 1 less the cosine, and the inner product with its sign turned.
        score, order = ("1 - (embedding <=> %s)", "<=>")
        if self.metric == "inner_product":
            score, order = ("-(embedding <#> %s)", "<#>")
        text = f"SELECT post_id, {score} FROM {{}} ORDER BY embedding {order} %s LIMIT %s"
        with self._transaction() as connection:
            return hits_of(
                [
                    self._run(connection, text, values=[query, query, k]).fetchall()
                    for query in queries
                ]
            )

    def _name(self) -> Any:
        from psycopg import sql

        return sql.Identifier(*self.table.split("."))

    def _run(self, connection: Any, text: str, *parts: Any, values: Any = None) -> Any:
        """Runs a statement whose first `{}` is the table."""
        from psycopg import sql

        return connection.execute(sql.SQL(text).format(self._name(), *parts), values)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """An open connection; what the block does is done whole or not at all."""
        import psycopg

        connection = self._connection()
        try:
            with connection.transaction():
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self.close()
            raise ConnectionError(f"{self.place} cannot be reached: {_said(error)}") from None
        except psycopg.Error as error:
            raise InputError(f"{self.place} refuses: {_said(error)}") from None

    def _connection(self) -> Any:
        import psycopg
        from pgvector.psycopg import register_vector

        if self._open is not None and not self._open.closed:
            return self._open
        try:
            connection = psycopg.connect(self.address, autocommit=True, connect_timeout=10)
        except psycopg.OperationalError as error:
            text = f"{self.place} cannot be reached: {_said(error)}"
            if any(words in text for words in _PERMANENT):
                raise InputError(text) from None
            raise ConnectionError(text) from None
        except (psycopg.Error, ValueError):
            # What is said of an address that cannot be read may show its password.
            raise InputError(
                f"{self.place} is no address of PostgreSQL; needed is "
                "postgresql://USER@HOST:PORT/DATABASE#TABLE, other characters written as %20."
            ) from None
        try:
            # Another process may make it at this moment.
            with suppress(psycopg.errors.UniqueViolation):
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(connection)
        except psycopg.Error as error:
            if connection.broken:
                raise ConnectionError(f"{self.place} was closed: {_said(error)}") from None
            connection.close()
            raise InputError(
                f"{self.place} has no extension vector, and it cannot be made: {_said(error)}. "
                "Install pgvector on the server."
            ) from None
        self._open = connection
        return connection


def _kind(field: pa.Field) -> str:
    """The type of a column in PostgreSQL."""
    tests = {
        "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        "bool": pa.types.is_boolean,
        "int8": pa.types.is_signed_integer,
        "float8": pa.types.is_floating,
        "timestamptz": pa.types.is_timestamp,
    }
    found = next((name for name, is_kind in tests.items() if is_kind(field.type)), None)
    if found is None:
        raise InputError(
            f"The column {field.name} is {field.type}; a table of PostgreSQL takes text, whole "
            "numbers, numbers, true and false, and times here."
        )
    return found


def _said(error: Exception) -> str:
    return without_secrets(" ".join(str(error).split()))[:300]
