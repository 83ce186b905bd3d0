"""Search over ways to serve a model: every chip, layout and setting by arithmetic, the best few by simulation, ranked by what a
million tokens cost, else by tokens a chip."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..catalog.library import Library, package_root
from ..catalog.models import Model
from ..catalog.plans import Plan
from ..catalog.scenarios import Scenario, Slo, Traffic
from ..catalog.targets import Target, adjusted, modified, target
from ..catalog.traffic import requests
from ..economics import Usage, device_hour
from ..errors import Infeasible, InputError, UnknownFigure
from ..lowering.footprint import serving_footprint
from ..result import Figure, Result
from ..units import text
from .search import pareto
from .serve_space import LAYOUT, Load, Point, Setting, budgets, layouts, points

Evaluate = Callable[[Scenario], Result]
Progress = Callable[[float, str], None]
LEAST_CHIPS, MOST_CHIPS = 8, 256  # of one replica: looked at first, and at most where nothing smaller fits
REFINE = 12  # candidates that are simulated
TRIES = 6  # simulations of one candidate at most
LIMITS = ("ttft_s", "tpot_s", "latency_s")
PERCENTILES = (50, 90, 95, 99)


class Question(NamedTuple):
    """What is searched: a serving scenario whose first group names the model and what stays; clusters; fields of the plan that
    are fixed; chips in all at most; modes of `apart` that are tried."""

    scenario: Scenario
    clusters: tuple[str, ...]
    fixed: tuple[str, ...] = ()
    devices: int | None = None
    apart: tuple[bool, ...] = (False, True)

    @property
    def model(self) -> str:
        return self.scenario.groups[0].model


class Refined(NamedTuple):
    """A point as simulated: replicas with which it keeps the limits (or did best), and the result."""

    point: Point
    scenario: Scenario
    result: Result
    meets: bool

    @property
    def usd(self) -> float | None:
        """Of a million output tokens."""
        figure = self.result.figures.get("usd_per_million_tokens")
        return None if figure is None else figure.value

    @property
    def tokens_per_s_per_chip(self) -> float:
        return self.value("output_tokens_per_s_per_chip") or 0.0

    def value(self, name: str) -> float | None:
        figure = self.result.figures.get(name)
        return None if figure is None else figure.value


class Relaxation(NamedTuple):
    """What one limit costs: cost of a million tokens (or 1 / tokens a chip) without it over that with it."""

    limit: str
    ratio: float


@dataclass(frozen=True)
class Found:
    """What a search found. points: every operating point that fits; good: places of those that keep the limits, best first; front:
    places of the Pareto front of tokens a chip against speed a user; refined: simulated ones, best first; skipped: (cluster,
    reason); prices: dollars a chip and hour by cluster."""

    question: Question
    model: Model
    load: Load
    points: tuple[Point, ...]
    good: tuple[int, ...]
    front: tuple[int, ...]
    refined: tuple[Refined, ...]
    skipped: tuple[tuple[str, str], ...]
    prices: dict[str, Figure]
    settings: int

    @property
    def best(self) -> Refined:
        return self.refined[0]

    def usd(self, point: Point) -> float | None:
        """Of a million output tokens, by arithmetic."""
        return _usd(self.prices, point)


def load_of(scenario: Scenario) -> Load:
    """Mean request and rate of the scenario's traffic. Raises InputError for a demand that is none, or for several models."""
    if not isinstance(scenario.demand, Traffic):
        raise InputError("search serve: no traffic. Give --trace FILE, or --rate or --concurrency with token counts.")
    asked = requests(scenario.demand, scenario.seed, [package_root() / "workloads" / "traffic"])
    if scenario.demand.models:
        raise InputError("search serve: demand.models names several models. Search for each alone.")
    span_s = float(asked.arrival_s[-1])
    rate = None if asked.concurrency else len(asked) / span_s if span_s > 0.0 else float(len(asked))
    means = [max(1, round(float(tokens.mean()))) for tokens in (asked.input_tokens, asked.output_tokens)]
    longest = int((asked.input_tokens.astype(np.int64) + asked.output_tokens).max())
    return Load(means[0], means[1], longest, rate, asked.concurrency)


