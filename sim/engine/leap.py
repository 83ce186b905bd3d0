"""A leap: many iterations whose time grows by a constant step, added in one call exactly as stepping would add them."""

from __future__ import annotations

from ..jit import jit


@jit
def leap(now: float, until: float, first: float, step: float, k_max: int, begin: int = 0) -> tuple[int, float]:
    """Run up to k_max iterations from `now`; return (how many ran, when the last of them ended), in seconds.

    Iteration i lasts first + i * step and starts where iteration i - 1 ended; this call runs i = begin, begin + 1, ...
    An iteration starts only before `until`, and what has started always finishes: the end may lie past `until`. The times
    are added one by one, because a closed form differs in the last bits: a leap that was woken early and goes on with
    `begin` = what it had done, or single steps with k_max = 1, end at the same bits as one long leap.
    """
    done = 0
    while done < k_max and now < until:
        now += first + (begin + done) * step
        done += 1
    return done, now
