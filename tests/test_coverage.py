"""What docs/metrics.md says of intervals and verdicts is what was simulated, and is kept."""

import numpy as np
import pandas as pd
import pytest

from livo_bench.catalog import ROOT