def search(
    question: Question, library: Library, evaluate: Evaluate, refine: int = REFINE, progress: Progress | None = None
) -> Found:
    """Rank ways to serve. Raises Infeasible if none fits or none keeps the limits, saying by how much the nearest misses."""
    load, slo = load_of(question.scenario), question.scenario.slo
    told = progress or (lambda share, what: None)
    found: list[Point] = []
    skipped: list[tuple[str, str]] = []
    prices: dict[str, Figure] = {}
    settings = 0
    group = question.scenario.groups[0]
    model = modified(library.model(group.model), group)
    targets = [(name, adjusted(target(library, name, group.stack, "serve"), group)) for name in question.clusters]
    for number, (name, where) in enumerate(targets):
        told(0.5 * number / len(targets), name)
        try:
            prices[name] = device_hour(library, where, question.scenario.economy, full_hour(where))
            own, tried = _of_cluster(question, model, (name, where), load)
        except (Infeasible, UnknownFigure) as reason:
            skipped.append((name, str(reason)))
            continue
        found += own
        settings += tried
    if not found:
        raise Infeasible("search serve: nothing fits. " + " ".join(reason for _, reason in skipped))
    good = _ranked(found, slo, prices)
    if not good:
        raise Infeasible(_nearest(found, slo))
    kept = [found[place] for place in good]
    chosen = candidates(kept, refine)
    refined = []
    for number, point in enumerate(chosen):
        told(0.5 + 0.5 * number / len(chosen), f"simulating {point.setting.cluster}")
        refined.append(_refined(question, point, evaluate))
    refined += [_refined(question, point, evaluate) for point in _other_budgets(kept, min(refined, key=_key).point)]
    best = tuple(sorted(refined, key=_key))
    front = pareto(-np.array([p.tokens_per_s_per_chip for p in found]), -np.array([p.speed for p in found]))
    return Found(
        question, model, load, tuple(found), good, tuple(front.tolist()), best, tuple(skipped), prices, settings
    )


def full_hour(where: Target) -> Usage:
    """One chip for an hour at its own limit, which an owner's electricity is counted from."""
    return Usage(1, 1, 3600.0, where.chip.power.tdp_w or math.nan, "extrapolated")


def _of_cluster(question: Question, model: Model, where: tuple[str, Target], load: Load) -> tuple[list[Point], int]:
    """Points of every setting on one cluster, and how many settings fit; replicas grow until one does.

    Raises Infeasible with the floor of memory if none does."""
    group, (name, hardware) = question.scenario.groups[0], where
    most = min(question.devices or MOST_CHIPS, hardware.cluster.largest or MOST_CHIPS, MOST_CHIPS)
    chips = min(LEAST_CHIPS, most)
    while True:
        found: list[Point] = []
        settings = 0
        for plan in layouts(model, group.plan, chips * hardware.chip.ranks, hardware.chip.ranks, question.fixed):
            for budget in budgets(hardware, group.engine, model):
                for apart in question.apart:
                    engine = group.engine.with_(max_batched_tokens=budget)
                    try:
                        own = points(model, Setting(name, hardware, plan, engine, apart), load, question.devices)
                    except Infeasible:
                        continue
                    settings += bool(own)
                    found += own
        if found:
            return found, settings
        if chips >= most:
            raise Infeasible(_floor(model, group.plan, hardware, most))
        chips = min(2 * chips, most)


def _floor(model: Model, plan: Plan, where: Target, most: int) -> str:
    weights = float(serving_footprint(model, [Plan(dtypes=plan.dtypes)], 0.0).weights[0])
    each = where.chip.memory.capacity_bytes
    return (
        f"{where.cluster.id}: weights of {model.name} alone take {text(weights, 'bytes')}, {weights / each:.1f} chips of "
        f"{text(each, 'bytes')}; no legal layout of up to {most} chips holds them beside a KV cache and serves the load."
    )


def _usd(prices: dict[str, Figure], point: Point) -> float | None:
    price = prices[point.setting.cluster].value
    return None if price is None else price / 3600.0 / point.tokens_per_s_per_chip * 1e6


