"""Why a figure of a serving answer is what it is: the requests that it comes from, what each waited for, and what that depends on.

A percentile names the one or two requests that stand there. Their seconds are split by what happened meanwhile on their
replica: iterations by phase, and what is none. Iterations are functions of catalogue values, whose elasticities are those of the
run's mean pass. Money and energy are sums and products of rates and of what the run took.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import cost
from ..catalog.library import Library
from ..catalog.recorded import Recorded
from ..catalog.scenarios import Scenario, Traffic
from ..catalog.targets import Target
from ..cost.machine import IDLE_W
from ..errors import Infeasible, InputError, did_you_mean
from ..lowering.kinds import KINDS
from ..lowering.passes import units
from ..lowering.sharding import Step
from ..serving import steady
from ..serving.answer import Deployment, drawn, simulated, use_of
from ..serving.metrics import metrics
from ..serving.passes import MeanPass, mean_passes, mean_steps
from ..serving.run import Served
from ..serving.settings import as_served
from ..serving.setup import Setup
from ..serving.state import BUSY_S
from ..serving.watchers import Recorder
from .explain_bill import Group, Run, bill_term
from .terms import Term, candidates, constant, given, product, quotient, scaled, total, value_of

FloatArray = NDArray[np.float64]
TIMES = ("ttft", "tpot", "latency")
POINTS = ("mean", "p50", "p90", "p95", "p99")
RATES = ("requests_per_s", "output_tokens_per_s", "input_tokens_per_s", "tokens_per_s")
PER_CHIP = ("output_tokens_per_s_per_chip", "tokens_per_s_per_chip")
RUN = ("duration", "goodput_rps", *RATES, *PER_CHIP, "utilisation", "replica_hours")
BILLED = (
    *("device_hours", "usd_per_device_hour", "cost", "power", "energy", "carbon"),
    *("usd_per_million_tokens", "joules_per_token"),
)
FIGURES = (*(f"{name}_{point}" for name in TIMES for point in POINTS), *RUN, *BILLED)
STEP_UP, MOVES = 1.01, 1e-9
STACK = (
    "step_host_s", "sequence_host_s", "prompt_host_s", "prompt_gaps", "host_launch_s", "launch_hidden_s", "kernels_per_layer",
)  # fmt: skip
_PHASES = {"prefill": ("prefill",), "decode": ("decode",), "mixed": ("prefill", "decode")}


class Iterations(NamedTuple):
    """Iterations of one replica in order: start and end [s], and which phase they are."""

    start_s: FloatArray
    end_s: FloatArray
    phase: NDArray[np.str_]


class Explained:
    """A serving run, simulated again with every iteration kept."""

    def __init__(self, library: Library, scenario: Scenario, deployment: Deployment, paid: tuple[int, ...]) -> None:
        if not isinstance(scenario.demand, Traffic):
            raise InputError("explain: the result has no traffic. Give a result of serve.")
        self.library, self.scenario, self.deployment, self.paid = library, scenario, deployment, paid
        recorder = Recorder()
        asked = drawn(scenario.demand, scenario.seed)
        self.served, self.machines = simulated(deployment, scenario.demand, asked, scenario.seed, [recorder])
        self.metrics = metrics(self.served, scenario.slo)
        self.rows = np.array([row[:3] for row in recorder.rows], dtype=np.float64).reshape(-1, 3)
        self.phases = np.array([row[3] for row in recorder.rows], dtype=np.str_)
        self._leaves: dict[tuple[int, str], tuple[Term, ...]] = {}

    @cached_property
    def passes(self) -> list[dict[str, MeanPass]]:
        """Mean passes of each pool."""
        return [
            mean_passes(setup, self.served, number, machine)
            for number, (setup, machine) in enumerate(zip(self.deployment.setups, self.machines, strict=True))
        ]

    def term(self, figure: str) -> Term:
        """The tree of a figure. Raises InputError for one that is not taken apart, or unknown."""
        if figure not in FIGURES:
            hint = did_you_mean(figure, FIGURES) or "Use " + ", ".join(FIGURES) + "."
            raise InputError(f"explain: {figure!r} of serve is not taken apart. {hint}")
        if not self.served.finished.any():
            raise InputError("explain: no request was served to the end, so that there is no figure to take apart.")
        stem, _, point = figure.rpartition("_")
        if stem in TIMES and point in POINTS:
            return _point(self, stem, point)
        if figure not in BILLED:
            return _of_run(self, figure)
        kept = self.library.contents if isinstance(self.library, Recorded) else {}
        price = (kept["price"], kept.get("price_source", "")) if kept.get("price") is not None else None
        made = self.metrics.figures["output_tokens"]
        return bill_term(Run(self.library, self.scenario, _groups(self), self.served.duration_s, made, price), figure)

    def iterations(self, replica: int) -> Iterations:
        """Those of one replica."""
        at = np.flatnonzero(self.rows[:, 0] == replica)
        at = at[np.argsort(self.rows[at, 1], kind="stable")]
        return Iterations(self.rows[at, 1], self.rows[at, 2], self.phases[at])

    def leaves(self, pool: int, phase: str) -> tuple[Term, ...]:
        """Catalogue values that move the mean pass of a phase of a pool, the strongest first, with their elasticities."""
        key = (pool, phase)
        if key not in self._leaves:
            self._leaves[key] = self._found(pool, phase)
        return self._leaves[key]

    def _found(self, pool: int, phase: str) -> tuple[Term, ...]:
        setup = self.deployment.setups[pool]
        target, step = setup.target, mean_steps(setup, self.served, pool).get(phase)
        if step is None:
            return ()
        rows = units(setup.model, [as_served(setup.plan, setup.model, target.chip)], step)
        keys = list(candidates(target, {KINDS[kind].name for kind in set(rows.kind.tolist())}))
        keys += [f"stack.{name}" for name in STACK if getattr(target.stack, name)]
        keys += [f"stack.factors.{name}" for name in target.stack.factors]
        base = _pass_s(setup, step, target)
        found = []
        for key in keys:
            try:
                slope = math.log(_pass_s(setup, step, scaled(target, key, STEP_UP)) / base) / math.log(STEP_UP)
            except (InputError, Infeasible):  # cannot be moved alone
                continue
            if abs(slope) > MOVES:
                value, source = value_of(target, key)
                found.append((slope, given(key, value, "", source, f"elasticity {slope:+.2f}")))
        return tuple(term for _, term in sorted(found, key=lambda each: -abs(each[0])))

    def window(self, name: str, replica: int, ends: tuple[float, float], value: float) -> Term:
        """`value` seconds of a request on a replica, by the iterations that ran between two moments."""
        if replica < 0 or not math.isfinite(value) or value <= 0.0:
            return Term(name, value, "s", "sum", (constant("nothing", value, "s"),))
        ran = self.iterations(replica)
        inside = np.clip(np.minimum(ran.end_s, ends[1]) - np.maximum(ran.start_s, ends[0]), 0.0, None)
        pool = int(self.served.pool[replica])
        terms = []
        for phase, of in _PHASES.items():
            at = (ran.phase == phase) & (inside > 0.0)
            seconds = math.fsum(inside[at].tolist())
            if seconds > 0.0:
                leaves = tuple(leaf for each in of for leaf in self.leaves(pool, each))
                note = f"{int(at.sum()):,} iterations of replica {replica}; elasticities of the mean pass"
                label = "prompts and decodes together" if phase == "mixed" else f"{phase} iterations"
                terms.append(Term(label, seconds, "s", "function", leaves, note))
        rest = value - math.fsum(term.value for term in terms)
        if abs(rest) > 1e-12 * value or not terms:
            terms.append(
                Term("outside iterations", rest, "s", "function", (), "the replica was idle, away or moved KV")
            )
        return Term(name, value, "s", "sum", tuple(terms))

    def request(self, name: str, number: int) -> Term:
        """TTFT, TPOT or latency of one request."""
        served = self.served
        replica = int(served.replica[number])
        host_s, arrival_s = float(served.request_host_s[number]), float(served.arrival_s[number])
        admitted_s, first_s = float(served.admitted_s[number]), float(served.first_token_s[number]) - host_s
        finish_s = float(served.finish_s[number]) - host_s
        of = f"request {number}"
        made = int(served.output_tokens[number])
        if name == "tpot":
            after = self.window("after its first token", replica, (first_s, finish_s), finish_s - first_s)
            return quotient(f"{of}, TPOT", "s", after, constant("tokens after the first", made - 1, "tokens"))
        terms = [
            self.window("queueing", replica, (arrival_s, admitted_s), admitted_s - arrival_s),
            self.window("prefill", replica, (admitted_s, first_s), first_s - admitted_s),
            self._outside(replica, host_s),
        ]
        if name == "latency" and made > 1:
            terms.append(self.window("decode", replica, (first_s, finish_s), finish_s - first_s))
        label = {"ttft": "TTFT", "latency": "latency"}[name]
        return total(f"{of}, {label}", "s", [term for term in terms if term.value])

    def _outside(self, replica: int, host_s: float) -> Term:
        """What a request spends in the front end, with the iterations that its token waits for there."""
        target = self.deployment.setups[int(self.served.pool[max(replica, 0)])].target
        leaves = tuple(
            given(f"stack.{field}", *_unit(value_of(target, f"stack.{field}")))
            for field in ("request_host_s", "ahead_steps")
            if getattr(target.stack, field)
        )
        return Term("outside the replica", host_s, "s", "function", leaves, "server, tokeniser, batches formed ahead")


def _pass_s(setup: Setup, step: Step, target: Target) -> float:
    """Seconds of the mean pass of a setup on a target."""
    replica = steady.Replica(setup.model, setup.plan, target, setup.engine)
    if step.phase == "prefill":
        return replica.prefill_s(1, max(1, round(float(step.query_tokens))))
    return replica.decode_s(max(1, round(float(step.sequences))), float(step.kv_tokens))


def _unit(found: tuple[float, str]) -> tuple[float, str, str]:
    return found[0], "", found[1]


def explained_serving(
    library: Library, scenario: Scenario, deployed: tuple[Deployment, tuple[int, ...]], figure: str
) -> Term:
    """The tree of a figure. deployed: what serves the scenario, and the chips paid for of each group.

    Raises InputError for a figure that is not taken apart."""
    return Explained(library, scenario, *deployed).term(figure)


def _point(run: Explained, name: str, point: str) -> Term:
    """A percentile: the requests between which it lies. A mean: the sums of what all requests spent."""
    values = getattr(run.metrics, f"{name}_s")
    numbers = np.flatnonzero(run.served.finished)
    known = np.flatnonzero(np.isfinite(values))
    if point == "mean":
        return _mean(run, name, values[known], numbers[known])
    order = known[np.argsort(values[known], kind="stable")]
    rank = float(point[1:]) / 100.0 * (len(order) - 1)
    low, share = math.floor(rank), rank - math.floor(rank)
    ends = [(low, 1.0 - share), (low + 1, share)]
    terms = []
    for place, weight in ends:
        if weight > 0.0:
            asked = run.request(name, int(numbers[order[place]]))
            ranked = f"request at rank {place + 1:,} of {len(order):,}"
            terms.append(product(ranked, "s", constant("weight", weight), asked))
    return Term(f"{name}_{point}", math.fsum(term.value for term in terms), "s", "sum", tuple(terms))


def _mean(run: Explained, name: str, values: FloatArray, numbers: NDArray[np.int64]) -> Term:
    served = run.served
    host_s = served.request_host_s[numbers]
    first_s, finish_s = served.first_token_s[numbers] - host_s, served.finish_s[numbers] - host_s
    count = constant("requests", len(numbers), "requests")
    leaves = [leaf for pool in range(len(run.deployment.setups)) for leaf in run.leaves(pool, "prefill")]
    more = [leaf for pool in range(len(run.deployment.setups)) for leaf in run.leaves(pool, "decode")]
    both = tuple({leaf.key: leaf for leaf in (*leaves, *more)}.values())
    if name == "tpot":
        summed = Term("TPOT of all", math.fsum(values.tolist()), "s", "function", both, "seconds after the first token")
        return quotient("tpot_mean", "s", summed, count)
    parts = {
        "queueing": served.admitted_s[numbers] - served.arrival_s[numbers],
        "prefill": first_s - served.admitted_s[numbers],
        "outside the replica": host_s,
    }
    if name == "latency":
        parts["decode"] = finish_s - first_s
    terms = [
        Term(f"{part} of all", math.fsum(each.tolist()), "s", "function", both, "over all requests")
        for part, each in parts.items()
    ]
    return quotient(f"{name}_mean", "s", total("seconds of all", "s", terms), count)


def _duration(run: Explained) -> Term:
    """First arrival to last completion: when the last request to end arrived, and its latency."""
    served = run.served
    done = np.flatnonzero(served.finished)
    last = int(done[np.argmax(served.finish_s[done])])
    since = float(served.arrival_s[last] - served.arrival_s.min())
    asked = run.scenario.demand
    note = "clients ask when they are answered" if getattr(asked, "concurrency", None) else "of the traffic"
    arrived = Term("until the last request to end arrived", since, "s", "function", (), note)
    return total("duration", "s", [arrived, run.request("latency", last)])


def _of_run(run: Explained, name: str) -> Term:
    served, done = run.served, run.served.finished
    span = _duration(run)
    if name == "duration":
        return span
    tokens = {
        "requests": constant("requests finished", float(done.sum()), "requests"),
        "input_tokens": constant("tokens in", float(served.input_tokens[done].sum()), "tokens"),
        "output_tokens": constant("tokens out", float(served.output_tokens[done].sum()), "tokens"),
    }
    tokens["tokens"] = total("tokens in and out", "tokens", [tokens["input_tokens"], tokens["output_tokens"]])
    stem = name.partition("_per_s")[0]
    if name == "goodput_rps":
        return quotient(
            name, "requests_per_s", constant("requests within the limits", float(run.metrics.good.sum())), span
        )
    if name in RATES:
        return quotient(name, "requests_per_s" if stem == "requests" else "tokens_per_s", tokens[stem], span)
    chips = [constant("chips", float(each), "chips") for each in served.chips]
    paid = [constant(f"replica {i} paid", float(each), "s") for i, each in enumerate(served.paid_s)]
    if name in PER_CHIP:
        seconds = [product("chip seconds", "s", *pair) for pair in zip(chips, paid, strict=True)]
        return quotient(name, "tokens_per_s", tokens[stem], total("chip seconds of all", "s", seconds))
    on = total("replica seconds", "s", paid)
    if name == "replica_hours":
        return quotient(name, "h", on, constant("seconds of an hour", 3600.0, "s"))
    return quotient(name, "fraction", _busy(run), on)


def _busy(run: Explained) -> Term:
    """Seconds at work of all replicas, by phase."""
    starts, phases = run.rows, run.phases
    pools = run.served.pool[starts[:, 0].astype(np.int64)]
    terms = []
    for pool in range(len(run.deployment.setups)):
        for phase, of in _PHASES.items():
            at = (phases == phase) & (pools == pool)
            seconds = math.fsum((starts[at, 2] - starts[at, 1]).tolist())
            if seconds:
                leaves = tuple(leaf for each in of for leaf in run.leaves(pool, each))
                terms.append(
                    Term(f"{phase} iterations", seconds, "s", "function", leaves, f"{int(at.sum()):,} of them")
                )
    left = float(run.served.clocks[:, BUSY_S].sum()) - math.fsum(term.value for term in terms)
    return total("seconds at work", "s", [*terms, constant("rounding", left, "s")])


def _groups(run: Explained) -> tuple[Group, ...]:
    """What the bill needs of each setup."""
    out = []
    for number, (setup, machine) in enumerate(zip(run.deployment.setups, run.machines, strict=True)):
        passes = run.passes[number]
        use = use_of(number, setup, run.served, (passes, machine))
        busy = {
            phase: sum(s for (_, of), s in run.served.busy_by_pool[number].items() if of == phase) for phase in passes
        }
        draws = [
            (f"chips at work in {phase}", seconds, passes[phase].rank_w, run.leaves(number, phase))
            for phase, seconds in busy.items()
            if seconds
        ]
        out.append(Group(setup, run.paid[number], use, _paid_s(run.served, number), tuple(draws), _idle_w(machine)))
    return tuple(out)


def _paid_s(served: Served, number: int) -> float:
    return float(served.paid_s[served.pool == number].sum())


def _idle_w(machine: cost.Machine) -> float:
    return float(machine.chip_values[IDLE_W])
