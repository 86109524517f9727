"""The errors a user can act on, each with what happened and what to do next kept apart.

The command line prints both without a traceback, exit code 2, of `NotComparable` 3; a notebook can
show `error.message` alone, for a hint speaks of the command line.
"""


class LivoBenchError(Exception):
    """Something to fix first.

    Args:
        message: What happened, with the value, and what was expected.
        hint: What to do or to type next; empty where the message says all. It follows on the same
            line, or on the next where the message ends with a line feed.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message.rstrip()
        self.hint = hint

    def __str__(self) -> str:
        """Message and hint, as they are printed."""
        message, hint = self.args
        between = "" if not hint or message.endswith("\n") else " "
        return f"{message}{between}{hint}"


class UnknownName(LivoBenchError):
    """A method, task, model or option value that is not known; the message lists those that are."""


class BadInput(LivoBenchError):
    """A file, folder or value that does not hold what it should."""


class Untrained(BadInput):
    """A method that has no weights for a model yet."""


class Unfit(BadInput):
    """A method that needs what a model does not offer."""


class AdapterFailed(LivoBenchError):
    """A method's own code raised something; the cause, whose traceback begins in that code."""


class NotComparable(LivoBenchError):
    """Two results made under different conditions; the message names the field that differs."""


class Incomplete(LivoBenchError):
    """A result that lacks samples, scores or tasks the command needs."""


class NothingScored(Incomplete):
    """Results were written, and a judge scored no image of some of them; the command line's exit
    code is 4."""
