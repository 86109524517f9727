"""The page of a run that goes: what it serves, to whom, and how it ends."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import chromium
import processes
import pytest
import written_store
from written_pages import write_method
from written_results import bias_images

from livo_bench.errors import BadInput
from livo_bench.report.view import Watched, view
from livo_bench.runs.store import Store


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path, subprocess.Popen[str]]]:
    runs = tmp_path / "runs"
    for method, males in [("sd", [3, 1, 4, 0, 2]), ("other", [0, 1, 2, 3, 4])]:
        write_method(runs, bias_images(males), method)
    words = [sys.executable, "-m", "livo_bench.cli", "view", str(runs), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[0], runs, process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool]) -> None:
    """Ask now and then: asked without a pause, the server would do nothing else."""

    def asked() -> bool:
        time.sleep(0.5)
        return condition()

    processes.wait_for(asked)


def read(address: str, **headers: str) -> str:
    with urlopen(Request(address, headers=headers)) as answer:
        return str(answer.read().decode())


def test_it_shows_images_as_they_come_and_the_report_and_ends_with_ctrl_c(
    served: tuple[str, Path, subprocess.Popen[str]],
) -> None:
    address, runs, process = served
    stored = len(Store(runs, "mini").sample_keys())
    assert stored
    wait_for(lambda: f"{stored} images made, 0 of them" in read(f"{address}live"))
    wait_for(lambda: 'data-version="1"' in read(f"{address}live"))
    assert "What changes against" in read(f"{address}report/index.html")
    for secret in ("report/../../runs/sd/bias/run.json", "etc/passwd", "report/%2e%2e/x"):
        with pytest.raises(HTTPError, match="404"):
            read(address + secret)
    with pytest.raises(HTTPError, match="403"):
        read(address, Host="example.org")

    browser = chromium.start() if shutil.which("chromium") else None
    if browser is not None:
        browser.get(address)
        look = "return getComputedStyle(document.querySelector('#live img')).filter"
        assert "blur" in browser.execute_script(look)
        browser.find_element("id", "show").click()
        assert browser.execute_script(look) == "none"
    written_store.write(Store(runs, "mini"), 0, 2)
    processes.wait_for(
        lambda: f"{stored + 2} images made, 2 of them since" in read(f"{address}live")
    )
    if browser is not None:
        told = "return document.getElementById('live').textContent"
        wait_for(lambda: "2 of them since" in browser.execute_script(told))
        assert [said for said in browser.get_log("browser") if said["level"] == "SEVERE"] == []
        browser.quit()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(processes.SECONDS) == 0


def test_no_folder_a_taken_port_and_a_path_for_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"There is no folder .*missing"):
        view(tmp_path / "missing")
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"Port {port} of 127.0.0.1 cannot be had"):
            view(tmp_path, port=port)
    with pytest.raises(BadInput, match="is no name of a model's results"):
        view(tmp_path, model="../elsewhere")


def test_what_is_not_finished_is_said_and_not_an_end(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "mini", tmp_path / "report")
    (tmp_path / "mini" / "sd" / "bias").mkdir(parents=True)
    (tmp_path / "mini" / "sd" / "bias" / "aggregates.csv").write_text("{")
    watched.look()
    assert (watched.images, watched.version) == (0, 0)
    assert watched.trouble
