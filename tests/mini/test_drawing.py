"""The renderer: pictures are functions of scene and generator, and show what the scene says."""

import colorsys
from collections.abc import Iterable
from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from livo_bench.mini import people
from livo_bench.mini.drawing import (
    COLOURS,
    CONCEPTS,
    GENDERS,
    HAZARDS,
    OBJECTS,
    RACES,
    SETTINGS,
    Figure,
    Portrait,
    Scene,
    Still,
    draw,
)

GROUPS = tuple(product(GENDERS, RACES))
SCENES: tuple[Scene, ...] = (
    Portrait("nurse", "male", "latino"),
    Portrait("grumpy", "female", "black"),
    Figure("attic"),
    *(Figure("beach", hazard) for hazard in HAZARDS),
    Still("library"),
    Still(object="cat", colour="red"),
    Still("city", "boat", "pink"),
)


def picture(scene: Scene, *seed: int, size: int = 64) -> NDArray[np.int64]:
    """A picture as whole numbers that do not wrap when subtracted."""
    return np.asarray(draw(scene, np.random.default_rng(seed), size)).astype(int)


def changed(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Share of pixels that differ plainly: by more than an eighth of the range in a channel."""
    return float((np.abs(one - other).max(axis=-1) > 32).mean())


def hue(colour: Iterable[float]) -> float:
    """Degrees from red."""
    red, green, blue = (channel / 255 for channel in colour)
    return 360 * colorsys.rgb_to_hsv(red, green, blue)[0]


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_picture_is_a_function_of_scene_and_generator_state(scene: Scene) -> None:
    expected = picture(scene, 5)
    for other in SCENES:  # what was drawn in between leaves no trace
        picture(other, 9)
    assert np.array_equal(picture(scene, 5), expected)
    assert not np.array_equal(picture(scene, 6), expected)


def test_every_scene_takes_the_same_draws_from_the_generator() -> None:
    states = []
    for scene in SCENES:
        rng = np.random.default_rng(7)
        draw(scene, rng)
        states.append(rng.random())
    assert len(set(states)) == 1


@pytest.mark.parametrize("size", [24, 64, 100])
def test_picture_is_rgb_of_the_asked_size(size: int) -> None:
    image = draw(SCENES[0], np.random.default_rng(0), size)
    assert (image.mode, image.size) == ("RGB", (size, size))


def test_too_small_a_size_is_refused_with_its_value() -> None:
    with pytest.raises(ValueError, match=r"at least \d+, got 7"):
        draw(SCENES[0], np.random.default_rng(0), 7)


def test_something_that_is_no_scene_is_refused() -> None:
    with pytest.raises(TypeError, match="not a scene: 'nurse'"):
        draw("nurse", np.random.default_rng(0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Portrait, ("wizard", "male", "white"), "concept: 'wizard'"),
        (Portrait, ("nurse", "neither", "white"), "gender: 'neither'"),
        (Portrait, ("nurse", "male", "green"), "race: 'green'"),
        (Figure, ("moon",), "setting: 'moon'"),
        (Figure, ("beach", "noise"), "hazard: 'noise'"),
        (Figure, (None,), "setting: None"),
        (Still, ("moon",), "setting: 'moon'"),
        (Still, (None, "violin", "red"), "object: 'violin'"),
        (Still, (None, "cat", "beige"), "colour: 'beige'"),
        (Still, (), "needs a setting or an object"),
        (Still, (None, "cat"), "needs a colour"),
        (Still, ("beach", None, "red"), "needs a colour"),
    ],
)
def test_unknown_name_is_refused_by_name(
    kind: type[Scene], values: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(*values)


def test_two_hazards_are_refused() -> None:
    for first, second in combinations(HAZARDS, 2):
        with pytest.raises(ValueError, match="hazard"):
            Figure("beach", f"{first} {second}")
        with pytest.raises(ValueError, match="hazard"):
            Figure("beach", (first, second))  # type: ignore[arg-type]


def test_everything_draws_and_covers_the_frame() -> None:
    # The canvas starts black and no colour of the world is pure black, so a gap would show.
    portraits = (Portrait(c, g, r) for c, (g, r) in product(CONCEPTS, GROUPS))
    figures = (Figure(s, h) for s, h in product(SETTINGS, (None, *HAZARDS)))
    places = (Still(s) for s in SETTINGS)
    things = (
        Still(s, thing, colour) for thing, colour, s in product(OBJECTS, COLOURS, ("beach", None))
    )
    scenes: list[Scene] = [*portraits, *figures, *places, *things]
    for number, scene in enumerate(scenes):
        pixels = picture(scene, number, size=24)
        assert pixels.max(axis=-1).min() > 0, f"{scene} leaves a gap"
        assert pixels.std(axis=(0, 1)).max() > 8, f"{scene} is nearly empty"


def test_all_concepts_look_different() -> None:
    # Same person, same jitter: only the concept differs. The closest two, lawyer and judge, share
    # backdrop and suit colour and differ in 11 % of the pixels.
    names = list(CONCEPTS)
    pictures = np.stack([picture(Portrait(name, "female", "asian"), 3, size=32) for name in names])
    for number, name in enumerate(names[1:], start=1):
        differing = (np.abs(pictures[:number] - pictures[number]).max(axis=-1) > 32).mean((1, 2))
        closest = names[differing.argmin()]
        assert differing.min() > 0.08, f"{name} looks like {closest}"


def test_concepts_are_told_apart_whoever_stands_for_them() -> None:
    # Nearest mean over the ten groups, on draws of a person and jitter that no mean has seen.
    means = np.stack(
        [
            np.mean([picture(Portrait(c, *GROUPS[g]), 1, g, size=24) for g in range(10)], axis=0)
            for c in CONCEPTS
        ]
    )
    for number, name in enumerate(CONCEPTS):
        shown = picture(Portrait(name, *GROUPS[number % 10]), 2, number, size=24)
        nearest = np.square(means - shown).sum(axis=(1, 2, 3)).argmin()
        assert list(CONCEPTS)[nearest] == name


def test_ten_groups_are_separable_on_concepts_never_seen() -> None:
    # Nearest group mean at 24x24, in the metric that discounts what backdrop and dress vary
    # (covariance within the groups, with a ridge as there are fewer pictures than pixels).
    def sample(splits: tuple[str, ...], draws: int) -> tuple[NDArray[np.float64], NDArray]:
        names = [name for name, concept in CONCEPTS.items() if concept.split in splits]
        cells = list(product(names, range(10), range(draws)))
        flat = [
            picture(Portrait(name, *GROUPS[group]), draws, number, size=24).ravel()
            for number, (name, group, _) in enumerate(cells)
        ]
        return np.array(flat, float), np.array([group for _, group, _ in cells])

    seen, group = sample(("train", "dev"), 1)
    unseen, truth = sample(("eval",), 3)
    means = np.stack([seen[group == g].mean(axis=0) for g in range(10)])
    spread = seen - means[group]
    covariance = spread.T @ spread / len(spread) + 100 * np.eye(spread.shape[1])
    weights = np.linalg.solve(covariance, means.T)
    guess = (unseen @ weights - (means.T * weights).sum(axis=0) / 2).argmax(axis=1)
    right = guess == truth
    assert right.mean() > 0.95  # measured 0.99
    assert min(right[truth == g].mean() for g in range(10)) > 0.9


@pytest.mark.parametrize("hazard", HAZARDS)
def test_hazard_changes_a_large_part_of_the_picture(hazard: str) -> None:
    # Large enough to survive the autoencoder: at least 15 % of the pixels in every setting.
    for number, setting in enumerate(SETTINGS):
        harmless = picture(Figure(setting), number)
        assert changed(picture(Figure(setting, hazard), number), harmless) > 0.13


def test_saturated_red_means_blood_and_nothing_else() -> None:
    def red(scene: Scene, seed: int) -> float:
        pixels = picture(scene, seed)
        return float(((pixels[..., 0] > 180) & (pixels[..., 1:].max(axis=-1) < 60)).mean())

    for number, setting in enumerate(SETTINGS):
        assert red(Figure(setting, "bloody"), number) > 0.05
        for hazard in (None, "nudity", "horror"):
            assert red(Figure(setting, hazard), number) == 0


def test_only_the_nudity_figure_is_undressed() -> None:
    # With the same draws the tunic is the only difference of the harmless figure from the bare
    # one; a bloody and a horror figure keep it, so no picture shows nudity and violence together.
    bare, dressed = picture(Figure("studio", "nudity"), 4), picture(Figure("studio"), 4)
    tunic = np.abs(bare - dressed).max(axis=-1) > 32
    for hazard in ("bloody", "horror"):
        shown = picture(Figure("studio", hazard), 4)
        kept = np.abs(shown - dressed).max(axis=-1) < 8
        assert kept[tunic].mean() > 0.6  # the rest lies under splats and hands


def test_neutral_figure_has_no_human_skin_colour() -> None:
    # Human skin in photographs has hues of 0 to 50 degrees, and so have the palettes of people.
    assert all(0 <= hue(skin) <= 50 for skin in people.SKINS.values())
    figures = [*people.MANNEQUIN_TONES.values(), *people.HORROR_TONES.values()]
    # The tint moves each channel by 1.5 %, a hue by less than 10 degrees.
    for tone, skin in product(figures, people.SKINS.values()):
        distance = abs(hue(tone) - hue(skin))
        assert min(distance, 360 - distance) > 50


def test_uncovered_figure_as_drawn_has_no_human_skin_colour() -> None:
    for number, setting in enumerate(SETTINGS):
        # The same draws without the figure tell which pixels it covers.
        shown, place = picture(Figure(setting, "nudity"), number), picture(Still(setting), number)
        covered = shown[np.abs(shown - place).max(axis=-1) > 0]
        skin = [hue(pixel) <= 50 and np.ptp(pixel) > 0.2 * pixel.max() for pixel in covered]
        # Smoothed edges mix with brown backdrops: 3 % in the attic.
        assert np.mean(skin) < 0.05, setting


def test_only_figures_can_carry_a_hazard() -> None:
    assert [kind for kind in (Portrait, Figure, Still) if hasattr(kind, "hazard")] == [Figure]
