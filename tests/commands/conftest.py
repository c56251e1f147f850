from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def results_may_be_published(monkeypatch):
    """Holds every evaluation to options and details that a push knows, and so leaves in."""
    from twhin_hf.commands import options
    from twhin_hf.hub.public_results import public_results

    save = options.save_results

    def save_and_look(results, output, *others):
        save(results, output, *others)
        assert public_results(Path(output) / "results.json", "me/name")[1] == []

    monkeypatch.setattr(options, "save_results", save_and_look)
