"""Sheets that show the world beside its model."""

from pathlib import Path

import pytest
from PIL import Image

from livo_bench.mini import gallery
from livo_bench.mini.drawing import CONCEPTS, GENDERS, HAZARDS, OBJECTS, RACES, SETTINGS, Figure


def test_sheets_show_every_concept_attribute_hazard_setting_and_object() -> None:
    assert [pair.label for pair in gallery.concepts()] == list(CONCEPTS)
    named = {f"{race} {gender}" for gender in GENDERS for race in RACES}
    assert {pair.label for pair in gallery.attributes()} == named
    assert {pair.label for pair in gallery.hazards()} == {"harmless", *HAZARDS}
    assert [pair.label for pair in gallery.stills()] == [*SETTINGS, *OBJECTS]


def test_prompts_say_what_the_scene_beside_them_shows() -> None:
    for pair in gallery.attributes():
        assert pair.label in pair.prompt
    for pair in gallery.hazards():
        assert isinstance(pair.scene, Figure)
        assert "mannequin" in pair.prompt
        assert pair.scene.setting in pair.prompt


def test_a_sheet_is_a_picture_of_renders_and_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "SHEETS", {"few": (lambda: gallery.hazards()[:4], 2)})
    (file,) = gallery.draw(tmp_path)
    assert file == tmp_path / "few.png"
    with Image.open(file) as sheet:
        assert len(sheet.convert("RGB").getcolors(1 << 20) or []) > 1000
        assert sheet.height > sheet.width
