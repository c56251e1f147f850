"""A PostgreSQL with pgvector, for as long as the tests last."""

import subprocess

import pytest


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    """Address of a database."""
    pytest.importorskip("psycopg")
    pgserver = pytest.importorskip("pgserver", reason="no PostgreSQL with pgvector to start")
    folder = tmp_path_factory.mktemp("pg")
    try:
        server = pgserver.get_server(folder, cleanup_mode="delete")
    except subprocess.TimeoutExpired:  # after 10 seconds, for which a busy disk makes it wait
        server = pgserver.get_server(folder, cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()
