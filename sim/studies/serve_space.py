"""What a model may be served with: layouts of a replica on a chip, engine settings, prompt and decode together or apart; each as
operating points, by arithmetic alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..catalog.models import Model, Moe
from ..catalog.plans import Engine, Plan
from ..catalog.targets import Target
from ..errors import GambrelError
from ..lowering.check import check
from ..lowering.footprint import serving_footprint
from ..serving.queueing import closed_network
from ..serving.steady import Replica

FloatArray = NDArray[np.float64]
LAYOUT = ("tp", "pp", "ep", "attention_dp")
MOST_SEQUENCES = 1024  # of a replica that is looked at
BUDGETS = (2048, 8192)  # tokens of an iteration that are tried beside the stack's own
MOST_STAGES = 4
BUSIEST = 0.85  # share of its time that a pool of prompt passes works at most: beyond, waiting grows without bound
ROUNDS = 6  # requests that each client of a closed loop sends in the queueing network
PATIENT = 64  # clients of the network at most: with more, the mean wait is theirs, scaled


class Load(NamedTuple):
    """Mean request and how many come: rate of an open loop [1/s], or clients of a closed one; tokens of the longest request."""

    input_tokens: int
    output_tokens: int
    longest: int
    rate: float | None
    clients: int | None


class Setting(NamedTuple):
    """One way to run replicas on a cluster. apart: prompts and tokens on separate replicas, of the same layout."""

    cluster: str
    target: Target
    plan: Plan
    engine: Engine
    apart: bool

    @property
    def key(self) -> tuple[object, ...]:
        """What tells the layouts of one search apart; settings of the engine do not."""
        return self.cluster, *(getattr(self.plan, name) for name in LAYOUT), self.apart


class Point(NamedTuple):
    """A setting at a number of sequences in flight: what a request sees, what a chip gives, replicas that the load needs
    ((prompt, decode) if apart, else (all, 0)). kv_full: the cache holds no more sequences."""

    setting: Setting
    sequences: int
    ttft_s: float
    tpot_s: float
    latency_s: float
    tokens_per_s_per_chip: float
    replicas: tuple[int, int]
    chips: int
    kv_full: bool

    @property
    def speed(self) -> float:
        """Tokens a second that one user sees."""
        return 1.0 / self.tpot_s


def layouts(model: Model, base: Plan, ranks: int, chip_ranks: int, fixed: Sequence[str]) -> Iterator[Plan]:
    """Every legal layout of at most `ranks` ranks in powers of two, whole chips only. Fields in `fixed` keep the value of `base`."""
    experts = [block.ffn.experts for block in model.blocks if isinstance(block.ffn, Moe)]
    powers = [2**e for e in range(max(ranks, 1).bit_length())]
    for tp in _given(base, "tp", fixed, powers):
        for pp in _given(base, "pp", fixed, [p for p in powers if p <= min(MOST_STAGES, model.layers)]):
            for spread in _given(base, "attention_dp", fixed, powers if experts else [1]):
                size = tp * pp * spread
                if size > ranks or size % chip_ranks:
                    continue
                degrees = [d for d in (1, tp * spread) if all(count % d == 0 for count in experts)] if experts else [1]
                for ep in _given(base, "ep", fixed, sorted(set(degrees))):
                    plan = base.with_(tp=tp, pp=pp, attention_dp=spread, ep=ep, dp=1)
                    if _legal(model, plan):
                        yield plan


def _given(base: Plan, name: str, fixed: Sequence[str], free: list[int]) -> list[int]:
    return [getattr(base, name)] if name in fixed else free


def _legal(model: Model, plan: Plan) -> bool:
    """Whether an engine runs it; attention copies with experts that are not spread over them would hold every expert many times."""
    if plan.attention_dp > 1 and plan.ep == 1:
        return False
    try:
        check(model, plan, training=False)
    except GambrelError:
        return False
    return True


def budgets(target: Target, engine: Engine, model: Model) -> list[int]:
    """Token budgets of an iteration: as given, else the stack's default and those of BUDGETS."""
    if engine.max_batched_tokens is not None:
        return [engine.max_batched_tokens]
    own = target.stack.engine.max_batched_tokens
    return sorted({*(BUDGETS if not model.encoder_only else ()), *([own] if own else [])})


