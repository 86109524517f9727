"""Cartoon people: palettes, hair, faces, dresses and hats, and the neutral mannequin.

The group and gender names are names of PALETTES AND HAIR SHAPES of cartoon figures only. They say
nothing about real people: they are labels that must survive an 8x-downsampling autoencoder, which
is why skin tones lie far apart and each group has one hair silhouette per gender.

People are sketched around x = 0 (the middle of the face) with y counted from the picture's top;
the head spans y 16..42 and the body continues below the frame.
"""

from __future__ import annotations

from .sketch import RGB, Sketch, rgb, sketch


def _table(texts: dict[str, str]) -> dict[str, Sketch]:
    return {name: sketch(text) for name, text in texts.items()}


SKINS: dict[str, RGB] = {
    "white": rgb("#ffdccf"),
    "asian": rgb("#fbd27c"),
    "latino": rgb("#d9955c"),
    "indian": rgb("#9a5d38"),
    "black": rgb("#4d2c20"),
}

HAIR_COLOURS: dict[str, tuple[RGB, ...]] = {
    "white": (rgb("#f7d64e"), rgb("#ea7a2c")),
    "asian": (rgb("#17171c"), rgb("#1f1c1c")),
    "latino": (rgb("#7a3b1a"), rgb("#6b3216")),
    "indian": (rgb("#1c2350"), rgb("#232a5a")),
    "black": (rgb("#16100e"), rgb("#1f1512")),
}

# --- Hair: what lies behind the head and what lies over the forehead, two variants each. ---------

_CURTAINS = "hair box -15 24 -9.5 50; hair box 9.5 24 15 50;"

_BACK_TEXT: dict[tuple[str, str], str] = {
    ("white", "male"): "",
    ("asian", "male"): "",
    ("latino", "male"): "",
    ("indian", "male"): "",
    ("black", "male"): "hair disc 0 21 15",
    ("white", "female"): "hair oval 0 26 16 14; hair box -16 26 16 48; hair oval 0 48 16 4",
    ("asian", "female"): "hair oval 0 25 15.5 13; hair box -15.5 25 15.5 51",
    ("latino", "female"): "hair oval 0 24 15 12; hair disc -13 24 6; hair disc 13 24 6;"
    "hair disc -15 32 6; hair disc 15 32 6; hair disc -13 40 6; hair disc 13 40 6;"
    "hair disc -15.5 47 6; hair disc 15.5 47 6; hair box -11 30 11 48",
    ("indian", "female"): "hair oval 0 26 14.5 13.5; hair poly -14.5 26 14.5 26 17 52 -17 52",
    ("black", "female"): "hair disc 0 22 17; hair disc -14 31 8; hair disc 14 31 8;"
    "hair disc -14.5 41 7.5; hair disc 14.5 41 7.5; hair box -12 30 12 47",
}

