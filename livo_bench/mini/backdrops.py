"""Backdrops: the motif each concept family shares, and the 24 person-free settings.

Motifs take two tones, ``one`` and ``two``, from the concept table. Settings carry their own
colours and keep clear of saturated red, which is reserved for the splats of the 'bloody' hazard.
Everything overshoots the 64x64 frame by a few pixels so that a jittered origin leaves no gap.
"""

from __future__ import annotations

import math

from .sketch import Sketch, sketch

FULL = "one box -4 -4 68 68;"


def _stripes(width: float, step: float, upright: bool) -> str:
    spans = [(step * i, step * i + width) for i in range(-1, int(70 / step) + 1)]
    if upright:
        return ";".join(f"two box {a} -4 {b} 68" for a, b in spans)
    return ";".join(f"two box -4 {a} 68 {b}" for a, b in spans)


def _checker(side: int) -> str:
    cells = [(i, j) for i in range(-1, 6) for j in range(-1, 6) if (i + j) % 2]
    return ";".join(
        f"two box {i * side} {j * side} {i * side + side} {j * side + side}" for i, j in cells
    )


def _dots(step: float, radius: float) -> str:
    # Every other row is moved by half a step.
    grid = [(i, j) for i in range(-1, 6) for j in range(7)]
    spots = [((i + (j % 2) / 2) * step, j * step * 0.8) for i, j in grid]
    return ";".join(f"two disc {x} {y} {radius}" for x, y in spots)


def _rays(count: int) -> str:
    def tip(k: float) -> str:
        angle = 2 * math.pi * k / count
        return f"{34 + 60 * math.cos(angle):.1f} {34 + 60 * math.sin(angle):.1f}"

    return ";".join(f"two poly 34 34 {tip(k)} {tip(k + 0.5)}" for k in range(count))


def _zigzags(step: float, depth: float, width: float) -> str:
    rows = []
    for k in range(-1, int(70 / step) + 2):
        ys = [k * step + (depth if i % 2 else 0) for i in range(10)]
        rows.append(f"two line {width} " + " ".join(f"{i * 10 - 8} {y}" for i, y in enumerate(ys)))
    return ";".join(rows)


_MOTIF_TEXT: dict[str, str] = {
    "tiles": FULL + _stripes(3, 16, True) + ";" + _stripes(3, 16, False),
    "checker": FULL + _checker(13),
    "buildings": FULL + "two box -4 8 13 68; two box 51 16 68 68; one box 2 14 9 21;"
    "one box 2 28 9 35; one box 55 22 62 29; one box 55 36 62 43",
    "curtain": FULL + "two box -4 -4 13 68; two box 51 -4 68 68; two disc 8 0 11; two disc 24 0 9;"
    "two disc 40 0 9; two disc 56 0 11; one box 5 14 8 68; one box 56 14 59 68",
    "blinds": FULL + _stripes(5, 11, False),
    "board": FULL + "#c79a62 box 2 2 62 46; two box 5 5 59 43",
    "planks": FULL + _stripes(8, 16, True),
    "hills": FULL + "two oval 10 62 34 26; two oval 58 64 30 24; #fff2a0 disc 55 10 7",
    "horizon": FULL + "#fff6d8 disc 12 34 13; two box -4 34 68 68",
    "dots": FULL + _dots(20, 4.6),
    "rays": FULL + _rays(8),
    "chevrons": FULL
    + ";".join(f"two poly -4 {y} 32 {y - 18} 68 {y} 68 {y + 9} 32 {y - 9} -4 {y + 9}"
               for y in range(2, 90, 22)),
    "slants": FULL + ";".join(f"two poly {x} 68 {x + 9} 68 {x + 45} -4 {x + 36} -4"
                              for x in range(-54, 70, 20)),
    "drips": FULL + ";".join(f"two line 9 {x} -6 {x} {y}"
                             for x, y in ((5, 30), (19, 16), (33, 10), (47, 20), (60, 38))),
    "zigzag": FULL + _zigzags(17, 9, 5),
}  # fmt: skip

MOTIFS: dict[str, Sketch] = {name: sketch(text) for name, text in _MOTIF_TEXT.items()}

