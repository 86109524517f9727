"""Badge glyphs (one ink on paper) and the plain objects, as sketches centred on the origin.

Glyphs fill a square of +-8 picture pixels inside a badge of radius 10.5 and leave out anything
thinner than about 2 pixels, since the pictures go through an 8x-downsampling autoencoder.
"""

from __future__ import annotations

from .sketch import Sketch, sketch

BADGE_RADIUS = 10.5

_GLYPH_TEXT: dict[str, str] = {
    # Health
    "cross": "ink box -2.7 -7 2.7 7; ink box -7 -2.7 7 2.7",
    "tooth": "ink disc -3 -3 4.2; ink disc 3 -3 4.2; ink poly -7 -2 0 -1 -2 7.5 -5 7.5;"
    "ink poly 7 -2 0 -1 2 7.5 5 7.5",
    "pill": "ink line 7.5 -4 4 4 -4; paper line 2 -2.7 -2.7 2.7 2.7",
    "steth": "ink arc 0 -4 6 2.5 0 180; ink line 2.5 0 1 0 4; ink disc 0 5 3.2",
    "scalpel": "ink line 3.5 -6 6 -1 1; ink poly -3 0 5 -8 8 -6 1 3",
    "siren": "ink pie 0 3 6 180 360; ink box -7.5 3 7.5 6.5; ink line 2.5 0 -7 0 -3",
    "glasses": "ink disc -4 0 4.2; ink disc 4 0 4.2; paper disc -4 0 2; paper disc 4 0 2",
    "bone": "ink line 3.8 -4 4 4 -4; ink disc -5.5 3 2.8; ink disc -3 5.5 2.8;"
    "ink disc 5.5 -3 2.8; ink disc 3 -5.5 2.8",
    # Food
    "pot": "ink box -6 -1 6 6.5; ink line 2.5 -7.5 0 7.5 0; ink line 2.5 -2 -4.5 2 -4.5",
    "loaf": "ink oval 0 0 8 5.5; paper line 1.8 -3 -2.5 -2 2.5; paper line 1.8 2 -2.5 3 2.5",
    "cleaver": "ink box -7.5 -6 4 2; ink line 3.5 3 1 6 6.5",
    "cup": "ink disc 4 0 4; paper disc 4 0 1.7; ink box -7 -5 4 6",
    "glass": "ink poly -7 -7 7 -7 0 2; ink line 2.4 0 0 0 6; ink line 2.4 -3.5 6.5 3.5 6.5",
    "fish": "ink oval -1.5 0 6.5 4.5; ink poly 3 0 8 -5 8 5; paper disc -4.5 -1 1.3",
    "cake": "ink disc 0 -3 5; ink disc -4 -1 3; ink disc 4 -1 3; ink poly -5 3 5 3 3.5 8 -3.5 8",
    "cloche": "ink pie 0 4 7 180 360; ink box -8 5 8 7.5; ink disc 0 -4.5 2.2",
    # Street
    "flame": "ink disc 0 2.5 5; ink poly -4.9 1.5 0.5 -8 4.9 1.5; paper disc 0 4 2.2",
    "bricks": "ink box -8 -6 -0.8 -0.8; ink box 0.8 -6 8 -0.8; ink box -4 0.8 4 6",
    "parcel": "ink box -7 -6 7 7; paper box -1.2 -6 1.2 7; paper box -7 -1.2 7 1.2",
    "broom": "ink line 2.6 6 -7 -1 1; ink poly -4 -1 2 4 -2 8 -8 4",
    "house": "ink poly -8 0 0 -7.5 8 0; ink box -5.5 0 5.5 6.5",
    "square": "ink poly -7 7 -7 -8 8 7; paper poly -3.5 3.5 -3.5 -1 1 3.5",
    "lens": "ink line 3.4 1 1 6.5 6.5; ink disc -2 -2 5.5; paper disc -2 -2 2.8",
    "shield": "ink poly -6.5 -6.5 6.5 -6.5 6.5 1 0 8 -6.5 1",
    # Stage
    "mic": "ink line 3 -1 1 -6 6.5; ink disc 2.5 -3 4.6",
    "shoe": "ink poly -7.5 -5 -3 -5 0 0 8 2.5 8 6 -7.5 6",
    "wand": "ink line 2.6 -6 6.5 1 -1; ink poly 3 -8 4.3 -4.7 8 -3.5 4.3 -2 3 1.5 1.7 -2 -2 -3.5"
    " 1.7 -4.7",
    "keys": "ink box -8 -6 8 6; paper box -5.8 0.5 -3.6 6; paper box -1.1 0.5 1.1 6;"
    "paper box 3.6 0.5 5.8 6",
    "drum": "ink box -6.5 -1 6.5 6.5; ink line 2.3 -6 -7 0 -2; ink line 2.3 6 -7 0 -2;"
    "paper box -6.5 1 6.5 2.6",
    "guitar": "ink disc -3 3.5 4.2; ink disc -0.3 0.5 3.2; ink line 2.6 0 0 6.5 -6.5;"
    "paper disc -2.6 3 1.4",
    "grin": "ink disc 0 0 7.5; paper pie 0 1 5 0 180; paper disc -2.8 -2.6 1.5;"
    "paper disc 2.8 -2.6 1.5",
    "note": "ink disc -3.5 4.5 3.2; ink line 2.4 -1.5 4 -1.5 -6.5; ink poly -2.5 -8 6 -6 6 -2 -2.5"
    " -4",
    # Office
    "scales": "ink line 2.4 0 -6.5 0 6; ink line 2.4 -6 -4.5 6 -4.5; ink pie -5 0 3.5 0 180;"
    "ink pie 5 0 3.5 0 180; ink box -4 5 4 7.5",
    "gavel": "ink line 5.5 -5 -1 1 -5; ink line 3 -1 -2 6 6",
    "coin": "ink disc 0 0 7.5; paper box -1.4 -4.5 1.4 4.5",
    "calculator": "ink box -6 -8 6 8; paper box -3.6 -5.5 3.6 -2; paper box -3.6 0.5 -1 5.5;"
    "paper box 1 0.5 3.6 5.5",
    "phone": "ink box -4.8 -8 4.8 8; paper box -2.6 -5.5 2.6 3.5",
    "monitor": "ink box -8 -7 8 3.5; paper box -5.5 -4.5 5.5 1; ink box -3.5 4.5 3.5 7",
    "pencil": "ink line 4.6 5 -5 -2 2; ink poly -4.5 0.5 -0.5 4.5 -7 7",
    "dividers": "ink line 2.6 0 -5 -5 7; ink line 2.6 0 -5 5 7; ink disc 0 -5.5 2.8",
    # School
    "apple": "ink disc -2.8 1.5 4.7; ink disc 2.8 1.5 4.7; ink line 2.2 0 -3 2 -7",
    "letter": "ink box -8 -5.5 8 5.5; paper line 1.8 -7 -4.5 0 1 7 -4.5",
    "book": "ink poly -8 -6 0 -3.5 8 -6 8 4.5 0 7 -8 4.5; paper line 1.8 0 -3 0 7",
    "flask": "ink box -2.2 -7.5 2.2 0; ink poly -2 -3 2 -3 7 7 -7 7; ink line 2 -3 -7 3 -7",
    "planet": "ink disc 0 0 5.3; paper line 4 -8 3.5 8 -3.5; ink line 2 -8 3.5 8 -3.5",
    "ball": "ink disc 0 0 7.5; paper line 1.8 -7 0 7 0; paper line 1.8 0 -7 0 7",
    "hourglass": "ink poly -6 -7.5 6 -7.5 0 1; ink poly -6 7.5 6 7.5 0 -1",
    "globe": "ink disc 0 0 7.5; paper line 1.7 -7 -2.5 7 -2.5; paper line 1.7 -7 2.5 7 2.5",
    # Workshop
    "hammer": "ink line 3.2 0 -2 0 6.5; ink box -7 -7.5 6 -2.5",
    "saw": "ink poly -8 -4 3 -4 3 1 1 4 -1 1 -3 4 -5 1 -8 3; ink box 3 -5 8 3",
    "wrench": "ink line 3.8 -5 5 2 -2; ink disc 3.3 -3.3 4.7; paper poly 3 -3 8.5 -5 5 -8.5",
    "drop": "ink disc 0 2.5 5.3; ink poly -5 1 0 -8 5 1",
    "bolt": "ink poly 2.5 -8.5 -6 1.5 -1 1.5 -2.5 8.5 6 -2 1 -2",
    "spark": "ink poly 0 -8.5 2.4 -2.4 8.5 0 2.4 2.4 0 8.5 -2.4 2.4 -8.5 0 -2.4 -2.4",
    "button": "ink disc 0 0 7.5; paper disc -2.4 0 1.6; paper disc 2.4 0 1.6",
    "vase": "ink box -3.8 -7.5 3.8 -5; ink box -2.2 -6 2.2 0; ink oval 0 2.2 6 5.4",
    "gem": "ink poly -4.5 -6 4.5 -6 8.5 -1.5 0 7.5 -8.5 -1.5; paper line 1.6 -6 -1.2 6 -1.2",
    # Farm
    "carrot": "ink poly -4.5 -2.5 4.5 -2.5 0 8.5; ink line 2.4 0 -3 -3.5 -7;"
    "ink line 2.4 0 -3 3.5 -7",
    "leaf": "ink poly -7 7 -6 -2 0 -6.5 7.5 -7.5 6.5 0 2 5.5 -4 5; paper line 1.6 -3 3 3 -3",
    "bee": "ink oval -3 -4.6 3 3; ink oval 3 -4.6 3 3; paper oval 0 2.6 8.4 6;"
    "ink oval 0 2.6 7.6 5;"
    "paper box -3.4 -1 -1.3 6; paper box 1.3 -1 3.4 6",
    "sheep": "ink disc -3.5 -1 4; ink disc 2 -2.5 4.3; ink disc 4.5 1 3.7; ink disc -1 2 4;"
    "ink box -4.5 3 -2.2 7.5; ink box 2.2 3 4.5 7.5",
    "flower": "ink disc 0 -4.3 3.4; ink disc 4.1 -1.3 3.4; ink disc 2.5 3.5 3.4;"
    "ink disc -2.5 3.5 3.4; ink disc -4.1 -1.3 3.4; paper disc 0 0 2.4",
    "paw": "ink oval 0 3 4.8 4; ink disc -5.6 -1 2.2; ink disc -2.2 -4.8 2.3;"
    "ink disc 2.2 -4.8 2.3; ink disc 5.6 -1 2.2",
    "tree": "ink poly 0 -8.5 6.5 3.5 -6.5 3.5; ink box -1.7 3.5 1.7 7.5",
    "wheat": "ink line 2.2 0 -4 0 8; ink oval 0 -5.5 2.4 3; ink oval -4 -2 2.6 3;"
    "ink oval 4 -2 2.6 3; ink oval -3.5 3 2.4 2.6; ink oval 3.5 3 2.4 2.6",
    # Travel
    "plane": "ink line 3.4 0 -6.5 0 6; ink poly -8.5 2 0 -4 8.5 2 8.5 4 0 1 -8.5 4;"
    "ink poly -4 8 0 4 4 8",
    "anchor": "ink disc 0 -5.5 2.6; ink line 2.6 0 -5 0 5; ink arc 0 0 7.5 2.6 10 170;"
    "ink line 2.4 -3.5 -1.5 3.5 -1.5",
    "rocket": "ink poly 0 -8.5 4 -3 4 5 -4 5 -4 -3; ink poly -4 1 -7.5 7 7.5 7 4 1;"
    "paper disc 0 -2 1.9",
    "wheel": "ink disc 0 0 7.7; paper disc 0 0 5; ink line 2.4 -6 0 6 0; ink line 2.4 0 0 0 6",
    "case": "ink box -8 -3.5 8 7; ink box -4 -7 4 -3.5; paper box -1.8 -5.2 1.8 -3.5",
    "pin": "ink disc 0 -2.5 5.5; ink poly -5.2 -0.5 5.2 -0.5 0 8.5; paper disc 0 -2.5 2.3",
    "camera": "ink box -8 -4 8 6.5; ink box -3.5 -7 3.5 -4; paper disc 0 1.3 3.2",
    "bubbles": "ink disc -2.5 2.5 5; paper disc -2.5 2.5 2.5; ink disc 5 -4.5 3.2",
    # Kindly traits
    "heart": "ink disc -3.6 -2.5 4.1; ink disc 3.6 -2.5 4.1; ink poly -7.3 -0.8 7.3 -0.8 0 8",
    "feather": "ink oval 2 -2 4 6; ink line 2.4 -4 8 2 -2; paper line 1.6 0 1 4 -5",
    "gift": "ink box -7 -2 7 7.5; paper box -1.2 -2 1.2 7.5; ink disc -3.2 -4.8 2.6;"
    "ink disc 3.2 -4.8 2.6",
    "umbrella": "ink pie 0 0 8 180 360; ink line 2.4 0 -1 0 6; ink line 2.4 0 6.5 3 6.5",
    "hands": "ink line 5 -4.5 -3 -4.5 4; ink line 5 4.5 -3 4.5 4; ink line 3 -4 1 4 1",
    "bow": "ink poly -8 -5.5 0 0 -8 5.5; ink poly 8 -5.5 0 0 8 5.5; ink disc 0 0 2.8",
    "buoy": "ink disc 0 0 8; paper disc 0 0 3.4; paper box -1.5 -8 1.5 -3; paper box -1.5 3 1.5 8",
    "sun": "ink disc 0 0 4.4; ink line 2.2 -7.5 0 7.5 0; ink line 2.2 0 -7.5 0 7.5;"
    "ink line 2.2 -5.3 -5.3 5.3 5.3; ink line 2.2 -5.3 5.3 5.3 -5.3",
    "balloon": "ink oval 0 -2.5 5.2 6; ink line 2.2 0 3 0 8",
    "kite": "ink poly 0 -8.5 6 -1.5 0 5.5 -6 -1.5; ink line 2.2 0 5 4 8",
    "question": "ink arc 0 -3 5.2 2.8 180 450; ink line 2.8 0 1 0 3; ink disc 0 6.7 1.9",
    "bulb": "ink disc 0 -2.5 5.5; ink box -2.8 1 2.8 4.5; ink box -2.2 5.5 2.2 8",
    "key": "ink disc -4 0 4.2; paper disc -4 0 1.8; ink line 2.8 0 0 7 0; ink box 4 0 7.5 4.5",
    "rainbow": "ink pie 0 5 8.5 180 360; paper pie 0 5 5.8 180 360; ink pie 0 5 3.4 180 360",
    "check": "ink line 3.6 -6 0 -2 5 6 -5",
    "medal": "ink poly -5.5 -8.5 5.5 -8.5 2 0 -2 0; ink disc 0 3 4.8; paper disc 0 3 2",
    "moon": "ink disc 0 0 7.5; paper disc 3.8 -2 5.8",
    "owl": "ink disc -3.6 -1 4.2; ink disc 3.6 -1 4.2; paper disc -3.6 -1 1.9;"
    "paper disc 3.6 -1 1.9; ink poly -2 3 2 3 0 7",
    "gear": "ink disc 0 0 5.5; ink line 3.2 -6.5 0 6.5 0; ink line 3.2 0 -6.5 0 6.5;"
    "ink line 3 -4.6 -4.6 4.6 4.6; ink line 3 -4.6 4.6 4.6 -4.6; paper disc 0 0 2.4",
    "star": "ink poly 0 -8.5 2.3 -2.8 8.2 -2.6 3.5 1.1 5.1 7 0 3.5 -5.1 7 -3.5 1.1 -8.2 -2.6"
    " -2.3 -2.8",
    # Sour traits
    "cloud": "ink disc -3.8 1.5 4; ink disc 0.5 -1.5 4.8; ink disc 4.6 1.8 3.6;"
    "ink box -4 1.5 5 5.5",
    "exclaim": "ink poly -2.8 -8 2.8 -8 1.4 2.5 -1.4 2.5; ink disc 0 6 2.2",
    "horn": "ink poly -8 -2 -2 -2 7 -7.5 7 7.5 -2 2 -8 2; ink line 3 -4 2 -3 6.5",
    "eye": "ink poly -8.5 0 -4 -4.5 0 -5.5 4 -4.5 8.5 0 4 4.5 0 5.5 -4 4.5; paper disc 0 0 3.2;"
    "ink disc 0 0 1.6",
    "block": "ink box -7 -7 7 7; paper box -3.5 -1.3 3.5 1.3",
    "half": "ink disc 0 0 7.8; paper pie 0 0 5.4 90 270",
    "rain": "ink disc -3.5 -3.5 3.2; ink disc 2 -4 4; ink line 2.4 -4 2 -5 6.5;"
    "ink line 2.4 0.5 2 -0.5 6.5; ink line 2.4 5 2 4 6.5",
    "lozenge": "ink poly 0 -8.5 8.5 0 0 8.5 -8.5 0; paper poly 0 -4.5 4.5 0 0 4.5 -4.5 0",
    # Slack traits
    "zed": "ink line 3.2 -5 -6 5 -6 -5 6 5 6",
    "scribble": "ink line 2.6 -7 -5 6 -5 -6 0 6 0 -6 5 7 5",
    "crack": "ink line 3.2 3 -8 -3 -3 3 1.5 -3 8",
    "blot": "ink disc 0 0 5; ink disc -5.5 -3.5 2.4; ink disc 5 -5 2; ink disc 5.5 3.5 2.6;"
    "ink disc -4 5.5 2.4",
    "dots": "ink disc -5.5 0 2.4; ink disc 0 0 2.4; ink disc 5.5 0 2.4",
    "bin": "ink poly -5.5 -3 5.5 -3 4 8 -4 8; ink line 2.6 -6.5 -5.8 6.5 -5.8",
    "clock": "ink disc 0 0 7.8; paper disc 0 0 5.3; ink line 2.2 0 -3.5 0 0 3 0",
    "arrows": "ink line 3 -6 -6 0 0 -6 6; ink line 3 1 -6 7 0 1 6",
    # Sly traits
    "trophy": "ink pie 0 -6.5 6.5 0 180; ink line 2.6 0 0 0 5; ink line 2.8 -4 6.5 4 6.5;"
    "ink box -8 -7 8 -4.8",
    "crown": "ink poly -8 6 -8 -5.5 -3.5 0 0 -7 3.5 0 8 -5.5 8 6",
    "keyhole": "ink disc 0 -3 4.6; ink poly -1.5 -1 1.5 -1 4.5 7.5 -4.5 7.5",
    "lock": "ink disc 0 -3 5; paper disc 0 -3 2.4; ink box -6.5 -2 6.5 7",
    "mask": "ink oval -4 0 4.4 4; ink oval 4 0 4.4 4; ink box -8.5 -4 8.5 -1; paper disc -4 0 1.7;"
    "paper disc 4 0 1.7",
    "purse": "ink disc 0 2 6; ink poly -3.5 -7.5 3.5 -7.5 1.5 -3 -1.5 -3",
    "bell": "ink disc 0 -2 5; ink poly -5 -2 5 -2 7.5 4.5 -7.5 4.5; ink disc 0 6.3 2",
    "up": "ink poly 0 -8.5 8 0 -8 0; ink box -3 0 3 7.5",
}

