"""Image services: what a model's card says of an endpoint that is asked instead of weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from livo_bench.cards.fields import Table
from livo_bench.errors import BadInput
from livo_bench.files import sha256
from livo_bench.records import Scalar
from livo_bench.schema import Limit, Text, at_least

REFUSALS = ("content_policy_violation", "moderation_blocked", "content_filter")
"""Codes by which image services say that they refuse a prompt or a picture."""
_URL = "an address such as https://api.example.com/v1, without user, password and query"
_VARIABLE = "environment variable whose name ends in API_KEY, TOKEN or SECRET"
_ADDRESS = re.compile(r"https?://[^/@?#\s]+(/[^@?#\s]*)?")
_KEY = re.compile(r"([A-Z][A-Z0-9_]*_)?(API_KEY|TOKEN|SECRET)")
"""Names of variables whose values messages never show, see `escaping.redacted`."""
Address = Annotated[str, Limit(lambda url: bool(_ADDRESS.fullmatch(url)), lambda kind: _URL)]
Variable = Annotated[str, Limit(lambda key: bool(_KEY.fullmatch(key)), lambda kind: _VARIABLE)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """`[service]` of a model's card: an endpoint in the form of OpenAI's images API, in the place
    of weights. Which weights are behind it nobody here knows."""

    url: Address
    """Where the API begins, without a user, a password or a query."""
    model: Text
    """What the service calls it."""
    key: Variable
    """The environment variable that holds the key."""
    parallel: Annotated[int, at_least(1)] = 4
    """Requests at a time."""
    timeout: Annotated[float, at_least(0.001)] = 120.0
    """Seconds to wait for one answer."""
    retries: Annotated[int, at_least(0)] = 4
    """How often a request is sent again that failed or came too soon."""
    refusals: tuple[Text, ...] = REFUSALS
    """Codes of errors that are refusals."""
    call: Mapping[str, Scalar] = field(default_factory=dict)
    """What else each request says, such as `quality`."""

    @property
    def said(self) -> str:
        """What is asked where, for people."""
        return f"{self.model} at {urlsplit(self.url).netloc}"

    @property
    def digest(self) -> str:
        """SHA-256 of what decides about its pictures, as far as anybody here knows."""
        decides = {"url": self.url, "model": self.model, "call": dict(self.call)}
        return sha256(json.dumps(decides, sort_keys=True))


def read_service(card: Table) -> Service:
    """Read the table `[service]` of a model's card.

    Raises:
        BadInput: A field is missing, unknown or mistyped, or the key itself stands in the card,
            which no message shows.
    """
    service = card.table("service")
    key = service.plain().get("key")
    if isinstance(key, str) and not _KEY.fullmatch(key):
        raise BadInput(
            f"{service.file}: service.key is no {_VARIABLE}; it is not shown here, for it may be "
            "the key itself. Expected the name of the variable that holds it.",
            'Write key = "OPENAI_API_KEY", and set that variable to the key.',
        )
    read: Service = card.get("service", Service)
    return read