def points(model: Model, setting: Setting, load: Load, devices: int | None = None) -> list[Point]:
    """The setting at growing numbers of sequences, up to what its cache holds, with at most `devices` chips in all.

    Raises Infeasible if not one sequence fits.
    """
    most = setting.engine.max_num_seqs or MOST_SEQUENCES
    replica = Replica(
        model, setting.plan, setting.target, setting.engine.with_(max_num_seqs=max(1, most // setting.plan.pp))
    )
    held = replica.capacity(load.input_tokens + load.output_tokens / 2.0)
    counts = _counts(min(held, load.clients or held))
    price = _apart if setting.apart else _together
    found = price(replica, setting, load, counts)
    return [
        point._replace(kv_full=point.sequences >= held < most)
        for point in found
        if not devices or point.chips <= devices
    ]


def _counts(most: int) -> FloatArray:
    """1, 2, 3, 4, 6, 8, 12 ... and the most."""
    grid = {round(2.0 ** (e / 2.0)) for e in range(2 * most.bit_length() + 1)}
    return np.array(sorted(float(n) for n in grid | {most} if n <= most))


def _together(replica: Replica, setting: Setting, load: Load, counts: FloatArray) -> list[Point]:
    """Each iteration carries a token of each sequence and its share of prompts."""
    service = _prompt_s(replica, load, counts)
    steps = _steps_s(replica, load, counts)
    out = []
    for n, step, prompt_s in zip(counts, steps, service, strict=True):
        per_s = n / (step * load.output_tokens)  # requests a second of a replica
        wait_s = _wait_s(load, (per_s, 1, prompt_s), (int(n), step * load.output_tokens))
        if not math.isfinite(wait_s):
            continue
        replicas = _replicas(load, per_s, int(n))
        ttft = wait_s + prompt_s + setting.target.stack.request_host_s
        out.append(_point(setting, replica, load, (int(n), ttft, float(step), (replicas, 0), per_s)))
    return out


def _steps_s(replica: Replica, load: Load, counts: FloatArray) -> FloatArray:
    """Mean iteration of replicas whose sequences are replaced as they finish [n].

    Prompts start as a Poisson process: iterations that carry some and iterations that carry none are priced apart, since the cost
    of a pass bends (experts that are read, tiles). Where every iteration carries prompts, each has its share."""
    prompts = counts / load.output_tokens  # that start in an iteration
    passes = np.ceil(load.input_tokens / _room(replica, load, counts))
    some = -np.expm1(-prompts * passes)  # share of iterations with a prompt
    middle = load.input_tokens + load.output_tokens / 2.0
    stack, gaps = replica.target.stack, 1.0 + replica.target.stack.prompt_gaps
    alone = replica.passes_s(counts, middle, np.zeros(len(counts)))
    beside = replica.passes_s(counts, middle, prompts * load.input_tokens / some, gaps) + stack.prompt_host_s
    look_s = prompts / replica.plan.attention_dp * replica.prompt_attention_s(load.input_tokens) * gaps
    out: FloatArray = (1.0 - some) * alone + some * beside + look_s
    return out


def _room(replica: Replica, load: Load, counts: FloatArray) -> FloatArray:
    """Tokens of an iteration that are left to prompts beside the running sequences [n]."""
    return np.maximum(1.0, (replica.engine.max_batched_tokens or load.input_tokens) - counts)


def _prompt_s(replica: Replica, load: Load, counts: FloatArray) -> FloatArray:
    """Passes that one prompt takes beside the running sequences."""
    passes = np.ceil(load.input_tokens / _room(replica, load, counts))
    alone = replica.prompt_attention_s(load.input_tokens)
    middle = load.input_tokens + load.output_tokens / 2.0
    stack, gaps = replica.target.stack, 1.0 + replica.target.stack.prompt_gaps
    one = replica.passes_s(counts, middle, load.input_tokens / passes, gaps) + stack.prompt_host_s
    return passes * one + alone * gaps


def _apart(replica: Replica, setting: Setting, load: Load, counts: FloatArray) -> list[Point]:
    """Replicas that only prefill hand keys and values to replicas that only decode."""
    middle = load.input_tokens + load.output_tokens / 2.0
    steps = replica.passes_s(counts, middle, np.zeros(len(counts)))
    prompt_s = replica.prefill_s(1, load.input_tokens)
    moved_s = _move_s(replica, load)
    out = []
    for n, step in zip(counts, steps, strict=True):
        per_s = n / (step * load.output_tokens)
        decoders = _replicas(load, per_s, int(n))
        rate = load.rate if load.rate is not None else decoders * per_s
        prefills = max(1, math.ceil(rate * prompt_s / BUSIEST))
        wait_s = _wait_s(
            load, (rate / prefills, 1, prompt_s), (max(1, int(n) * decoders // prefills), step * load.output_tokens)
        )
        if not math.isfinite(wait_s):
            continue
        ttft = wait_s + prompt_s + setting.target.stack.request_host_s
        # the first gap between tokens also holds the way of the keys and values
        pace = float(step) + moved_s / load.output_tokens
        out.append(_point(setting, replica, load, (int(n), ttft, pace, (prefills, decoders), per_s * decoders)))
    return out


def _move_s(replica: Replica, load: Load) -> float:
    """Keys and values of a prompt through the ports of a replica into the outermost tier [s]."""
    whole = serving_footprint(replica.model, [Plan(dtypes=replica.plan.dtypes)], 0.0)
    tier = replica.target.cluster.tiers[-1]
    port = max(1.0, replica.chips) * tier.bandwidth_bytes_per_s / tier.oversubscription
    return (float(whole.kv_per_token[0]) * load.input_tokens + float(whole.state[0])) / port


def _wait_s(load: Load, queue: tuple[float, int, float], loop: tuple[int, float]) -> float:
    """Mean wait for a prompt's turn [s]. queue: arrivals a second, servers, seconds of service; loop: clients of a replica and
    seconds that each spends on its tokens. Open: M/D/1 (Pollaczek and Khinchine); closed: an exact network of two stations."""
    per_s, servers, service_s = queue
    if load.rate is not None:
        busy = per_s * service_s / servers
        return busy * service_s / (2.0 * (1.0 - busy)) if busy < 1.0 else math.inf
    clients = min(loop[0], PATIENT)
    delays = np.full((ROUNDS, clients), loop[1] * clients / loop[0])
    spent = closed_network(servers, np.array([service_s]), delays) - service_s
    return spent * loop[0] / clients


def _replicas(load: Load, per_s: float, sequences: int) -> int:
    """That the load needs: so that each gets the rate it can keep, or as many clients as it runs."""
    if load.rate is not None:
        return max(1, math.ceil(load.rate / per_s - 1e-9))
    return max(1, math.ceil((load.clients or 1) / sequences))


def _point(
    setting: Setting, replica: Replica, load: Load, found: tuple[int, float, float, tuple[int, int], float]
) -> Point:
    sequences, ttft_s, tpot_s, replicas, per_s = found
    each = max(1, math.ceil(replica.chips))
    chips = each * sum(replicas)
    one = each if not setting.apart else chips  # chips that give per_s
    latency = ttft_s + tpot_s * (load.output_tokens - 1)
    if load.rate is None:  # no more than what the clients of a closed loop ask for while they wait (Little's law)
        per_s = min(per_s, sequences * (replicas[1] or 1) / latency)
    rate = per_s * load.output_tokens / one
    if load.rate is not None:  # what the load leaves of it, whole replicas counted
        rate = min(rate, load.rate * load.output_tokens / chips)
    return Point(setting, sequences, ttft_s, tpot_s, latency, rate, replicas, chips, False)
