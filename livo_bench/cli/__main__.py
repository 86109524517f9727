"""`python -m livo_bench.cli` is `livo-bench`."""

from livo_bench.cli import main

main()