GLYPHS: dict[str, Sketch] = {name: sketch(text) for name, text in _GLYPH_TEXT.items()}

# Objects: `main` is the asked-for colour, `deep` its darker shade, within about +-24 pixels.
_OBJECT_TEXT: dict[str, str] = {
    "cat": "main poly -16 -6 -16 -25 -4 -16; main poly 16 -6 16 -25 4 -16; main oval 0 -6 16 13;"
    "main oval 0 16 13 11; #ffffff oval -6 -8 3.6 4; #ffffff oval 6 -8 3.6 4;"
    "#202020 disc -6 -8 2.4;"
    "#202020 disc 6 -8 2.4; deep poly -3 -2 3 -2 0 2",
    "dog": "main oval 0 16 13 11; main oval 0 -6 15 14; deep oval -16 -4 5.5 12;"
    "deep oval 16 -4 5.5 12;"
    "#ffffff oval 0 2 7.5 5.5; #202020 oval 0 -1 3.4 2.6; #202020 disc -6 -9 2.4;"
    "#202020 disc 6 -9 2.4",
    "house": "main box -17 -4 17 23; deep poly -23 -3 0 -24 23 -3; #fff3b0 box -13 2 -5 10;"
    "#fff3b0 box 5 2 13 10; deep box -4 10 4 23",
    "tree": "#7a4a26 box -4 6 4 25; main disc 0 -12 12; main disc -10 -1 11; main disc 10 -1 11",
    "car": "main poly -14 -2 -9 -14 9 -14 14 -2; #d8f0ff poly -10 -2 -6.5 -10.5 -1.5 -10.5 -1.5 -2;"
    "#d8f0ff poly 10 -2 6.5 -10.5 1.5 -10.5 1.5 -2; main box -24 -2 24 11; #303038 disc -13 11 7;"
    "#303038 disc 13 11 7; #e0e0e0 disc -13 11 3; #e0e0e0 disc 13 11 3",
    "boat": "#6b4a2e box -1.5 -24 1.5 8; #ffffff poly 3 -23 3 4 20 4; main poly -3 -18 -3 4 -17 4;"
    "main poly -25 8 25 8 16 22 -16 22",
    "fish": "main poly 10 0 25 -14 25 14; main oval -4 0 20 13; deep poly -4 -10 8 -10 4 -18;"
    "#ffffff disc -14 -3 4; #202020 disc -14 -3 2.4; deep arc -8 0 9 2.6 -60 60",
    "flower": "#3f9a4a line 4 0 0 0 26; #3f9a4a oval 8 19 7 3.6; main disc 0 -18 8;"
    "main disc 11 -10 8;"
    "main disc 7 3 8; main disc -7 3 8; main disc -11 -10 8; #ffe14a disc 0 -7 6;"
    "deep disc 0 -7 2.6",
    "cup": "main disc 15 0 10; #ffffff disc 15 0 4.5; main box -18 -14 15 18;"
    "deep box -18 -14 15 -9",
    "star": "main poly 0 -25 6.5 -8 24 -7.5 10.5 3.5 15 21 0 11 -15 21 -10.5 3.5 -24 -7.5 -6.5 -8",
    "clock": "main disc 0 0 23; #ffffff disc 0 0 16; #202020 line 3.4 0 -11 0 0 8 0",
    "book": "main poly -24 -15 0 -10 24 -15 24 14 0 20 -24 14;"
    "#ffffff poly -20 -10 -2 -6 -2 14 -20 10;"
    "#ffffff poly 20 -10 2 -6 2 14 20 10; main line 2.6 -15 -2 -6 0; main line 2.6 15 -2 6 0;"
    "main line 2.6 -15 4 -6 6; main line 2.6 15 4 6 6",
}  # fmt: skip

OBJECT_SKETCHES: dict[str, Sketch] = {name: sketch(text) for name, text in _OBJECT_TEXT.items()}
