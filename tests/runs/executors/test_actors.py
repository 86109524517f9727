"""Blocks done by actors of Ray end as blocks done by this process."""

from __future__ import annotations

import os
import re
import signal
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import SECONDS, start, wait_for, whole_command
from stand_in_ray import AuthenticationError, StandInRay
from written_inputs import Asked, write_method
from written_store import files

from livo_bench.errors import AdapterFailed, BadInput, Incomplete
from livo_bench.records import Recipe
from livo_bench.runs import runner
from livo_bench.runs.executors import actors, ray_cluster
from livo_bench.runs.executors.actors import Actor, Actors
from livo_bench.runs.executors.command import Command, bases
from livo_bench.runs.requests import prepare
from livo_bench.runs.work import by_weights, works_of


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> StandInRay:
    stand_in = StandInRay()
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", *ray_cluster.LOOPBACK, *ray_cluster.UNREPORTED):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    return stand_in


def test_blocks_done_by_actors_are_those_of_a_plain_run(
    whole: tuple[Asked, Path], tmp_path: Path, ray: StandInRay, caplog: pytest.LogCaptureFixture
) -> None:
    options, expected = whole
    runner.run(**options | {"runs": tmp_path, "executor": "ray"})
    assert files(tmp_path) == files(expected)
    assert len(ray.actors) == 2  # one a core
    assert ray.options["max_restarts"] == -1
    assert ray.options["max_task_retries"] == actors.DEATHS - 1
    assert "listens on 127.0.0.1 and nowhere else, asks for a token" in caplog.text
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert not ray.connected


def test_ray_that_is_not_installed_is_named_with_its_extra(
    whole: tuple[Asked, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"not installed.*pip install 'livo-bench\[ray\]'"):
        runner.run(**whole[0] | {"runs": tmp_path, "executor": "ray"})


@pytest.mark.parametrize(
    ("address", "raised", "said"),
    [
        ("10.0.0.1:6379", ConnectionError("nobody. There"), "cannot be used: nobody"),
        ("10.0.0.1:6379", RuntimeError("Version mismatch: 2.1"), "Version mismatch: 2.1"),
        ("10.0.0.1:6379", AuthenticationError("no token"), "asks for a token: no token"),
        ("ray://10.0.0.1:1", None, "expected HOST:PORT or auto"),
    ],
)
def test_a_cluster_that_is_not_reached_is_named(
    whole: tuple[Asked, Path],
    tmp_path: Path,
    ray: StandInRay,
    address: str,
    raised: Exception | None,
    said: str,
) -> None:
    ray.init_raises = raised
    with pytest.raises(BadInput, match=re.escape(said)) as caught:
        runner.run(**whole[0] | {"runs": tmp_path, "executor": "ray", "address": address})
    assert address in str(caught.value)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_cluster_that_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, ray: StandInRay
) -> None:
    monkeypatch.setattr(ray_cluster, "SECONDS", 0)
    with (
        pytest.raises(BadInput, match="did not answer in 0 seconds"),
        ray_cluster.connected("10.0.0.1:6379", None),
    ):
        pass


def test_an_address_of_another_executor_is_refused(
    whole: tuple[Asked, Path], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="--address auto"):
        runner.run(**whole[0] | {"runs": tmp_path, "address": "auto"})


