"""What a run says of itself: written, read, and refused where it cannot be."""

import json
import re
from pathlib import Path

import pytest
from places import REFERENCE

from livo_bench.errors import BadInput
from livo_bench.results.record import Method, Model, Prompts, RunRecord, Settings, from_json

HERE = Path("here/run.json")


def test_a_committed_record_is_written_as_it_was_read() -> None:
    paths = sorted(REFERENCE.rglob("run.json"))
    assert paths
    for path in paths:
        said = json.loads(path.read_text("utf-8"))
        del said["format"], said["seal"]
        assert json.dumps(from_json(said, path).as_json()) == json.dumps(said)


def test_no_committed_record_names_a_path_of_the_machine_that_made_it() -> None:
    paths = sorted(REFERENCE.parent.glob("mini*/**/run.json"))
    assert {path.parts[len(REFERENCE.parent.parts)] for path in paths} == {"mini", "mini-flow"}
    for path in paths:
        for told in json.loads(path.read_text("utf-8"))["method"].values():
            words = re.split(r"[\s=,]", told) if isinstance(told, str) else []
            assert not [word for word in words if Path(word).is_absolute()], path


def test_what_is_not_known_is_left_out_and_read_as_none() -> None:
    record = RunRecord(Model("mini"), settings=Settings(images=0, switches=()))
    said = {"model": {"name": "mini"}, "settings": {"images": 0, "switches": []}}
    assert record.as_json() == said
    assert from_json(said, HERE) == record
    assert from_json({}, HERE) == RunRecord()
    assert from_json({"colour": "red", "model": {"name": None}}, HERE) == RunRecord()


def test_an_empty_list_of_prompts_is_the_tasks_own_and_known() -> None:
    assert RunRecord(prompts=Prompts(list="")).as_json() == {"prompts": {"list": ""}}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"model": "mini"}, "has 'mini' for model; expected an object"),
        ({"model": {"name": 3}}, "has 3 for model name; expected a text"),
        ({"settings": {"images": "10"}}, "has '10' for settings images; expected a whole number"),
        ({"settings": {"images": True}}, "has True for settings images; expected a whole number"),
        ({"settings": {"guidance": []}}, "for settings guidance; expected a number"),
        ({"scorers": "clip"}, "for scorers; expected a list"),
        ({"method": {"files": 1}}, "for method files; expected an object"),
        ({"versions": []}, "for versions; expected an object"),
    ],
)
def test_a_field_of_another_kind_is_named(said: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=rf"here/run.json .*{message}.* again with the same"):
        from_json(said, HERE)


def test_numbers_name_the_protocol_with_the_model() -> None:
    record = RunRecord(Model("sd15"), "released", Method("livo"))
    assert record.identity == {"model": "sd15@released", "method": "livo"}
    assert RunRecord(Model("sd15"), "ours").identity == {"model": "sd15"}
