"""DPO: LiVO's value encoder, trained on the DPO objective instead."""

from livo_bench.methods.livo.steering import load

__all__ = ["load"]
