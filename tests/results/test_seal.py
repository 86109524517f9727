"""Result folders: written under a lock, sealed last, and looked at whenever they are read."""

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from written_results import bias_images, seal_again, write_run

from livo_bench.errors import BadInput, NotComparable
from livo_bench.report import check_report, tables
from livo_bench.results import baseline, check, compare, reading, seal
from livo_bench.results.record import Method, Model, RunRecord

FILES = {name: name.encode() for name in seal.NEIGHBOURS}


def sealed(
    folder: Path,
    method: str = "sd",
    files: Mapping[str, str] | None = None,
    males: Sequence[int] = (7, 8),
) -> Path:
    """Results whose record names files behind the method."""
    write_run(folder, bias_images(list(males)), method=method, seed=42)
    record = json.loads((folder / "run.json").read_text())
    record["prompts"] = {"list": ""}
    record["method"]["files"] = files or {"card.toml": "a" * 64}
    del record["seal"]
    seal_again(folder, record)
    return folder


def opened_in(folder: Path) -> seal.Folder:
    """What a folder holds where it holds something."""
    opened = seal.open_folder(folder)
    assert opened is not None
    return opened


def test_a_record_seals_its_neighbours_and_itself(tmp_path: Path) -> None:
    record = RunRecord(method=Method("sd"), versions={"x": "é"})
    seal.write(tmp_path / "a", record, FILES)
    opened = opened_in(tmp_path / "a")
    assert opened.sealed
    assert {name: opened.files[name] for name in FILES} == FILES
    assert opened.record == record
    path = tmp_path / "a" / "run.json"
    said = json.loads(path.read_text())
    assert said["format"] == seal.FORMAT
    assert {*said["seal"]} == {*seal.RESULT_FILES}
    # Other spaces are the same record.
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert opened_in(tmp_path / "a").record == opened.record


@pytest.mark.parametrize(
    ("lose", "said"),
    [
        (("seal",), "has lost its seal"),
        (("format",), "was changed after it was sealed"),
        (("seal", "format"), "has lost its seal"),
        (("settings",), "was changed after it was sealed"),
    ],
)
def test_a_record_that_lost_a_field_does_not_pass_for_an_old_one(
    tmp_path: Path, lose: tuple[str, ...], said: str
) -> None:
    path = sealed(tmp_path / "sd") / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({name: record[name] for name in record if name not in lose}))
    with pytest.raises(BadInput, match=said):
        seal.open_folder(tmp_path / "sd")


@pytest.mark.parametrize("rest", [None, {}, {"settings": {"seed": 42}}])
def test_images_that_a_record_vouched_for_do_not_pass_without_it(
    tmp_path: Path, rest: object
) -> None:
    folder = sealed(tmp_path / "sd")
    (folder / "images.parquet").write_bytes(seal.as_parquet(bias_images([7, 8])))
    (folder / "run.json").unlink()
    if rest is not None:
        (folder / "run.json").write_text(json.dumps(rest))
    with pytest.raises(BadInput, match=r"run.json (has lost its seal|is gone)"):
        seal.open_folder(folder)


@pytest.mark.parametrize("name", seal.RESULT_FILES)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_there_and_no_file_is_not_said_to_be_gone(
    tmp_path: Path, name: str, make: Callable[..., object]
) -> None:
    path = sealed(tmp_path / "sd") / name
    path.unlink(missing_ok=True)
    make(path)
    with pytest.raises(BadInput, match=f"{name} is a folder or a device; expected a file"):
        seal.open_folder(path.parent)


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "1",
        "{",
        "[" * 100_000,
        '{"method": 3}',
        '{"format": 3, "seal": {}}',
        '"\ud800"',
        '{"protocol": "\\ud800"}',
    ],
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, record: str) -> None:
    folder = write_run(tmp_path / "sd", bias_images([7, 8]))
    (folder / "run.json").write_text(record, "utf-8", "surrogatepass")
    with pytest.raises(BadInput, match=r"run\.json"):
        seal.open_folder(folder)


@pytest.mark.parametrize(
    ("section", "name"), [("model", "sd15"), ("method", "livo"), ("task", "toxicity")]
)
def test_unsealed_numbers_of_another_run_than_the_records_are_refused(
    tmp_path: Path, section: str, name: str
) -> None:
    folder = write_run(tmp_path / "sd", bias_images([7, 8]))
    (folder / "run.json").write_text(json.dumps({section: {"name": name}, "prompts": {}}))
    for look in (reading.load_results, reading.read_results):
        with pytest.raises(BadInput, match="files of two runs lie in one folder"):
            look(tmp_path, "mini")


