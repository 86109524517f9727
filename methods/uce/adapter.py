"""UCE: an overlay edited in closed form, one for each category or one for all."""

from livo_bench.baselines.overlaid import load

__all__ = ["load"]
