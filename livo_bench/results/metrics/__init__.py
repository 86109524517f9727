"""From scored images to the numbers of a table: pure functions of frames and arrays.

- `discrepancy`: D1, D2 and the unbiased D2 squared of class counts.
- `judge_error`: rates as a judge without error would read them.
- `intervals`, `floors`, `statistics`: 95 % intervals, what a fair model would read, tests.
- `bias`, `toxicity`, `overcorrection`, `quality`, `fidelity`: the rows of one run, with n, interval
  and floor, and what is to be said of their metrics.
- `metric`, `registry`: what is said of a metric, and all of them by their ids.
- `vectors`: the feature network's, kept so that IS and FID can be computed again.

Ids are those of `records.Aggregate.metric`. What ends in `_steered` speaks of the images alone that
differ from the unaligned model's. Scored frames are those of `results.frames`.
"""
