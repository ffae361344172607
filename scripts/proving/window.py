"""Windows over arrivals: was a limit of rate and burst ever exceeded?"""

from __future__ import annotations


def worst_excess(arrivals: list[float], rate_per_s: float, burst: int) -> tuple[float, float]:
    """Over all windows from one arrival to another, both included: by how many requests the fullest is above what is
    allowed (negative: below), and its length. No window between arrivals can be fuller."""
    worst, length_s = float("-inf"), 0.0
    for first, begin in enumerate(arrivals):
        for last in range(first, len(arrivals)):
            span_s = arrivals[last] - begin
            excess = (last - first + 1) - (rate_per_s * span_s + burst)
            if excess > worst:
                worst, length_s = excess, span_s
    return worst, length_s
