"""The command line: each command parses, calls one function of the library and prints.

Results go to standard output, progress and errors to standard error. Whatever is heavy is imported
inside the command that needs it, so that `--help` and `list` answer at once.
"""

# Each module adds its commands to the program.
from livo_bench.cli import audit, compute, data, machine, mini, results, sharing
from livo_bench.cli.program import main

__all__ = ["audit", "compute", "data", "machine", "main", "mini", "results", "sharing"]
