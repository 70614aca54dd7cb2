"""Root-mean-square normalisation."""

from __future__ import annotations

from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Normalise `x` [..., H] in fp32, cast to its own type, then multiply by `weight` [H].

    The order (cast before the multiplication) is the one of the published models; results are bit-equal to it.
    """
    wide = x.float()
    inverse = wide.pow(2).mean(-1, keepdim=True).add_(eps).rsqrt_()
    return (wide * inverse).to(x.dtype).mul_(weight)
