"""SLD: guidance away from a text that names what is unwanted."""

from livo_bench.methods.sld import load

__all__ = ["load"]
