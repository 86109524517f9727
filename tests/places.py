"""Where things lie in a checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "results" / "mini"
"""The committed results of the miniature world."""
PUBLISHED = ROOT / "results" / "paper"
"""The paper's tables."""