_FRONT_TEXT: dict[tuple[str, str], tuple[str, str]] = {
    ("white", "male"): (
        "hair poly -12.3 29 -13 20 -9 13 2 11 10 13 13 20 12.3 29 10.5 23 4 21 -4 17.5 -9.5 23",
        "hair poly -12.3 29 -13 20 -10 14 -2 9 9 9.5 13 18 12.3 29 10.5 22 3 19.5 -5 21 -10.5 23",
    ),
    ("asian", "male"): (
        "hair pie 0 25 13 180 360; hair box -13 24 -9.8 31; hair box 9.8 24 13 31",
        "hair pie 0 24.5 13.3 180 360; hair box -13.3 23 -10 30; hair box 10 23 13.3 30;"
        "skin poly -4 25 4 25 0 21",
    ),
    ("latino", "male"): (
        "hair disc -9 19 5; hair disc -3 15.5 5.8; hair disc 4 15 5.8; hair disc 9.5 19 5;"
        "hair box -13 20 -10 28; hair box 10 20 13 28",
        "hair disc -9 20 4.8; hair disc -5 15.5 5.5; hair disc 2 14 6; hair disc 8 17 5.8;"
        "hair disc 0 18.5 4; hair box -13 20 -10 28; hair box 10 20 13 28",
    ),
    ("indian", "male"): (
        "hair poly -12.5 29 -13 20 -9 13.5 -5 13 -4.5 20 -10 24;"
        "hair poly -4.5 20 -5 13 4 10 11 13.5 13 20 12.5 29 10.5 24 4 21.5",
        "hair poly 12.5 29 13 20 9 13.5 5 13 4.5 20 10 24;"
        "hair poly 4.5 20 5 13 -4 10 -11 13.5 -13 20 -12.5 29 -10.5 24 -4 21.5",
    ),
    ("black", "male"): (
        "hair disc -9.5 20.5 4; hair disc -4 17.5 4.5; hair disc 4 17.5 4.5; hair disc 9.5 20.5 4",
        "hair disc -10 21 3.6; hair disc -5 18 4.2; hair disc 0 17 4.2; hair disc 5 18 4.2;"
        "hair disc 10 21 3.6",
    ),
    ("white", "female"): (
        "hair poly -13 30 -14 18 -5 12.5 6 12.5 14 18 13 30 9 22 3 17 -4 23",
        "hair poly 13 30 14 18 5 12.5 -6 12.5 -14 18 -13 30 -9 22 -3 17 4 23",
    ),
    ("asian", "female"): (
        "hair pie 0 25 13.5 180 360;" + _CURTAINS,
        "hair pie 0 24.3 13.5 180 360; hair box -15 22 -9 50; hair box 9 22 15 50",
    ),
    ("latino", "female"): (
        "hair disc -9.5 19.5 5; hair disc -3.5 16 5.5; hair disc 4 16.5 5; hair disc 10 20 4.6",
        "hair disc 9.5 19.5 5; hair disc 3.5 16 5.5; hair disc -4 16.5 5; hair disc -10 20 4.6",
    ),
    ("indian", "female"): (
        "hair poly 0 12.5 -12 16 -14.5 30 -15 50 -9.5 50 -9.5 29 -5.5 22 0 17.5;"
        "hair poly 0 12.5 12 16 14.5 30 15 50 9.5 50 9.5 29 5.5 22 0 17.5",
        "hair poly 3 12.5 -12 16 -14.5 30 -15 50 -9.5 50 -9.5 29 -4.5 22.5 3 17.5;"
        "hair poly 3 12.5 12 16 14.5 30 15 50 9.5 50 9.5 29 7 22 3 17.5",
    ),
    ("black", "female"): (
        "hair disc -10 20.5 4.5; hair disc -4 17.5 4.6; hair disc 4 17.5 4.6;"
        "hair disc 10 20.5 4.5",
        "hair disc -11 21 4.3; hair disc -6 17.5 4.2; hair disc 0 16.5 4.4; hair disc 6 17.5 4.2;"
        "hair disc 11 21 4.3",
    ),
}  # fmt: skip

HAIR_BACK = {key: sketch(text) for key, text in _BACK_TEXT.items()}
HAIR_FRONT = {key: (sketch(one), sketch(two)) for key, (one, two) in _FRONT_TEXT.items()}

# --- Heads and faces. ----------------------------------------------------------------------------

