"""What `livo-bench list` and `show` print of cards: a row each, or one card in full."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from livo_bench.cards.catalog import (
    existing_folder,
    is_folder,
    method_card,
    method_cards,
    model_cards,
    protocol_cards,
    select_tasks,
    task_cards,
    unknown_name,
    variant_of,
)
from livo_bench.cards.declared import read_model_card
from livo_bench.cards.weights import CARD
from livo_bench.errors import BadInput


def overview(kind: str | None = None) -> list[dict[str, str]]:
    """What can be run, a row each, variants and subsets included; of methods with what they need
    of a model, of models with what they offer. Rows have the column `needs` where there are
    methods among them.

    Args:
        kind: `methods`, `tasks`, `models` or `protocols`; None for all of them.
    """
    rows = {
        "methods": _method_rows,
        "tasks": _task_rows,
        "models": _model_rows,
        "protocols": _protocol_rows,
    }
    found = [row for name in ([kind] if kind else rows) for row in rows[name]()]
    if kind not in (None, "methods"):
        for row in found:
            del row["needs"]
    return found


def _method_rows() -> Iterator[dict[str, str]]:
    for card in method_cards().values():
        yield _overview_row("method", card.name, card.title, card.summary, card.needs)
        for variant in card.variants.values():
            changes = ", ".join(f"{field} = {value}" for field, value in variant.settings.items())
            name = f"{card.name}:{variant.name}"
            yield _overview_row("method", name, variant.title, changes, variant.needs)


def _task_rows() -> Iterator[dict[str, str]]:
    for card in task_cards().values():
        yield _overview_row("task", card.name, card.title, card.summary)
        for subset in card.subsets.values():
            groups = ", ".join(subset.attributes)
            yield _overview_row("task", f"{card.name}/{subset.name}", subset.value, groups)


def _model_rows() -> Iterator[dict[str, str]]:
    for card in model_cards().values():
        settings = f"{card.size} pixels, {card.steps} steps, guidance {card.guidance:g}"
        settings += f"; offers {', '.join(card.offers)}"
        yield _overview_row("model", card.name, card.title, settings)


def _protocol_rows() -> Iterator[dict[str, str]]:
    for card in protocol_cards().values():
        yield _overview_row("protocol", card.name, card.title, card.summary)


def _overview_row(
    kind: str, name: str, title: str, summary: str, needs: Sequence[str] = ()
) -> dict[str, str]:
    of_model = ", ".join(needs)
    return {"kind": kind, "name": name, "title": title, "needs": of_model, "summary": summary}


def card_text(name: str) -> str:
    """The text of one method's, task's, model's or protocol's card, or what it says of a part.

    Args:
        name: As `list` prints it, variants (`livo:retrieved`) and subsets (`bias/gender`) included;
            or, with a leading dot or slash, the folder of a method, of a variant of it or of a
            task; or the path of a model's card.

    Raises:
        UnknownName: No card has this name.
        BadInput: There is no such folder or file, or its card is not what it should be.
    """
    if name.endswith(".toml"):
        return _text_of(read_model_card(Path(name)).path)
    method, _, variant = name.partition(":")
    if variant:
        card = method_card(method)
        chosen = variant_of(card, variant)
        head = {"name": name, "title": chosen.title, "told": chosen.told, "needs": chosen.needs}
        return f"{_as_toml(head)}\n[settings]\n{_as_toml({**card.settings, **chosen.settings})}"
    if is_folder(name):
        return _text_of(existing_folder(name, "livo-bench show") / CARD)
    if "/" in name:
        [(task, [subset])] = select_tasks(name)
        asked = {"class_text": task.class_text, "question": task.question}
        return _as_toml({**asdict(subset), "name": name, **asked})
    places = {
        **{card.name: card.folder / CARD for card in method_cards().values()},
        **{card.name: card.folder / CARD for card in task_cards().values()},
        **{card.name: card.path for card in model_cards().values()},
        **{card.name: card.path for card in protocol_cards().values()},
    }
    if name not in places:
        raise unknown_name("card", name, places)
    return _text_of(places[name])


def _as_toml(values: Mapping[str, Any]) -> str:
    """Lines of TOML, without what is empty."""
    held = {name: value for name, value in values.items() if value not in (None, "", ())}
    lines = (f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in held.items())
    return "".join(f"{line}\n" for line in lines)


def _text_of(card: Path) -> str:
    try:
        return card.read_text("utf-8")
    except OSError as error:
        raise BadInput(f"Cannot read {card}: {error.strerror}.") from error
