"""Requests as Mooncake's JSONL, which load generators of serving engines replay."""

from __future__ import annotations

import json

import numpy as np

from ..errors import InputError
from .traffic import Requests

BLOCK_TOKENS = 512  # of the published traces; where requests carry no prefix blocks of their own


def jsonl(requests: Requests) -> str:
    """One line a request: timestamp [ms since the first], input_length, output_length [tokens], hash_ids.

    Requests without prefix blocks share nothing: each gets blocks of its own. Raises InputError for a closed loop and for
    conversations, whose later arrivals depend on the answers of the system under load.
    """
    if requests.concurrency is not None:
        raise InputError(f"{requests.name}: a closed loop has no arrival times. Export a rate, a generator or a trace.")
    if requests.follows is not None:
        raise InputError(
            f"{requests.name}: later turns arrive after answers, which a trace cannot say. Export single requests: turns = 1."
        )
    starts, blocks = requests.block_starts, requests.blocks
    if starts is None or blocks is None:
        counts = -(-requests.input_tokens.astype(np.int64) // BLOCK_TOKENS)
        starts = np.concatenate(([0], np.cumsum(counts)))
        blocks = np.arange(starts[-1])
    first_s = float(requests.arrival_s[0]) if len(requests) else 0.0
    lines = []
    for i in range(len(requests)):
        line = {
            "timestamp": round((float(requests.arrival_s[i]) - first_s) * 1e3, 3),
            "input_length": int(requests.input_tokens[i]),
            "output_length": int(requests.output_tokens[i]),
            "hash_ids": blocks[starts[i] : starts[i + 1]].tolist(),
        }
        lines.append(json.dumps(line))
    return "".join(f"{line}\n" for line in lines)