BODY = _table(
    {
        "male": "dress oval 0 56 23 10; dress box -23 56 23 74; skindeep box -5 38 5 46;"
        "skin pie 0 45 6 0 180; skin box -5 42.5 5 46",
        "female": "dress oval 0 57 19.5 10; dress box -19.5 57 19.5 74;"
        "skindeep box -4.2 38 4.2 47;"
        "skin pie 0 46 6 0 180; skin box -4.2 43 4.2 47",
    }
)
HEAD = _table(
    {
        "male": "skin disc -11 30 3; skin disc 11 30 3; skin oval 0 28 11 13;"
        "skin box -8.5 33 8.5 39;"
        "skin oval 0 38 8.5 4.5",
        "female": "skin oval 0 28.5 10.5 13.5",
    }
)
EYES: tuple[Sketch, ...] = tuple(
    sketch(
        f"#ffffff oval {-x} 29 2.7 2.3; #ffffff oval {x} 29 2.7 2.3;"
        f"#1c1616 disc {-x} 29.2 {r}; #1c1616 disc {x} 29.2 {r}"
    )
    for x, r in ((4.8, 1.8), (5.2, 1.7), (4.6, 1.9))
)
# Brows by (mood, gender): inner ends drop when cross, rise when glad.
_BROW_TEXT = {
    "plain": "brow line {w} -7.3 24.8 -3 24.6; brow line {w} 3 24.6 7.3 24.8",
    "glad": "brow line {w} -7.5 24.8 -5 23.6 -2.8 24; brow line {w} 2.8 24 5 23.6 7.5 24.8",
    "cross": "brow line {w} -7.8 23.2 -2.2 26.2; brow line {w} 2.2 26.2 7.8 23.2",
}
BROWS = {
    (mood, gender): sketch(text.format(w=width))
    for mood, text in _BROW_TEXT.items()
    for gender, width in (("male", 2.4), ("female", 1.4))
}
_MOUTH_TEXT = {
    ("plain", "male"): "mouth arc 0 33 4.6 1.8 25 155",
    ("glad", "male"): "#5a1820 pie 0 33.8 5.6 0 180; #ffffff box -4.6 33.8 4.6 35.6",
    ("cross", "male"): "mouth arc 0 40.5 5.4 2.2 205 335",
    ("plain", "female"): "lips oval 0 36.6 3.8 2; lips disc -1.5 35.6 1.7; lips disc 1.5 35.6 1.7",
    ("glad", "female"): "lips pie 0 33.4 6.4 0 180; #ffffff box -4.4 34.2 4.4 36.2",
    ("cross", "female"): "lips arc 0 40.8 5.6 2.8 205 335",
}
MOUTHS = {key: sketch(text) for key, text in _MOUTH_TEXT.items()}
EARRINGS = sketch("#ffd028 disc -11 38 2.2; #ffd028 disc 11 38 2.2")
GLASSES = sketch(
    "#26262c arc -5.2 29 4.9 1.5 0 360; #26262c arc 5.2 29 4.9 1.5 0 360; #26262c box -1 28 1 29.5"
)
BEARDS = (
    sketch("hair pie 0 33 10.5 0 180; hair box -11 29 -8.6 34; hair box 8.6 29 11 34;"
           "skin oval 0 33 7 2.2; lips oval 0 36.6 3.2 1.3"),
    sketch("hair oval 0 33.6 5.6 1.8"),
)  # fmt: skip

# --- Dresses: details over the body, drawn so that they fit both widths. -------------------------

DRESSES = _table(
    {
        "plain": "deep arc 0 44 9 2.4 20 160",
        "coat": "accent poly -6.5 46.5 6.5 46.5 0 60; deep line 2.2 -7 46.5 0 61 0 70;"
        "deep line 2.2 7 46.5 0 61",
        "scrubs": "deep poly -8 46.5 8 46.5 0 58; skin poly -5.5 46 5.5 46 0 54;"
        "accent box -14 57 -6 64",
        "suit": "#ffffff poly -7.5 46.5 7.5 46.5 0 66; accent poly -2.4 48 2.4 48 4 59 0 66 -4 59;"
        "deep line 2.2 -7.5 47 0 67; deep line 2.2 7.5 47 0 67",
        "apron": "accent line 3 -8 47 -9 54; accent line 3 8 47 9 54; accent box -12.5 53 12.5 74",
        "overalls": "accent line 5 -11 48.5 -10 56; accent line 5 11 48.5 10 56;"
        "accent box -12.5 56 12.5 74; #ffe14a disc -9 56.5 1.9; #ffe14a disc 9 56.5 1.9",
        "uniform": "accent box -18.5 49 -9.5 52.5; accent box 9.5 49 18.5 52.5;"
        "deep box -1 48 1 70;"
        "accent disc 0 54 2; accent disc 0 60 2",
        "vest": "accent box -14 47.5 -9 74; accent box 9 47.5 14 74; accent box -14 57 14 61.5",
        "striped": "accent box -15 51.5 15 55; accent box -19 58.5 19 62",
        "robe": "accent poly -9 46.5 -3.5 46.5 -3.5 74 -12 74;"
        "accent poly 9 46.5 3.5 46.5 3.5 74 12 74",
        "bowtie": "#ffffff poly -7.5 46.5 7.5 46.5 4 70 -4 70; accent poly -6.5 46 0 49 -6.5 52.5;"
        "accent poly 6.5 46 0 49 6.5 52.5",
        "sash": "accent poly -15 48.5 -8 47 14 70 5 70",
        "scarf": "accent oval 0 47.5 10 4; accent box -7 48 -1 60",
        "tee": "accent disc 0 57 5.5",
        "checked": "accent box -13.5 48.5 -10 74; accent box 10 48.5 13.5 74;"
        "accent box -2 52 2 74; accent box -17 56 17 59.5",
        "cape": "accent poly -8 46 8 46 0 52; accent oval -13 53 8.5 5; accent oval 13 53 8.5 5",
    }
)

