"""Labels: where they stand beside points."""

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from livo_bench.report.placing import label


def test_labels_cover_neither_points_nor_each_other() -> None:
    figure = Figure(figsize=(4, 3))
    axis = figure.subplots()
    spots = [(x / 10, y / 10) for x in range(3) for y in range(2)] + [(5.0, 5.0)]
    across, up = zip(*spots, strict=True)
    axis.scatter(across, up, s=30)
    figure.draw_without_rendering()
    label(axis, {spot: f"1{number}" for number, spot in enumerate(spots)})
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axis.texts]  # without the line to the point
    assert [text.get_text() for text in axis.texts] == [f"1{n}" for n in range(len(spots))]
    for first, second in combinations(boxes, 2):
        assert not first.overlaps(second)
    for box in boxes:
        assert not any(box.contains(*axis.transData.transform(spot)) for spot in spots)


def test_a_label_that_cannot_stand_beside_its_point_has_a_line_to_it() -> None:
    figure = Figure(figsize=(4, 3))
    axis = figure.subplots()
    spots = [
        (0.0, 0.0),
        (1.0, 1.0),
        *((0.5 + x / 60, 0.5 + y / 45) for x in range(5) for y in range(5)),
    ]
    across, up = zip(*spots, strict=True)
    axis.scatter(across, up, s=30)
    figure.draw_without_rendering()
    label(axis, dict.fromkeys(spots, "12"))
    lines = [isinstance(text, Annotation) and text.arrow_patch is not None for text in axis.texts]
    assert lines[:2] == [False, False]
    assert any(lines[2:])


def test_a_label_without_a_free_place_is_not_written_and_the_first_choose_first() -> None:
    figure = Figure(figsize=(2.4, 2))
    axis = figure.subplots()
    spots = [(x / 4, y / 4) for x in range(5) for y in range(5)]
    across, up = zip(*spots, strict=True)
    axis.scatter(across, up, s=30)
    figure.draw_without_rendering()
    written = label(axis, dict.fromkeys(spots, "a long name"))
    assert 0 < len(written) < len(spots)
    assert list(written.values()) == list(axis.texts)
    crowded = Figure(figsize=(3, 2.4))
    axis = crowded.subplots()
    axis.plot([0, 1, 5], [0, 0, 5], "o")
    crowded.draw_without_rendering()
    assert next(iter(label(axis, {(1, 0): "first", (0, 0): "second"}))) == (1, 0)
