"""Fair Diffusion: images of a prompt are edited towards its groups in turn."""

from livo_bench.methods.fair_diffusion import load

__all__ = ["load"]