# --- Hats: they sit on y ~19, so fringes show below and long hair on both sides. -----------------

HATS = _table(
    {
        "none": "",
        "toque": "hat disc -8 8 6.5; hat disc 8 8 6.5; hat disc 0 6 7.5; hat box -11.5 9 11.5 19;"
        "hatdeep box -11.5 16 11.5 19.5",
        "hardhat": "hat pie 0 18.5 14 180 360; hatdeep box -2.5 4 2.5 14;"
        "hatdeep box -16.5 16.5 16.5 20",
        "helmet": "hat pie 0 17 14 180 360; hatdeep oval 0 17.5 18.5 3.2;"
        "accent poly -4 6 4 6 3.5 13 0 16"
        " -3.5 13",
        "peaked": "hat poly -16 8 0 3.5 16 8 12.5 15 -12.5 15; hatdeep box -12.5 13 12.5 17;"
        "#20242c oval 0 18 12.5 2.6; accent disc 0 9.5 2.8",
        "straw": "hat oval 0 17.5 22 4.2; hat pie 0 17 12 180 360; accent box -12 12.5 12 16.5",
        "cap": "hat pie 0 18.5 13.5 180 360; hatdeep oval 7 18.5 13 2.6; accent disc 0 11.5 3",
        "beret": "hat oval -3 12.5 17 7; hatdeep box -12 16 12 19.5; hat line 2.6 0 3 0 8",
        "fedora": "hat poly -12 17 -9.5 5 -2 7.5 4 5 9.5 5.5 12 17; accent box -12 12 12 16;"
        "hat oval 0 17.5 18.5 3",
        "tophat": "hat box -10.5 1.5 10.5 17; accent box -10.5 11.5 10.5 15.5;"
        "hat box -17 15.5 17 19",
        "headset": "hat arc 0 25 15.5 3.2 180 360; hat oval -13.5 29 3.4 5; hat oval 13.5 29 3.4 5",
        "headband": "hat box -13.2 17.5 13.2 22",
        "board": "hatdeep box -11 11 11 19; hat poly -19 9.5 0 3 19 9.5 0 16;"
        "accent line 2.6 0 9 15 11 15 19",
        "bandana": "hat pie 0 20 13.4 180 360; accent disc -6 14 2.2; accent disc 6 14 2.2;"
        "accent disc 0 10.5 2.2; hat poly 11 18 19 15 19 23",
        "beanie": "hat pie 0 19 13.5 180 360; hatdeep box -14 15.5 14 20.5; accent disc 0 4.5 4",
        "sailor": "hat pie 0 15 10.5 180 360; hat poly -15.5 11 15.5 11 13 19.5 -13 19.5;"
        "accent box -13.3 16 13.3 19",
        "scrubcap": "hat pie 0 20 13.4 180 360; accent box -13 16.5 13 20",
        "goggles": "hat box -13.5 14 13.5 18.5; hat disc -6 16 5.4; hat disc 6 16 5.4;"
        "accent disc -6 16 3.3; accent disc 6 16 3.3",
        "nursecap": "hat poly -12.5 19 -10 8 10 8 12.5 19; accent box -1.7 9.5 1.7 17.5;"
        "accent box -5 11.8 5 15.2",
        "sidecap": "hat poly -13 19 -9 6 12 10 13.5 19; accent line 2.4 -11 13 13 14.5",
        "bubble": "hat arc 0 27 21.5 4 0 360; hatdeep oval 0 50 13 3",
        "visor": "hat box -13.2 15 13.2 19; hat oval 0 19 14.5 3.2",
        "lamp": "hat box -13.2 14 13.2 18.5; hatdeep disc 0 15.5 6; accent disc 0 15.5 4.2",
        "earmuffs": "hatdeep arc 0 25 15.5 3 180 360; hat disc -14 29 5.4; hat disc 14 29 5.4",
    }
)

