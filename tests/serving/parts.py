"""Costs with a closed form, and packs made of them."""

import numpy as np

from sim.catalog.traffic import Requests
from sim.lowering.kinds import PARTS
from sim.serving.limits import Limits
from sim.serving.pack import Pack


class Linear:
    """Every part is linear in what it depends on, so that tables interpolate it exactly (but for prompt attention)."""

    launches = 0.0

    def __init__(self, fixed_s=1e-2, token_s=2e-5, sample_s=1e-6, kv_s=3e-8, pair_s=1e-9):
        self.fixed_s, self.token_s, self.sample_s, self.kv_s, self.pair_s = fixed_s, token_s, sample_s, kv_s, pair_s

    def trunk_s(self, tokens):
        out = np.zeros((len(tokens), len(PARTS)))
        out[:, PARTS.index("ffn")] = self.fixed_s + self.token_s * tokens
        return out

    def logits_s(self, sequences):
        return self.sample_s * sequences

    def decode_s(self, sequences, kv_tokens):
        return self.kv_s * sequences * kv_tokens

    def prefill_s(self, sequences, query_tokens, kv_tokens):
        return self.pair_s * sequences * query_tokens * (kv_tokens - query_tokens / 2)


class Constant(Linear):
    """An iteration lasts a second, whatever it holds."""

    def __init__(self, seconds=1.0):
        super().__init__(seconds, 0.0, 0.0, 0.0, 0.0)


def packed(costs=None, **limits):
    return Pack(costs or Linear(), Limits(**{"kv_blocks": 4000, "longest": 4096, **limits}))


def random_requests(number, n=60, concurrency=None):
    """Bursts, equal arrival times, single tokens, long and short ones."""
    stream = np.random.default_rng(number)
    gaps_s = np.where(stream.random(n) < 0.3, 0.0, stream.exponential(0.05 if number % 2 else 0.5, n))
    arrival_s = np.zeros(n) if concurrency else np.cumsum(gaps_s)
    given, made = stream.integers(1, 700, n), stream.integers(1, 120, n)
    made[stream.random(n) < 0.1] = 1
    return Requests("random", arrival_s, given.astype(np.int32), made.astype(np.int32), concurrency=concurrency)


def bits(served):
    """Everything in a result that must be equal to the last bit."""
    times = (served.arrival_s, served.admitted_s, served.first_token_s, served.finish_s)
    counts = (served.output_tokens, served.status, served.replica, served.preemptions, served.gaps)
    return [x.tobytes() for x in (*times, *counts)], served.busy_s, served.clocks[:, [0, 3, 4, 5]].tobytes()
