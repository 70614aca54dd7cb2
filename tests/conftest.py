"""Tests run beside other tests: an operation of torch takes one thread, here and in what they start, and one that was
told to take more does not spin while it waits for its turn. Hypothesis does not time its examples: another worker may
have had the processor.
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
settings.register_profile("triptych", deadline=None)
settings.load_profile("triptych")
