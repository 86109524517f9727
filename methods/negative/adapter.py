"""Negative prompt: guidance between the prompt and what is unwanted."""

from livo_bench.methods.prompting import load_negative as load

__all__ = ["load"]