def test_a_cluster_without_a_token_is_said_to_be_open(
    monkeypatch: pytest.MonkeyPatch, ray: StandInRay, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with ray_cluster.connected("10.0.0.1:6379", None):
        pass
    assert "asks for no token: whoever reaches it runs code there" in caplog.text


def test_an_actor_that_plans_something_else_refuses_to_work(
    whole: tuple[Asked, Path], tmp_path: Path, ray: StandInRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, jobs = prepare(**whole[0])
    of_this = {**bases(session, works_of(session, jobs)), "torch": "0.1"}
    monkeypatch.setattr(actors, "bases", lambda session, works: of_this)
    with pytest.raises(BadInput, match=r"would not do the same work: torch is .* and '0.1' here"):
        runner.run(**whole[0] | {"runs": tmp_path, "executor": "ray"})
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_block_that_actors_die_of_ends_the_run_with_its_name(
    whole: tuple[Asked, Path], tmp_path: Path, ray: StandInRay
) -> None:
    ray.dies = lambda actor, id: len(ray.given) > 2
    with pytest.raises(Incomplete, match=r"3 workers died over block [0-9a-f]{32}.*actor died"):
        runner.run(**whole[0] | {"runs": tmp_path, "executor": "ray"})
    assert ray.cancelled
    assert not ray.connected


def test_what_an_actor_raises_is_raised_here(
    whole: tuple[Asked, Path], tmp_path: Path, ray: StandInRay
) -> None:
    broken = write_method(tmp_path / "broken", generate="raise ValueError('lost in a worker')")
    options = whole[0] | {"methods": [broken], "runs": tmp_path / "runs", "executor": "ray"}
    with pytest.raises(AdapterFailed) as caught:
        runner.run(**options)
    assert "lost in a worker" in str(caught.value.__cause__)


def test_what_hangs_is_done_by_another_actor(
    whole: tuple[Asked, Path], tmp_path: Path, ray: StandInRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "PATIENCE", 0.1)
    ray.hangs = lambda actor, id: actor == 1
    runner.run(**whole[0] | {"runs": tmp_path, "executor": "ray"})
    assert files(tmp_path) == files(whole[1])


def test_an_actor_that_stores_elsewhere_is_refused(
    whole: tuple[Asked, Path], tmp_path: Path, ray: StandInRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Actor, "do", lambda self, id: actors.Said(where="node 7, process 1", warnings=[])
    )
    with pytest.raises(BadInput, match=r"worker on node 7.* is not in .* here.*--runs DIR"):
        runner.run(**whole[0] | {"runs": tmp_path, "executor": "ray"})


@pytest.mark.parametrize(
    ("asked", "resources", "workers", "expected"),
    [
        ("auto", {"CPU": 8, "GPU": 3}, None, ("cuda", 3)),
        ("auto", {"CPU": 8}, None, ("cpu", 8)),
        ("cpu", {"CPU": 8, "GPU": 3}, 5, ("cpu", 5)),
        ("cuda", {"CPU": 8}, None, "Some workers need a GPU each, and Ray has 0"),
        ("auto", {"CPU": 8, "GPU": 2}, 3, "3 workers need a GPU each, and Ray has 2"),
        ("cuda:1", {"GPU": 2}, None, "names one device of one machine"),
    ],
)
def test_each_actor_has_a_device_of_its_own(
    whole: tuple[Asked, Path],
    ray: StandInRay,
    asked: str,
    resources: dict[str, float],
    workers: int | None,
    expected: tuple[str, int] | str,
) -> None:
    session, _ = prepare(**whole[0])
    session.options["device"] = asked
    executor = Actors(Command(["sd"], "bias", "tiny", {}), session, [], None, workers)
    if isinstance(expected, str):
        with pytest.raises(BadInput, match=expected):
            executor._fitting(resources)
    else:
        assert executor._fitting(resources) == expected


def test_blocks_of_the_same_weights_and_shape_follow_each_other() -> None:
    session, jobs = prepare(["sd", "uce", "livo"], "bias/gender", images=3)
    works = works_of(session, jobs)
    ordered = by_weights(list(reversed(works)))
    assert sorted(work.block.id for work in ordered) == sorted(work.block.id for work in works)

    def shape(work: Any) -> tuple[object, ...]:
        recipe: Recipe = work.block.recipes[0]
        return recipe.overlay, recipe.layout, recipe.safety is None, len(work.block)

    shapes = [shape(work) for work in ordered]
    changes = sum(one != other for one, other in pairwise(shapes))
    assert changes == len(set(shapes)) - 1


def begin(options: Asked, folder: Path, *more: str) -> Any:
    """The command line with two actors of Ray, one block of which is stored."""
    named = {name: value for name, value in options.items() if name != "methods"}
    words = ["run", "--method=sd", "--executor=ray", "--workers=2", *more]
    words += [f"--{name}={value}" for name, value in (named | {"runs": folder / "runs"}).items()]
    process = start(whole_command, words, folder)
    wait_for(lambda: any((folder / "runs").rglob("samples/*.parquet")) or not process.is_alive())
    assert process.is_alive(), (folder / "stderr").read_text()
    return process


def started(process: Any) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes_of: list[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != "zombie" for one in processes_of)


@pytest.mark.slow
def test_a_killed_actor_of_ray_costs_nothing_and_nobody_else_is_heard(
    whole: tuple[Asked, Path], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    options, expected = whole
    process = begin(options, tmp_path)
    children = started(process)
    heard = [
        one.laddr.ip
        for child in (psutil.Process(process.pid), *children)
        for one in child.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert heard
    assert {ip.removeprefix("::ffff:") for ip in heard} == {"127.0.0.1"}
    next(one for one in children if one.name().startswith("ray::Actor")).kill()
    process.join(SECONDS)
    said = (tmp_path / "stderr").read_text()
    assert process.exitcode == 0, said
    assert "died; its blocks are begun again" in said
    assert files(tmp_path / "runs") == files(expected)
    wait_for(lambda: gone(children))


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["ctrl-c", "driver", "head"])
def test_a_stopped_driver_of_ray_leaves_nothing_and_goes_on_later(
    whole: tuple[Asked, Path], tmp_path: Path, killed: str
) -> None:
    pytest.importorskip("ray")
    options, expected = whole
    process = begin(options, tmp_path)
    children = started(process)
    if killed == "head":
        next(one for one in children if one.name() == "gcs_server").kill()
    else:
        os.kill(process.pid, signal.SIGINT if killed == "ctrl-c" else signal.SIGKILL)
    process.join(SECONDS)
    assert process.exitcode or killed == "head"  # without which what was given can be finished
    wait_for(lambda: gone(children))
    assert files(tmp_path / "runs").items() <= files(expected).items()
    runner.run(**options | {"runs": tmp_path / "runs"})
    assert files(tmp_path / "runs") == files(expected)