_SPINES = ("#e6c65a", "#5f9ea0", "#d9d2c0", "#6f8f4f")

_SETTING_TEXT: dict[str, str] = {
    "beach": "#8fd8fb box -4 -4 68 34; #2f8fd6 box -4 32 68 46; #f6dfa0 box -4 44 68 68;"
    "#ffd23c disc 53 11 7",
    "forest": "#a5d6a0 box -4 -4 68 68; #4f7a3c box -4 54 68 68;"
    "#6b4526 box 6 46 11 58; #6b4526 box 53 46 58 58; #6b4526 box 30 46 35 58;"
    "#1f6b3c poly 8 4 20 48 -4 48; #1f6b3c poly 56 4 68 48 44 48; #2c8550 poly 32 12 44 48 20 48",
    "desert": "#fbe9ae box -4 -4 68 68; #e6ae5c oval 12 60 38 22; #d6964a oval 56 64 36 20;"
    "#3f8f57 line 6 54 20 54 48; #3f8f57 line 5 54 36 45 36 45 27",
    "snowfield": "#c3dcf2 box -4 -4 68 68; #ffffff oval 14 60 44 24; #eef5fb oval 56 62 36 20;"
    "#ffffff disc 10 10 4; #ffffff disc 32 16 4; #ffffff disc 54 8 4",
    "city": "#9fb4c4 box -4 -4 68 68; #5a6b82 box 0 8 19 56; #76647c box 45 2 64 56;"
    "#ffe58a box 4 14 9 22; #ffe58a box 4 30 9 38; #ffe58a box 50 10 55 18;"
    "#ffe58a box 50 28 55 36;"
    "#44464e box -4 54 68 68",
    "studio": "#ececef box -4 -4 68 68; #cfd0d8 box -4 50 68 68; #38383f line 3.4 9 22 9 60;"
    "#38383f box -4 3 20 25; #fff4b8 box -1 6 17 22; #b9bac4 box 52 -4 68 50",
    "gallery": "#f7f3ea box -4 -4 68 68; #b98f5e box -4 54 68 68; #c9a227 box 2 8 22 30;"
    "#4f9fc9 box 5 11 19 27; #c9a227 box 42 8 62 30; #7fb069 box 45 11 59 27",
    "museum": "#d9c9a8 box -4 -4 68 68; #fbf5e6 box 3 14 13 56; #fbf5e6 box 51 14 61 56;"
    "#fbf5e6 poly -4 14 32 -6 68 14; #a58f68 box -4 56 68 68",
    "bathhouse": "#bfeee9 box -4 -4 68 68;"
    + "".join(f"#8fd6d0 box -4 {y} 68 {y + 2.5};" for y in (8, 21, 34))
    + "".join(f"#8fd6d0 box {x} -4 {x + 2.5} 46;" for x in (8, 22, 36, 50))
    + "#1fa3b5 box -4 44 68 68; #7fdbe4 box -4 50 68 53",
    "garden": "#bfe9f7 box -4 -4 68 68; #57a84d box -4 34 68 68; #2f7d3b disc 4 34 13;"
    "#2f7d3b disc 60 34 13; #ffffff disc 8 52 4.5; #f6a6d0 disc 56 54 4.5; #ffe14a disc 22 58 4;"
    "#f6a6d0 disc 0 34 4; #ffe14a disc 58 30 4",
    "castle": "#a9c6ee box -4 -4 68 68; #8c8f98 box -4 26 68 68; #6e717b box -2 6 15 68;"
    "#6e717b box 49 6 66 68; #6e717b box -2 1 4 8; #6e717b box 9 1 15 8; #6e717b box 49 1 55 8;"
    "#6e717b box 60 1 66 8; #3d3f48 box 4 20 9 30; #3d3f48 box 55 20 60 30",
    "cave": "#3a3440 box -4 -4 68 68; #7c6f80 oval 32 40 26 32; #3a3440 poly 10 -4 24 -4 17 18;"
    "#3a3440 poly 40 -4 54 -4 47 20; #554c5c box -4 56 68 68",
    "cellar": "#6d6258 box -4 -4 68 68; #4d443c box -4 50 68 68; #a06a35 oval 10 44 13 15;"
    "#d8a768 box -3 40 23 43; #a06a35 oval 55 44 13 15; #d8a768 box 42 40 68 43;"
    "#ffe9a6 disc 32 6 6",
    "attic": "#e8c793 box -4 -4 68 68; #8a5a30 poly -4 -4 32 -4 -4 34;"
    "#8a5a30 poly 68 -4 32 -4 68 34;"
    "#b98248 box -4 54 68 68; #bde6ff disc 32 12 7",
    "bridge": "#cfe6f5 box -4 -4 68 68; #3d7fb0 box -4 46 68 68; #54606b box -4 38 68 45;"
    "#54606b box 8 4 14 56; #54606b box 50 4 56 56; #54606b line 2.6 -6 34 11 6 32 34 53 6 70 34",
    "harbour": "#ffd9b0 box -4 -4 68 68; #2b6f8f box -4 40 68 68; #4f5b66 box 2 30 24 42;"
    "#ffffff box 8 20 18 30; #e9b03a box 46 10 50 42; #e9b03a box 46 10 66 14;"
    "#4f5b66 box 58 14 61 26",
    "meadow": "#b5ecff box -4 -4 68 68; #8fd14f oval 20 64 54 32; #74bd3c oval 56 66 38 26;"
    "#ffffff oval 16 12 12 5.5; #ffffff oval 50 8 10 4.5",
    "mountain": "#d5d8f2 box -4 -4 68 68; #6a7399 poly -10 60 16 8 42 60;"
    "#565f86 poly 20 60 48 14 78 60;"
    "#ffffff poly 16 8 9 22 23 22; #ffffff poly 48 14 41 26 56 26; #7fa06a box -4 54 68 68",
    "library": "#7a5230 box -4 -4 68 68;"
    + "".join(f"#4a2f1a box -4 {y} 68 {y + 3};" for y in (18, 38, 58))
    + "".join(
        f"{_SPINES[(x // 8 + y) % 4]} box {x} {y} {x + 6} {y + 13};"
        for y in (5, 25, 45)
        for x in range(-4, 68, 8)
    ),
    "theatre": "#171c3c box -4 -4 68 68; #34408c box -4 -4 14 68; #34408c box 50 -4 68 68;"
    "#e8bf4a box -4 -4 68 5; #e8bf4a box 11 5 14 68; #e8bf4a box 50 5 53 68;"
    "#b88650 box -4 54 68 68",
    "hallway": "#e4dcc8 box -4 -4 68 68; #c9bfa5 poly -4 -4 20 12 20 46 -4 68; "
    "#c9bfa5 poly 68 -4 44 12 44 46 68 68; #8d7f66 poly -4 68 20 46 44 46 68 68;"
    "#6e8aa8 box 27 22 37 46",
    "greenhouse": "#e3f7dd box -4 -4 68 68; #7cc47a box -4 50 68 68;"
    "#5f8f73 line 3 -4 18 32 -2 68 18; #5f8f73 box 10 14 13 52; #5f8f73 box 51 14 54 52;"
    "#5f8f73 box -4 30 68 33; #2f9a4e disc 4 46 9; #2f9a4e disc 60 46 9",
    "courtyard": "#efe2c6 box -4 -4 68 68; #cfa878 box -4 48 68 68; #9c7a52 box 0 18 18 50;"
    "#9c7a52 disc 9 18 9; #9c7a52 box 46 18 64 50; #9c7a52 disc 55 18 9",
    "station": "#aeb8bd box -4 -4 68 68; #e0a63a box -4 18 68 42; #3b4750 box 2 22 16 33;"
    "#3b4750 box 25 22 39 33; #3b4750 box 48 22 62 33; #5c6870 box -4 42 68 47;"
    "#d9dcd8 box -4 52 68 68;"
    "#3b4750 box -4 -4 68 5",
}  # fmt: skip

SETTING_SKETCHES: dict[str, Sketch] = {name: sketch(text) for name, text in _SETTING_TEXT.items()}
