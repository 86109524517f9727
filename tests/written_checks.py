"""What a check may have found."""

from dataclasses import replace

from livo_bench.results.check import Check, Comparison, Sample
from livo_bench.results.paired import Noise

MEAN = Comparison(
    "sd", "bias", "gender", "all", "D1", "", 24, 1200, 0.425, 0.5, 0.075, 0.02, 0.0004, True
)
PROMPT = Comparison(
    "sd", "bias", "gender", "nurse-0", "D1", "male", 1, 50, 0.1, 0.9, 0.8, float("nan"), 0.01, True
)
BLANK = {"blank image": 3}
OTHERWISE = ("settings steps: 15, now 20",)
SAMPLE = Sample("sd", "bias", Noise.SAME, 24, 24, 1200, 1200, BLANK, {}, OTHERWISE)
FOUND = Check(
    [SAMPLE],
    [MEAN, replace(MEAN, metric="D2", regression=False)],
    [PROMPT, replace(PROMPT, prompt="pilot-0", regression=False)],
    0.05,
    0.02,
    0.2,
)
