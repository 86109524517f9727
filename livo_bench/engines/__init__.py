"""A recipe becomes pixels. Knows no method by name."""
