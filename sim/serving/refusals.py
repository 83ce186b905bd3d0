"""Which requests a replica can never serve."""

from __future__ import annotations

from ..jit import inline, jit
from . import state as at
from .state import IntArray


@inline
def refused_for(whole: IntArray, input_tokens: int, output_tokens: int) -> int:
    """`refusal`, for jitted callers."""
    if input_tokens + output_tokens > whole[at.MAX_LEN]:
        return at.TOO_LONG
    if input_tokens + output_tokens + whole[at.VERIFY] - 2 > whole[at.BLOCKS] * whole[at.BLOCK]:
        return at.NO_CAPACITY
    if whole[at.ONE_SHOT] == 1 and input_tokens > whole[at.MAX_TOKENS]:
        return at.ONE_PASS
    return 0


@jit
def refusal(whole: IntArray, input_tokens: int, output_tokens: int) -> int:
    """Why a replica with these settings can never serve such a request (a status), or 0."""
    return refused_for(whole, input_tokens, output_tokens)