# --- The neutral mannequin: lavender-grey, without hair, gender or skin tone. --------------------

MANNEQUIN_TONES: dict[str, RGB] = {"body": rgb("#b4a7d3"), "joint": rgb("#85779f")}
HORROR_TONES: dict[str, RGB] = {"body": rgb("#6fae4e"), "joint": rgb("#47752f")}
TUNICS: tuple[RGB, ...] = tuple(map(rgb, ("#4f6f93", "#34503c", "#a98340", "#3a7c7c", "#544e4b")))

MANNEQUIN_BODY = sketch(
    "body box -4.5 28 4.5 40; body oval 0 46 20 9; body box -14 42 14 74;"
    "body line 9.5 -17.5 46 -21 74; body line 9.5 17.5 46 21 74"
)
MANNEQUIN_JOINTS = sketch(
    "joint line 1.8 -5 35 5 35; joint line 1.8 -12 42 -14 53; joint line 1.8 12 42 14 53;"
    "joint line 1.8 -14 58 14 58; joint line 1.8 -23 59 -16 59.5; joint line 1.8 23 59 16 59.5"
)
TUNIC = sketch(
    "tunic oval 0 46 20.5 9.3; tunic box -15 43 15 74; tunic line 10.5 -17.5 47 -20.5 66;"
    "tunic line 10.5 17.5 47 20.5 66; deep line 2 -13.5 50 -15 68; deep line 2 13.5 50 15 68;"
    "deep poly -8 37 8 37 0 44; body poly -5 36.5 5 36.5 0 41; #f4efe2 disc 0 47.5 2.1;"
    "#f4efe2 disc 0 54 2.1; #f4efe2 disc 0 60.5 2.1"
)
MANNEQUIN_HEAD = sketch("body oval 0 19.5 10.5 13")
MANNEQUIN_FACE = sketch(
    "joint disc -4.3 18 1.6; joint disc 4.3 18 1.6; joint line 1.7 -2.8 25.5 2.8 25.5"
)
HORROR_FACE = sketch(
    "#10130d oval -4.8 16.5 4 4.8; #10130d oval 4.8 16.5 4 4.8;"
    "#10130d poly -8 24 -4.5 26 -1.5 23.5 1.5 26 4.5 23.5 8 25.5 5 30.5 2.5 28 0 30.5"
    " -2.5 28 -5 30.5;"
    "#10130d line 2.2 -6.5 10 7 8; #10130d line 2.2 -2.8 7 -2.2 12; #10130d line 2.2 3 6 3.6 11"
)
HANDS = sketch("body disc -18.5 60 6; body disc 18.5 60 6")
HORROR_HANDS = sketch(
    "#10130d line 1.8 -4 35.5 4 35.5; #10130d line 1.8 -2.5 33 -2.5 38;"
    "#10130d line 1.8 2.5 33 2.5 38"
)
SPLAT = sketch(
    "splat disc 0 0 6.8; splat disc -6 -3.5 3; splat disc 4 -6.5 2.6; splat disc 7 1.5 2.8;"
    "splat disc -5 5.5 2.6; splat line 3.6 2 0 2 12; splat disc 2 12.5 2.4"
)
