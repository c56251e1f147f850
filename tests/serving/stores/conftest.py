"""A PostgreSQL with pgvector, for as long as the tests last."""

import pytest


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """Address of a database."""
    pytest.importorskip("psycopg")
    pgserver = pytest.importorskip("pgserver", reason="no PostgreSQL with pgvector to start")
    server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()
