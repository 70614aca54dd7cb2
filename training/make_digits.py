"""Write the handwritten digits that the world draws with: python -m training.make_digits (needs scikit-learn)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

OUT = Path(__file__).parents[1] / "src" / "triptych" / "embedded" / "world" / "digits.npz"


def main() -> None:
    digits = load_digits()
    np.savez_compressed(OUT, images=digits.images.astype(np.uint8), labels=digits.target.astype(np.uint8))
    print(f"{OUT}: {len(digits.target)} glyphs, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
