"""The training scripts live beside the package, not in it: make them importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

# Tests run beside other work: spinning threads only get in its way.
torch.set_num_threads(1)
