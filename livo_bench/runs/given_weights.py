"""Weights that a run is given in place of its methods' own: `--weights PLACE`, `METHOD=PLACE`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from livo_bench.cards.catalog import HANDED, method_card, method_labels
from livo_bench.cards.fields import NAME, place
from livo_bench.errors import BadInput


def by_method(given: Sequence[str], methods: Sequence[str]) -> Mapping[str, list[str]]:
    """The weights of each method that is given some.

    A place without a method is that of the one that can take it; several may be handed to the
    method `weights`, each a run of its own.

    Args:
        given: Places of weights, as `--weights` takes them.
        methods: Methods of the run, as `--method` takes them.

    Raises:
        BadInput: It is not said whose they are, the method is none of the run's, or it gets more
            than one; or no file can be called so.
    """
    found: dict[str, list[str]] = {}
    for each in given:
        method, where = _said(each, methods)
        place(where)
        places = found.setdefault(method, [])
        if where not in places:
            places.append(where)
    for method, places in found.items():
        if len(places) > 1 and method != HANDED:
            raise BadInput(
                f"Method {method!r} was given weights {len(places)} times: {', '.join(places)}; "
                "expected once.",
                f"Compare several by --method {HANDED}, or run them one by one into folders of "
                "their own: --runs DIR",
            )
    return found


def _said(given: str, methods: Sequence[str]) -> tuple[str, str]:
    name, said, where = given.partition("=")
    if not (where if said else given):
        raise BadInput(
            f"--weights {given!r} names no place; expected a file or folder.",
            "Give one, or leave it out for the weights of the package.",
        )
    if said and name in methods:
        return name, where
    unheard = said and NAME.fullmatch(name) and not place(given).exists() and place(where).exists()
    if said and (name in method_labels() or unheard):
        raise BadInput(
            f"Weights were given to {name!r} ({given}), which is none of this run's methods: "
            f"{', '.join(methods)}.",
            "Say whose they are, or leave them out."
            if unheard
            else f"Add --method {name}, or leave them out.",
        )
    takers = [spec for spec in methods if "weights" in method_card(spec.partition(":")[0]).settings]
    if len(takers) == 1:
        return takers[0], given
    if not takers:
        raise BadInput(
            f"Weights {given!r} were given, and no method of this run takes any: "
            f"{', '.join(methods)}.",
            f"Leave --weights out, or run them by themselves: --method {HANDED}",
        )
    raise BadInput(
        f"Weights {given!r} were given to {len(takers)} methods that take some: "
        f"{', '.join(takers)}; expected to be told whose they are.",
        f"If they are your own, pass --method {HANDED} in their place; if not, say whose they are: "
        f"--weights {takers[0]}={given}",
    )
