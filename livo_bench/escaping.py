"""Text that others wrote, made fit for where it is shown: a terminal, a log, Markdown, CSV.

Prompts, ids, titles, names of files, replies of an endpoint and messages of libraries are data.
Whatever prints them takes one of these functions, so that they can neither steer a terminal nor
pass for markup or a formula, and no key is shown.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

# Control characters of C0 and C1; the ends of lines and paragraphs that Unicode has besides; what
# turns the direction of a text round; tags, which nobody sees; and halves of surrogate pairs, which
# UTF-8 cannot write.
_UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff"
)
_CONTROL = re.compile(f"[{_UNSEEN}]")
_CONTROL_OR_BREAK = re.compile(f"[\t\n{_UNSEEN}]")
# Of ours each that a spreadsheet would reckon with, in both widths, and that is no number.
_FORMULA = re.compile(
    r"'*(?![+-]?(?:\d+(?:\.\d*)?|\.\d+)?(?:e[+-]?\d+)?\Z)[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"[\\`*|~]|(?<=\])\(")
_LEAST = 4
"""Letters of a secret: what is shorter keeps nobody out, and stands in every other word."""
HIDDEN = "***"
"""Stands where a secret was."""

# Of bounded length, or a long reply without a space would take the square of its length.
_NAMES = r"[\w-]{0,40}(?:api[_-]?key|token|secret|passw(?:or)?d|signature|credentials?)"
# Special tokens of tokenizers, which libraries name in errors, are called alike and open nothing.
_OPEN = r"(?:bos|cls|eos|image|mask|pad|sep|unk)_token\b"
_SECRETS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<=://)[^\s/?#]+(?=@)",
        r"(?<=[?&;])(?P<kept>[\w.-]{0,40}(?:key|token|secret|passw|pwd|auth|sig|credential)"
        r"[\w.-]{0,40}=)[^\s&#'\"]+",
        r"(?P<kept>\b(?:proxy-)?authorization\b[\"']?\s*[:=]\s*[\"']?)"
        r"(?:(?:bearer|basic|digest|token)\s+)?[^\s\"',}]+",
        rf"(?P<kept>\b(?!{_OPEN}){_NAMES}[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&}}]{{6,}}",
        r"(?P<kept>\bbearer\s+)[\w.~+/=-]{8,}",
        r"\bsk-[\w*-]{8,}",
        r"\bhf_\w{8,}",
        r"\bgh[pousr]_\w{16,}",
        r"(?<![\w-])eyJ[\w-]+\.[\w-]+\.[\w-]+",
    )
)
"""Where secrets stand: before the host of an address, in its query, in headers and settings; and
what those of OpenAI, Hugging Face and GitHub, and web tokens, look like."""
_SETTING = re.compile(r"(?:API_KEY|TOKEN|SECRET|PASSWORD|PASSWD)$")


def visible(text: str) -> str:
    """A text of any number of lines for a terminal: what would steer it is shown as `\\x1b`."""
    return _CONTROL.sub(_code, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """A text as `visible` shows it, with ends of lines and tabs shown as `\\n` and `\\t`, too."""
    return _CONTROL_OR_BREAK.sub(_code, text)


def _code(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def in_json(document: str) -> str:
    """A JSON document that means the same and steers no terminal: characters become escapes."""

    def escape(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be", "surrogatepass").hex()
        return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))

    return _CONTROL.sub(escape, document)


def markdown(text: str) -> str:
    """A text as it stands, for a line or a cell of Markdown: no HTML, no link, no end of a cell."""
    escaped = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\g<0>", escaped)


def csv_cell(text: str) -> str:
    """A text for a cell of CSV, with an apostrophe before what a spreadsheet takes for a formula.

    See OWASP, "CSV Injection". `csv_text` takes it off again.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def csv_text(cell: str) -> str:
    """The text that `csv_cell` wrote."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def excerpt(text: str, most: int = 300) -> str:
    """The beginning of what a library or a server said: one line, nothing unseen, no secret."""
    # A key may be cut in two by the end of an excerpt, so it goes first.
    line = one_line(" ".join(redacted(text).split()))
    return line if len(line) <= most else f"{line[:most]}..."


def redacted(text: str) -> str:
    """A text with `HIDDEN` for what is secret: the keys, tokens and passwords that the environment
    holds, and what looks like one."""
    for secret in sorted(_of_environment(), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern in _SECRETS:
        text = pattern.sub(lambda found: f"{found.groupdict().get('kept', '')}{HIDDEN}", text)
    return text


def _of_environment() -> Iterator[str]:
    """Secrets in each form that servers and libraries echo them in."""
    for name, value in os.environ.items():
        secret = value.strip() if _SETTING.search(name.upper()) else _password(value)
        if len(secret) >= _LEAST:
            yield secret
            yield quote(secret, safe="", errors="replace")
            yield repr(secret)[1:-1]
            yield base64.b64encode(secret.encode("utf-8", "surrogateescape")).decode().rstrip("=")


def _password(value: str) -> str:
    """The password in an address, as proxies and mirrors have one; empty where there is none."""
    if "://" not in value:
        return ""
    try:
        return urlsplit(value.strip()).password or ""
    except ValueError:
        return ""
