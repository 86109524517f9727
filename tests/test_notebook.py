"""The notebook of the docs, and what a notebook shows of a run."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from places import ROOT

jupyter_client = pytest.importorskip("jupyter_client")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

NOTEBOOK = ROOT / "docs" / "tutorials" / "notebook.ipynb"
BAR = """\
import time
from livo_bench.bars import bar, status
with status("loading models"):
    pass
with bar() as progress:
    task = progress.add_task("sampling", total=3)
    for _ in range(3):
        progress.advance(task)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a notebook of a checkout runs, which writes nothing into the checkout."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mini").symlink_to(ROOT / "results" / "mini")
    place = tmp_path / "docs" / "tutorials"
    place.mkdir(parents=True)
    return place


def executed(notebook: Any, folder: Path, **options: Any) -> Any:
    resources = {"metadata": {"path": str(folder)}}
    # Files as sockets: nothing of ours listens on a port. Their paths have to be short.
    with TemporaryDirectory() as sockets:
        manager = jupyter_client.AsyncKernelManager(
            kernel_name="python3", transport="ipc", ip=f"{sockets}/kernel"
        )
        client = nbclient.NotebookClient(notebook, km=manager, resources=resources, **options)
        return client.execute(cleanup_kc=True)


def outputs(notebook: Any) -> Iterator[dict[str, Any]]:
    """Data by MIME type of what cells show."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if "data" in output:
                yield output["data"]


def test_the_notebook_reads_results_draws_the_trade_off_and_compares(folder: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    notebook.cells.append(nbformat.v4.new_code_cell(BAR))
    done = executed(notebook, folder, skip_cells_with_tag="samples")
    shown = list(outputs(done))
    assert [sorted(data) for data in shown[:3]] == [
        ["text/html", "text/plain"],
        ["image/png", "text/plain"],
        ["text/html", "text/plain"],
    ]
    status, sampling = (data["text/plain"] for data in shown[3:])
    assert status == "loading models: done"
    assert "sampling ━" in sampling
    assert "3/3" in sampling


@pytest.mark.slow
def test_the_whole_notebook_runs_and_its_bars_end_full(folder: Path) -> None:
    done = executed(nbformat.read(NOTEBOOK, as_version=4), folder)
    said = [data["text/plain"] for data in outputs(done)]
    assert any("6/6 images" in line for line in said)  # LiVO leaves odd images as they are
    assert "livo" in said[-1]
    assert (folder / "my-runs" / "mini").is_dir()
    errors = [out for cell in done.cells for out in cell.get("outputs", ()) if "ename" in out]
    assert not errors
