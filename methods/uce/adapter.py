"""UCE: an overlay edited in closed form, one for each category or one for all."""

from livo_bench.methods.overlaid import load

__all__ = ["load"]
