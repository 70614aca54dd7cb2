"""Runs one model on one device. Knows torch; knows nothing of HTTP, databases, money or dialects."""

import os

# Before torch is imported: the OpenMP runtime reads this when it is loaded. By default its threads spin while they
# wait for each other, and where another process wants the same cores each wait then costs a scheduler's time
# slice: steps of a small model took 300 ms instead of 5. Who knows better sets the variable.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
