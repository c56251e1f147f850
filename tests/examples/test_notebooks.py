"""The notebooks run top to bottom on what they generate, and what they show makes sense."""

import ast
import asyncio
import re
from pathlib import Path

import pytest

pytest.importorskip("ipykernel")
pytest.importorskip("nbclient")

import nbclient
import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def run(name, figures, folder, monkeypatch):
    """Runs a notebook in a process and folder of its own.

    Args:
        name: of the file.
        figures: an expression of the notebook's variables.
        folder: where it runs.
        monkeypatch: sets the process's environment.

    Returns:
        The value of `figures` when the last cell has run.
    """
    # Nothing of the user's Jupyter is read or written, and figures do not hang on the cores.
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(folder / "jupyter"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # What tqdm says where ipywidgets is not installed; no notebook shows a bar of its.
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress not found")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(figures))
    # Without a folder of kernels there is one left: that of this interpreter.
    manager = AsyncKernelManager(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = nbclient.NotebookClient(
        notebook, km=manager, timeout=600, resources={"metadata": {"path": str(folder)}}
    )
    asyncio.run(client.async_execute())
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output.text
    return ast.literal_eval(notebook.cells[-1].outputs[0]["data"]["text/plain"])


def test_quickstart(tmp_path, monkeypatch):
    on_topic, hits = run("quickstart", "on_topic, hits", tmp_path, monkeypatch)
    # By chance an eighth is on the topic: the words do not tell, and the users do.
    assert on_topic["untrained"] < 0.2
    assert on_topic["pretrained"] > 0.5
    assert sum(hits["pretrained"]) > 1.1 * sum(hits["untrained"])


def test_align_two_languages(tmp_path, monkeypatch):
    figures = "accuracy, {name: found.cosine for name, found in distances.items()}"
    accuracy, distance = run("align_two_languages", figures, tmp_path, monkeypatch)
    assert accuracy["before"] < 0.05
    assert accuracy["after"] > 0.7
    assert distance["after"] > 0


def test_recommender(tmp_path, monkeypatch):
    recall, chance = run("recommender", "float(recall), chance", tmp_path, monkeypatch)
    assert recall > 4 * chance


def test_week(tmp_path, monkeypatch):
    figures = "{(kind, name): float(table.loc[kind][name].mean()) for kind in "
    figures += "table.index.levels[0] for name in table}"
    recall = run("week", figures, tmp_path, monkeypatch)
    assert recall["today's posts", "update"] > 0.3
    assert recall["today's posts", "popular"] == 0
    assert recall["yesterday's posts", "update"] > 1.05 * recall["yesterday's posts", "never"]
    assert recall["yesterday's posts", "fold-in"] > 1.05 * recall["yesterday's posts", "never"]
    assert recall["yesterday's posts", "update"] > 2 * recall["yesterday's posts", "popular"]


def test_notebooks_are_stored_without_outputs():
    assert len(NOTEBOOKS) == 4
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                assert not cell.outputs, f"{path.name}: clear the outputs before you save"
                assert cell.execution_count is None, path.name
        assert notebook.metadata.kernelspec.name == "python3"
        links = [
            link
            for cell in notebook.cells
            if cell.cell_type == "markdown"
            for link in re.findall(r"\]\(([^)]+)\)", cell.source)
        ]
        assert not [link for link in links if not (FOLDER / link).exists()], path.name
