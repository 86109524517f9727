"""A figure as part of a page: matplotlib's SVG without styles, with marks that can be asked.

The page's policy refuses styles that stand in elements, so they become attributes, which its style
sheet may overrule; ink is the page's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from livo_bench.escaping import visible

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"


@dataclass(frozen=True, slots=True)
class Asked:
    """A mark that says its numbers."""

    title: str
    """What it is followed by."""
    words: str
    """All that it says; begins with what is written beside it."""


def inline(figure: Figure, asked: Mapping[str, Asked]) -> Markup:
    """Write a figure as markup for a page.

    Args:
        figure: Figure; letters stay letters with matplotlib's `svg.fonttype` of `none`.
        asked: Marks by the gid of what is drawn of them.

    Returns:
        An `svg` element. What is drawn of a mark stands in one group with `data-follow`, its title,
        and a `title` with its numbers.
    """
    from markupsafe import Markup

    buffer = BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    root = ET.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    _gather(root, asked)
    used = {
        place.strip("url()#")
        for element in root.iter()
        for name, place in element.items()
        if name in (_LINK, "clip-path")
    }
    for element in root.iter():
        _without_style(element)
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        link = element.attrib.pop(_LINK, None)
        if link is not None:
            element.set("href", link)
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    # Texts came through `plain`, and the numbers are ours; the writer escapes both.
    return Markup(ET.tostring(root, encoding="unicode"))


def _gather(root: ET.Element, asked: Mapping[str, Asked]) -> None:
    """Put what belongs to a mark into a group of its own, after all else of its axes."""
    groups: dict[str, ET.Element] = {}
    for parent in list(root.iter()):
        for child in [child for child in parent if child.get("id") in asked]:
            name = str(child.get("id"))
            if name not in groups:
                words = visible(asked[name].words)
                about = {"data-follow": visible(asked[name].title), "class": "mark", "role": "img"}
                groups[name] = ET.SubElement(parent, f"{{{_SVG}}}g", about | {"aria-label": words})
                ET.SubElement(groups[name], f"{{{_SVG}}}title").text = words
            parent.remove(child)
            groups[name].append(child)


def _without_style(element: ET.Element) -> None:
    for rule in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in rule.partition(":"))
        if name == "font":
            # Of the shorthand, `8px 'DejaVu Sans', ...`, the size; the face is the page's.
            element.set("font-size", next(part for part in value.split() if part.endswith("px")))
        elif name:
            element.set(name, value)
    for name in ("fill", "stroke"):
        if element.get(name, "").startswith("#") and element.get(name) in ("#000000", "#000"):
            element.set(name, "currentColor")
