"""CA: the UNet with the hazard of the prompt's category ablated."""

from livo_bench.methods.overlaid import load

__all__ = ["load"]