def _cost(prices: dict[str, Figure], point: Point) -> tuple[bool, float, float]:
    """What is ranked by: known prices first, then cost, else tokens a chip; among equals, the faster."""
    usd = _usd(prices, point)
    return usd is None, -point.tokens_per_s_per_chip if usd is None else usd, point.tpot_s


def _ranked(found: list[Point], slo: Slo, prices: dict[str, Figure]) -> tuple[int, ...]:
    """Places of the points that keep the limits, best first."""
    good = [place for place, point in enumerate(found) if keeps(point, slo)]
    return tuple(sorted(good, key=lambda place: _cost(prices, found[place])))


def keeps(point: Point, slo: Slo) -> bool:
    """Whether the mean request keeps every limit."""
    return all(getattr(slo, name) is None or getattr(point, name) <= getattr(slo, name) for name in LIMITS)


def _nearest(found: list[Point], slo: Slo) -> str:
    """Which limit keeps everything out, and by how much the nearest misses."""
    limits = {name: getattr(slo, name) for name in LIMITS if getattr(slo, name) is not None}

    def worst(point: Point) -> tuple[float, str]:
        return max((getattr(point, name) / limit, name) for name, limit in limits.items())

    nearest = min(found, key=worst)
    ratio, name = worst(nearest)
    stem = name.removesuffix("_s")
    least = min(getattr(point, name) for point in found)
    value = text(getattr(nearest, name), "s")
    return (
        f"search serve: no setting keeps the limits. The nearest, {words(nearest)}, has {stem.upper()} {value}, {ratio:.2g} times "
        f"--{stem} {text(limits[name], 's')}; the least of any is {text(least, 's')}. Allow --{stem} {value.replace(' ', '')}."
    )


def candidates(ranked: list[Point], most: int) -> list[Point]:
    """The best of each cluster, in order, then the best other settings."""
    first: dict[str, Point] = {}
    others: dict[tuple[object, ...], Point] = {}
    for point in ranked:
        best = first.setdefault(point.setting.cluster, point)
        if point.setting.key != best.setting.key:
            others.setdefault(point.setting.key, point)
    return [*first.values(), *others.values()][:most]


def _other_budgets(ranked: list[Point], winner: Point) -> list[Point]:
    """The best point of the winner's layout with each other token budget of an iteration."""
    found: dict[int | None, Point] = {}
    for point in ranked:
        if point.setting.key == winner.setting.key:
            found.setdefault(point.setting.engine.max_batched_tokens, point)
    return [point for budget, point in found.items() if budget != winner.setting.engine.max_batched_tokens]


def scenario_of(question: Question, point: Point, replicas: tuple[int, int]) -> Scenario:
    """The question with a point's setting and so many replicas."""
    group, setting = question.scenario.groups[0], point.setting
    most = point.sequences if _closed(question) else 2 * point.sequences
    own = group.engine.max_num_seqs
    engine = setting.engine.with_(max_num_seqs=own or most)
    plan = group.plan.with_(**{name: getattr(setting.plan, name) for name in LAYOUT})
    counts = (
        {"prefill_replicas": replicas[0], "decode_replicas": replicas[1]}
        if setting.apart
        else {"replicas": replicas[0]}
    )
    empty = {"devices": None, "replicas": None, "prefill_replicas": None, "decode_replicas": None}
    chosen = group.with_(cluster=setting.cluster, plan=plan, engine=engine, role="serve", **{**empty, **counts})
    return question.scenario.with_(groups=(chosen,))


def _closed(question: Question) -> bool:
    demand = question.scenario.demand
    return isinstance(demand, Traffic) and demand.concurrency is not None


