"""What the gate lets pass unless it is told otherwise."""

ALPHA = 0.05
"""Chance of a false alarm over all tests together."""

MARGIN = 0.02
"""Difference of a mean over prompts that is no regression, a fraction."""

PROMPT_MARGIN = 0.2
"""Difference of a single prompt that is no regression, a fraction."""
