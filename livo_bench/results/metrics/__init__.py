"""From scored images to the numbers of a table: pure functions of frames and arrays.

- `discrepancy`: D1, D2 and the unbiased D2 squared of class counts.
- `statistics`: intervals, and what a perfectly fair model would read.
- `bias`, `toxicity`, `overcorrection`, `quality`, `fidelity`: the rows of one run, with n, interval
  and floor.
- `rows`: what those five share: reading scored frames, forming rows.

The ids of the metrics are those of `records.Aggregate.metric`. What ends in `_steered` speaks of
the images alone that differ from the unaligned model's.
"""