def _refined(question: Question, point: Point, evaluate: Evaluate) -> Refined:
    """Simulated with the fewest replicas found that keep the limits, from those that arithmetic says."""
    replicas, step = point.replicas, 1
    each = point.chips // sum(point.replicas)
    now = _simulated(question, point, replicas, evaluate)
    if now.meets:
        for _ in range(TRIES // 2):
            fewer = _fewer(replicas)
            if fewer is None or question.scenario.slo == Slo():
                return now
            tried = _simulated(question, point, fewer, evaluate)
            if not tried.meets:
                return now
            now, replicas = tried, fewer
        return now
    for _ in range(TRIES - 1):
        replicas = _more(now, replicas, step, question.scenario.slo)
        if question.devices and each * sum(replicas) > question.devices:
            return now
        now = _simulated(question, point, replicas, evaluate)
        if now.meets:
            return now
        step *= 2
    return now


def _simulated(question: Question, point: Point, replicas: tuple[int, int], evaluate: Evaluate) -> Refined:
    scenario = scenario_of(question, point, replicas)
    result = evaluate(scenario)
    return Refined(point, scenario, result, bool(result.fits))


def _fewer(replicas: tuple[int, int]) -> tuple[int, int] | None:
    first, second = replicas
    if second:
        return None if first == second == 1 else (first - (first >= second), second - (first < second))
    return (first - 1, 0) if first > 1 else None


def _more(now: Refined, replicas: tuple[int, int], step: int, slo: Slo) -> tuple[int, int]:
    """More of what misses: prompts wait for prefill replicas, tokens for decode replicas."""
    first, second = replicas
    if not second:
        return first + step, 0
    late = used(now, slo)
    return (first + step, second) if late.get("ttft", 0.0) > 1.0 else (first, second + step)


def used(now: Refined, slo: Slo) -> dict[str, float]:
    """Share of each limit that the simulated percentile takes; the percentile is the next of those that are reported."""
    place = next((p for p in PERCENTILES if p >= slo.percentile), PERCENTILES[-1])
    out = {}
    for name in LIMITS:
        limit, stem = getattr(slo, name), name.removesuffix("_s")
        value = now.value(f"{stem}_p{place}")
        if limit is not None and value is not None:
            out[stem] = value / limit
    return out


def _key(each: Refined) -> tuple[bool, bool, float]:
    usd = each.usd
    return not each.meets, usd is None, -each.tokens_per_s_per_chip if usd is None else usd


def binds(found: Found) -> str:
    """One line: which limit, or what of the hardware, keeps the winner from serving more."""
    best, slo = found.best, found.question.scenario.slo
    shares = sorted(used(best, slo).items(), key=lambda item: -item[1])
    parts = [f"{name.upper()} takes {share:.0%} of its limit" for name, share in shares]
    if best.point.kv_full:
        parts.append(f"the KV cache is full at {best.point.sequences} sequences a replica")
    group = best.scenario.groups[0]
    if group.replicas == 1:
        parts.append("one replica is the least there can be: more traffic costs nothing until a limit is reached")
    if not parts:
        parts.append(f"no limit is set; {best.point.sequences} sequences a replica serve the load")
    return "; ".join(parts)


def relaxations(found: Found) -> tuple[Relaxation, ...]:
    """By arithmetic: what each limit costs, the dearest first."""
    slo = found.question.scenario.slo
    best = _cost(found.prices, found.points[found.good[0]])
    out = []
    for name in LIMITS:
        if getattr(slo, name) is None:
            continue
        free = min(_cost(found.prices, p) for p in found.points if keeps(p, slo.with_(**{name: None})))
        ratio = best[1] / free[1] if best[0] else free[1] / best[1]
        if free[0] == best[0] and math.isfinite(ratio):
            out.append(Relaxation(name.removesuffix("_s"), ratio))
    return tuple(sorted(out, key=lambda each: each.ratio))


def break_even_usd(found: Found, other: Refined) -> float | None:
    """Dollars a chip and hour at which another would cost as much as the winner a million tokens; None if the winner's is unknown."""
    usd = found.best.usd
    return None if usd is None else usd * other.tokens_per_s_per_chip * 3600.0 / 1e6


def words(point: Point) -> str:
    """A point in one line."""
    plan, setting = point.setting.plan, point.setting
    degrees = [f"{name.replace('attention_', 'a')}{getattr(plan, name)}" for name in LAYOUT if getattr(plan, name) > 1]
    apart = " prefill | decode apart" if setting.apart else ""
    return (
        f"{setting.cluster} {' '.join(degrees) or 'one rank'}, {point.sequences} sequences, "
        f"{setting.engine.max_batched_tokens} tokens an iteration{apart}"
    )