def test_results_of_another_protocol_are_called_by_model_and_protocol(tmp_path: Path) -> None:
    rows = pd.DataFrame({"model": ["mini@released"], "method": ["sd"], "task": ["bias"]})
    record = RunRecord(Model("mini"), "released")
    seal.Folder(tmp_path, record, True, {}).refuse_others(rows)
    with pytest.raises(BadInput, match="of model 'mini'"):
        seal.Folder(tmp_path, replace(record, protocol="ours"), True, {}).refuse_others(rows)


def test_an_interrupted_writer_leaves_no_results_whatever_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = seal.write_atomically
    writes = 1 + len(seal.RESULT_FILES)
    for stop in range(1, writes + 1):
        folder = sealed(tmp_path / str(stop))
        left = iter(range(stop))

        def written(path: Path, data: bytes, *option: str, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            write(path, data, *option)

        with monkeypatch.context() as patch:
            patch.setattr(seal, "write_atomically", written)
            if stop < writes:
                with pytest.raises(KeyboardInterrupt):
                    seal.write(folder, RunRecord(), FILES)
                assert seal.open_folder(folder) is None
                assert seal.open_all(tmp_path) == []
            else:
                seal.write(folder, RunRecord(), FILES)
                assert opened_in(folder).sealed


def test_writers_at_once_leave_one_runs_files(tmp_path: Path) -> None:
    def write(number: int) -> None:
        files = {name: f"{name} of {number}".encode() for name in seal.NEIGHBOURS}
        for _ in range(3):
            seal.write(tmp_path / "sd", RunRecord(method=Method(str(number))), files)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if (tmp_path / "sd").is_dir() and (opened := seal.open_folder(tmp_path / "sd")):
            [number] = {opened.files[name].split()[-1].decode() for name in seal.NEIGHBOURS}
            assert number == opened.record.method.name
    for writer in writers:
        writer.join()
    assert opened_in(tmp_path / "sd").sealed


def test_without_locks_a_mixture_of_two_runs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*arguments: object) -> None:
        raise OSError

    monkeypatch.setattr(fcntl, "flock", no_locks)
    seal.write(tmp_path / "a", RunRecord(), FILES)
    write = seal.write_atomically

    def another_run_in_between(path: Path, data: bytes, *option: str) -> None:
        write(path, data, *option)
        if path.name == "prompts.csv" and data == b"second":
            monkeypatch.setattr(seal, "write_atomically", write)
            seal.write(tmp_path / "a", RunRecord(), FILES)

    monkeypatch.setattr(seal, "write_atomically", another_run_in_between)
    seal.write(tmp_path / "a", RunRecord(), {name: b"second" for name in FILES})
    with pytest.raises(BadInput, match=r"images.parquet is not the file"):
        seal.open_folder(tmp_path / "a")


