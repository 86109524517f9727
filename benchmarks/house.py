"""The shape of the house: floors, circles, imports that go up, long modules and lines.

    python benchmarks/house.py

The floors are those of `[tool.importlinter]` in pyproject.toml, which `lint-imports` holds; imports
for a type checker alone do not count. The exit code is 1 where there is a circle or an import that
goes up.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "livo_bench"


def floors() -> list[list[str]]:
    """The rooms and root modules of each floor, from the top down."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    [contract] = settings["tool"]["importlinter"]["contracts"]
    return [re.split(r" [:|] ", floor) for floor in contract["layers"]]


def imports() -> dict[str, set[str]]:
    """The modules of the package that each module imports."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    return {
        module: graph.find_modules_directly_imported_by(module) - {PACKAGE}
        for module in graph.modules - {PACKAGE}
    }


def by_room(imported: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The rooms, or root modules, that the modules of each import."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, others in imported.items():
        room = room_of(module)
        rooms[room] |= {room_of(one) for one in others} - {room}
    return rooms


def room_of(module: str) -> str:
    """The room that a module is in, or its own name for one in the root."""
    return module.split(".")[1]


def upward(imported: Mapping[str, set[str]]) -> list[str]:
    """The imports that go up a floor."""
    height = {room: -place for place, floor in enumerate(floors()) for room in floor}
    return [
        f"{module} -> {one}"
        for module, others in sorted(imported.items())
        for one in sorted(others)
        if height[room_of(one)] > height[room_of(module)]
    ]


def in_circles(imported: Mapping[str, set[str]]) -> list[str]:
    """What is in a circle of imports, or between two of them.

    They are left when whatever imports nothing that is left, or is imported by nothing that is, is
    taken away until nothing changes.
    """
    left = set(imported)
    while True:
        used = set().union(*(imported[one] for one in left))
        kept = {one for one in left if one in used and imported[one] & left}
        if kept == left:
            return sorted(left)
        left = kept


def lines() -> dict[str, int]:
    """The lines of each module."""
    paths = sorted((ROOT / PACKAGE).rglob("*.py"))
    return {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in paths
    }


def main() -> int:
    """Print it all; the exit code."""
    long, imported = lines(), imports()
    rising, rooms, modules = (
        upward(imported),
        in_circles(by_room(imported)),
        in_circles(imported),
    )
    for place, floor in enumerate(floors()):
        sizes = (
            sum(n for path, n in long.items() if path.split("/")[1].removesuffix(".py") == room)
            for room in floor
        )
        print(f"{len(floors()) - place:2}  {', '.join(floor)}  ({sum(sizes):,} lines)")
    print(f"floors: {len(floors())}")
    print(f"rooms in a circle: {', '.join(rooms) or 'none'}")
    print(f"modules in a circle: {', '.join(modules) or 'none'}")
    print(f"imports that go up: {'; '.join(rising) or 'none'}")
    longest = max(long, key=lambda path: long[path])
    print(f"longest module: {longest}, {long[longest]} lines")
    print(f"package: {sum(long.values()):,} lines in {len(long)} modules")
    return 1 if rising or rooms or modules else 0


if __name__ == "__main__":
    sys.exit(main())
