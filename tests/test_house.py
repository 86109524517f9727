"""The house is as docs/architecture.md draws it, and what stands beside the code agrees with it."""

import re
import tomllib
from collections import Counter

import house
import pytest
from places import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def test_nothing_goes_up_or_round(capsys: pytest.CaptureFixture[str]) -> None:
    assert house.main() == 0
    assert "imports that go up: none" in capsys.readouterr().out


def test_a_circle_is_seen_and_what_leads_to_it_is_not() -> None:
    imported = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert house.in_circles(imported) == ["b", "c"]


def test_an_import_that_goes_up_is_named() -> None:
    imported = {"livo_bench.cards.catalog": {"livo_bench.runs.store", "livo_bench.records"}}
    assert house.upward(imported) == ["livo_bench.cards.catalog -> livo_bench.runs.store"]


def test_the_floors_of_the_page_are_those_that_are_held() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    drawn = re.findall(r"^([2-9]| )  (\w+)(?:/|\.py) ", page, re.MULTILINE)
    floors = house.floors()
    assert drawn == [
        (str(len(floors) - place) if room == floor[0] else " ", room)
        for place, floor in enumerate(floors[:-1])
        for room in floor
    ]


def test_no_two_modules_have_the_same_name() -> None:
    modules = Counter(path.name for path in (ROOT / "livo_bench").rglob("*.py"))
    assert [name for name, count in modules.items() if count > 1] == ["__init__.py"]


def test_only_how_an_image_is_made_is_called_a_recipe() -> None:
    modules = (ROOT / "livo_bench").rglob("*.py")
    named = {
        name for path in modules for name in re.findall(r"\w*Recipe\b", path.read_text("utf-8"))
    }
    assert named == {"Recipe"}
    assert not [*(ROOT / "methods").rglob("recipe*")]


def test_the_files_that_the_page_names_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for name in re.findall(r"`([a-z_]+/?[\w/]*\.(?:py|toml))`", page):
        assert (ROOT / name).is_file() or (ROOT / "livo_bench" / name).is_file(), name


def test_the_version_is_the_same_wherever_it_is_said() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    [(newest, day), *_] = re.findall(r"^## \[(\d[\d.]*)\] - (\S+)$", changelog, re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert newest == VERSION
    assert f"\nversion: {VERSION}\ndate-released: {day}\n" in citation


@pytest.mark.parametrize("file", [".github/workflows/ci.yml", ".gitlab-ci.yml"])
def test_workflows_run_what_continuous_integration_runs(file: str) -> None:
    yaml = pytest.importorskip("yaml")
    text = (ROOT / file).read_text("utf-8")
    assert yaml.safe_load(text)
    assert len(re.findall(r"^\s*-(?: run:)? \.ci/run$", text, re.MULTILINE)) == 1