def test_a_reader_waits_for_a_writer(tmp_path: Path) -> None:
    seal.write(tmp_path / "a", RunRecord(), FILES)
    handle = os.open(tmp_path / "a", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    opened = []
    reader = threading.Thread(target=lambda: opened.append(opened_in(tmp_path / "a")))
    reader.start()
    reader.join(0.1)
    assert not opened
    os.close(handle)
    reader.join()
    assert opened[0].sealed


def test_a_baseline_is_copied_with_its_seal(tmp_path: Path) -> None:
    sealed(tmp_path / "runs" / "sd" / "bias")
    baseline.update(tmp_path / "baseline", tmp_path / "runs")
    [copied] = seal.open_all(tmp_path / "baseline")
    assert copied.sealed
    (copied.path / "prompts.csv").write_text("subset,prompt\nx,y\n")
    with pytest.raises(BadInput, match=r"prompts.csv is not the file"):
        check.check(tmp_path / "baseline", tmp_path / "runs")


def test_unsealed_results_are_read_and_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(tmp_path / "old" / "sd", bias_images([7, 8]))
    sealed(tmp_path / "new" / "sd")
    reading.load_results(tmp_path / "old", "mini")
    assert "1 results in" in caplog.text
    assert "are unsealed" in caplog.text
    caplog.clear()
    reading.load_results(tmp_path / "new", "mini")
    assert not caplog.text
    found = check.check(tmp_path / "old", tmp_path / "new")
    assert caplog.text.count("are unsealed") == 1
    assert check_report.sample_line(found.samples[0]).endswith(" Unsealed: baseline.")
    assert "Unsealed: baseline." in check_report.render(found, "markdown")
    caplog.clear()
    assert check.check(tmp_path / "new", tmp_path / "new").samples[0].unsealed == ()
    assert not caplog.text


def test_other_files_behind_a_method_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = "value_encoder/model.safetensors"
    old = {"card.toml": "a" * 64, name: "1a2b3c4d" + "0" * 56}
    sealed(tmp_path / "old" / "livo", "livo", old)
    sealed(tmp_path / "new" / "livo", "livo", old | {name: "3c4d5e6f" + "0" * 56})
    found = check.check(tmp_path / "old", tmp_path / "new")
    said = f"Method files differ: {name} 1a2b3c4d -> 3c4d5e6f."
    assert not found.regressions
    assert said in check_report.sample_line(found.samples[0])
    for form in ("markdown", "json"):
        assert f"{name} 1a2b3c4d -> 3c4d5e6f" in check_report.render(found, form).replace(
            "&gt;", ">"
        )
    [line] = baseline.update(tmp_path / "old", tmp_path / "new")
    assert line.endswith(f"no metric changed; method files differ: {name} 1a2b3c4d -> 3c4d5e6f")
    assert check.check(tmp_path / "old", tmp_path / "new").samples[0].files == ()
    # Between methods the files that both have; their cards always differ.
    sealed(tmp_path / "new" / "dpo", "dpo", {"card.toml": "b" * 64, name: "5" * 64})
    compare.compare(["livo", "dpo"], "bias", runs=tmp_path / "new")
    assert f"livo and dpo: method files differ: {name} 3c4d5e6f -> 55555555" in caplog.text
    assert "card.toml" not in caplog.text


def test_a_table_says_when_a_methods_numbers_rest_on_different_files(tmp_path: Path) -> None:
    for subset, digest in (("gender", "1"), ("race", "2")):
        folder = tmp_path / "livo" / f"bias.{subset}"
        write_run(folder, bias_images([7, 8], subset), method="livo", seed=42)
        record = json.loads((folder / "run.json").read_text())
        record["prompts"] = {"list": ""}
        record["method"]["files"] = {"shares.json": digest * 64}
        del record["seal"]
        seal_again(folder, record)
    rows, [table] = tables.table_2(reading.load_results(tmp_path, "mini"))
    assert "livo: method files differ: shares.json 11111111 -> 22222222" in table.note
    assert "files" not in rows


def test_a_copied_folder_is_one_run_twice(tmp_path: Path) -> None:
    sealed(tmp_path / "sd" / "bias")
    shutil.copytree(tmp_path / "sd" / "bias", tmp_path / "livo" / "bias")
    with pytest.raises(NotComparable, match="twice"):
        reading.read_results(tmp_path, "mini")
    with pytest.raises(NotComparable):
        tables.table_2(reading.load_results(tmp_path, "mini"))


def whole_and_part(
    folder: Path, changed: Callable[[pd.DataFrame], pd.DataFrame] = lambda images: images
) -> tuple[Path, Path]:
    """Results of a task, and beside them those of its first subset alone, changed."""
    parts = [bias_images([7, 8, 6, 9]), bias_images([1, 2, 3, 4], "race")]
    whole = write_run(folder / "sd" / "bias", pd.concat(parts, ignore_index=True), seed=42)
    part = write_run(folder / "sd" / "bias.gender", changed(parts[0]), seed=42)
    return whole, part


def test_a_subset_alone_that_its_task_holds_is_passed_over(tmp_path: Path) -> None:
    whole, _ = whole_and_part(tmp_path, lambda images: images[images["index"] < 5])
    assert [folder.path for folder in seal.open_all(tmp_path)] == [whole]
    [found] = reading.read_results(tmp_path, "mini").values()
    assert len(found.images) == 80


@pytest.mark.parametrize("stale", ["whole", "part"])
@pytest.mark.parametrize(
    "changed",
    [
        lambda images: images.assign(key="other-" + images["key"]),
        lambda images: images.assign(label="female"),
        lambda images: images.assign(unscored=images["unscored"].where(images["index"] > 0, "x")),
        lambda images: pd.concat([images, images.tail(1).assign(index=99, key="more")]),
    ],
    ids=["other images", "other answers", "no answer", "more images"],
)
def test_a_subset_alone_that_differs_from_its_task_is_refused_whichever_is_newer(
    tmp_path: Path, changed: Callable[[pd.DataFrame], pd.DataFrame], stale: str
) -> None:
    whole, part = whole_and_part(tmp_path, changed)
    old, new = (whole, part) if stale == "whole" else (part, whole)
    for name in seal.RESULT_FILES:
        os.utime(old / name, (1e9, 1e9))
    said = rf"{old}, written 2001-09-09 .* and {new}, written 2"
    for look in (reading.load_results, reading.read_results):
        with pytest.raises(NotComparable, match=said) as refused:
            look(tmp_path, "mini")
        assert f"rm -r {old}," in str(refused.value)
    shutil.rmtree(old)
    [found] = reading.read_results(tmp_path, "mini").values()
    assert found.folders == (new,)
