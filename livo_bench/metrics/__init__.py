"""From scored images to the numbers of a table: pure functions of frames and arrays.

- `discrepancy`: D1, D2 and the unbiased D2 squared of class counts.
- `statistics`: intervals, and what a perfectly fair model would read.
- `bias`, `toxicity`, `quality`: the rows of one run, with n, interval and floor.
- `rows`: what those three share: reading scored frames, forming rows.
"""
