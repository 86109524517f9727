"""The errors a user can act on; the command line prints them without a traceback, exit code 2."""


class LivoBenchError(Exception):
    """Something to fix first; the message says what happened, what was expected, what to do."""


class UnknownName(LivoBenchError):
    """A method, task, model or option value that is not known; the message lists those that are."""


class BadInput(LivoBenchError):
    """A file, folder or value that does not hold what it should."""


class AdapterFailed(LivoBenchError):
    """A method's own code raised something; the cause, whose traceback begins in that code."""


class NotComparable(LivoBenchError):
    """Two results made under different conditions; the message names the field that differs."""


class Incomplete(LivoBenchError):
    """A result that lacks samples, scores or tasks the command needs."""


class NothingScored(Incomplete):
    """Results were written, and a judge scored no image of some of them; the command line's exit
    code is 4."""
