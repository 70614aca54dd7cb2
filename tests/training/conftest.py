"""The training scripts live beside the package, not in it: make them importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
