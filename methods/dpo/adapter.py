"""DPO: LiVO's value encoder, trained on the DPO objective instead."""

from livo_bench.livo.steering import load

__all__ = ["load"]
