"""The verbs, one function each. The command line, the page and studies call these and nothing below them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import __version__
from .catalog.clusters import sliced
from .catalog.facts import code, facts, software
from .catalog.library import Library, default_library
from .catalog.models import Model
from .catalog.plans import Plan
from .catalog.scenarios import Group, Scenario, TokenBudget, Traffic, serving_groups
from .catalog.targets import Target, adjusted, check_size, fingerprint, modified, target
from .errors import InputError
from .lowering.check import check, resolved
from .report.commands import command
from .result import Figure, Result, total
from .training.memory import settled
from .units import text

if TYPE_CHECKING:
    from .engine import Timeline
    from .serving.setup import Deployment

Progress = Callable[[float, str], None]
MOST_CHUNKS = 8  # of a pipeline rank, in the plan that is suggested next


class _Asked:
    """A group of a scenario, looked up: model, target, legal plan, chips used and paid for. Without `group`, its only one."""

    def __init__(self, scenario: Scenario, library: Library, training: bool, group: Group | None = None) -> None:
        if group is None and len(scenario.groups) != 1:
            raise InputError(
                f"groups: {len(scenario.groups)} are given; several are answered by serve alone. Keep one."
            )
        self.scenario, self.library = scenario, library
        self.group: Group = group or scenario.groups[0]
        self.model: Model = modified(library.model(self.group.model), self.group)
        asked = self.group.engine.speculative
        self.draft_model = library.model(asked.draft_model) if asked and asked.draft_model else None
        found = target(library, self.group.cluster, self.group.stack, "train" if training else "serve")
        self.target: Target = adjusted(found, self.group)
        self.training = training
        self.devices, self.replicas = self._sizes()
        check_size(self.target.cluster, self.devices)
        self.plan: Plan = self._plan()
        self.paid = self.target.cluster.paid(self.devices)
        one = self.devices if training else self.devices // max(self.replicas, self.group.max_replicas or 1)
        cluster, self.slices = sliced(self.target.cluster, one)
        self.target = self.target._replace(cluster=cluster)

    def _sizes(self) -> tuple[int, int]:
        plan, ranks = self.group.plan, self.target.chip.ranks
        each = plan.tp * plan.pp * plan.cp * (plan.dp or 1) * (1 if self.training else plan.attention_dp)
        one = -(-each // ranks)
        replicas = self.group.replicas or 1
        devices = self.group.devices or one * replicas
        if not self.training:
            if self.group.replicas is None:
                replicas = devices // one
            if self.group.max_replicas is not None:
                most = max(self.group.max_replicas, replicas)
                if self.group.replicas is None and self.group.devices is None:
                    replicas = self.group.min_replicas
                return one * most, replicas
            if replicas * one != devices:
                raise InputError(
                    f"devices = {devices}: a replica of tp * pp * cp * attention_dp = {each} ranks takes {one} chips "
                    f"({ranks} ranks a chip). Use a multiple of {one}."
                )
        return devices, replicas

    def _plan(self) -> Plan:
        plan = self.group.plan
        if not self.training:
            check(self.model, plan, False)
            return plan.with_(dp=1)
        plan = resolved(plan, self.devices * self.target.chip.ranks, self.model)
        if not plan.global_batch:
            plan = plan.with_(global_batch=plan.micro_batch * (plan.dp or 1))
        check(self.model, plan, True)
        return settled(self.model, plan, self.target, _seq_len(self.scenario))

    @property
    def provenance(self) -> dict[str, Any]:
        found = self.target
        return {
            "version": __version__,
            "catalogue": fingerprint(self.model, *found),
            "chip": found.chip.id,
            "cluster": found.cluster.id,
            "stack": found.software,
            "calibration": {name: getattr(found.calibration, name) for name in ("id", "basis", "source")},
            **({"site": site.model_dump(mode="json")} if (site := found.calibration.site) else {}),
            "seed": self.scenario.seed,
            "code": code(),
            "software": software(),
            "facts": facts(self.library, self.scenario),
        }

    def memory_figures(self, needed: float) -> dict[str, Figure]:
        capacity = self.target.chip.memory.capacity_bytes
        return {
            "memory_per_device": Figure(needed, "bytes", basis="extrapolated"),
            "memory_capacity": Figure(capacity, "bytes", basis="measured", note=self.target.chip.memory.source),
        }

    def size_figures(self) -> dict[str, Figure]:
        return {
            "devices": Figure(self.devices, "chips", basis="measured"),
            "devices_paid": Figure(
                self.paid, "chips", basis="measured", note="with the spares of every started domain"
            ),
            "slices": Figure(self.slices, "slices", basis="measured", note="domains that the outermost network joins"),
        }

    def clock_figures(self) -> dict[str, Figure]:
        """Under a power cap, the clock that it leaves to the kernels that draw most."""
        if self.group.power_cap_w is None:
            return {}
        from .cost import machine
        from .cost.machine import CLOCK_HZ

        built = machine(self.target.chip, self.target.family, self.target.calibration, self.target.cluster)
        full_hz = float(built.chip_values[CLOCK_HZ])
        note = (
            f"{built.clock:.0%} of what the chip's own limit leaves, for kernels that draw the most; others run up to "
            f"{text(full_hz, 'hz')}"
        )
        return {"clock": Figure(built.clock * full_hz, "hz", basis="extrapolated", note=note)}


def fit(scenario: Scenario, library: Library | None = None) -> Result:
    """Does it fit? Memory by part, from closed forms alone."""
    training = isinstance(scenario.demand, TokenBudget) and scenario.groups[0].role == "train"
    return _fitted(_Asked(scenario, library or default_library(), training), "gambrel.fit/1")


def _fitted(asked: _Asked, schema: str) -> Result:
    parts, needed = _memory(asked)
    verdict, fits = _memory_verdict(asked, parts)
    return Result(
        schema=schema,
        verdict=verdict,
        scenario=asked.scenario.model_dump(mode="json"),
        figures={**asked.memory_figures(needed), **asked.size_figures()},
        memory=parts,
        fits=fits,
        why=_largest(parts),
        next_commands=_next_fit(asked, fits),
        provenance=asked.provenance,
    )


def _memory(asked: _Asked) -> tuple[dict[str, float], float]:
    if asked.training:
        from .training.memory import memory_parts

        parts = memory_parts(asked.model, asked.plan, asked.target, _seq_len(asked.scenario))
    else:
        from .serving.memory import memory_parts as serving_parts

        parts = serving_parts(asked.model, asked.plan, asked.target, asked.group.engine, asked.draft_model)
    return parts, sum(parts.values())


def _seq_len(scenario: Scenario) -> int:
    return scenario.demand.seq_len if isinstance(scenario.demand, TokenBudget) else 2048


def _memory_verdict(asked: _Asked, parts: dict[str, float]) -> tuple[str, bool]:
    capacity, needed, fullest = asked.target.chip.memory.capacity_bytes, sum(parts.values()), ""
    name = f"{asked.model.name} on {asked.devices:,} x {asked.target.chip.name}"
    if asked.training:
        from .training.memory import fullest_stage, usable_bytes

        capacity = usable_bytes(asked.target)
        stage = fullest_stage(asked.model, asked.plan, asked.target, _seq_len(asked.scenario))
        fullest = f" on stage {stage} of {asked.plan.pp}" if asked.plan.pp > 1 else ""
    if needed > capacity * (1.0 + 1e-9):
        helps = (
            "more tp or pp, zero3, a smaller micro_batch or recompute = full"
            if asked.training
            else "more tp or fewer bits"
        )
        over = f"{text(needed, 'bytes')} a chip{fullest}, {text(needed - capacity, 'bytes')} over {text(capacity, 'bytes')}"
        return f"{name} does not fit: {over}. Use {helps}.", False
    if asked.training or "kv_cache" not in parts:
        return (
            f"{name} fits: {text(needed, 'bytes')} of {text(capacity, 'bytes')} a chip{fullest} ({needed / capacity:.0%}).",
            True,
        )
    from .serving.settings import kv_tokens

    fixed = needed - parts["kv_cache"] - parts["free"]
    tokens = kv_tokens(asked.model, asked.plan, asked.group.engine, asked.target)
    held = (
        f"{text(fixed, 'bytes')} of {text(capacity, 'bytes')} a chip beside a KV cache of {tokens:,} tokens a replica"
    )
    return f"{name} fits: {held}.", True


def _largest(parts: dict[str, float]) -> str:
    name, size = max(parts.items(), key=lambda item: item[1], default=("", 0.0))
    return f"{name}: {text(size, 'bytes')} a chip, the largest part" if name else ""


def _next_fit(asked: _Asked, fits: bool) -> tuple[str, ...]:
    verb = "train" if asked.training else "serve"
    if fits:
        return (command(verb, asked.scenario),)
    return (command("fit", asked.scenario, tp=asked.plan.tp * 2),)


def train(scenario: Scenario, library: Library | None = None, progress: Progress | None = None) -> Result:
    """Step time, MFU, memory, and with a token budget days, money, energy and carbon. `price` of one row."""
    from .training import answer

    library = library or default_library()
    if not isinstance(scenario.demand, TokenBudget):
        raise InputError(
            "demand: training needs a token budget (kind: tokens), not traffic. Use gambrel serve for traffic."
        )
    asked = _Asked(scenario, library, True)
    answered = answer.answer(asked.model, asked.plan, asked.target, scenario.demand, scenario.campaign, scenario.seed)
    parts, needed = _memory(asked)
    memory_verdict, fits = _memory_verdict(asked, parts)
    figures = {**answered.figures, **asked.memory_figures(needed), **asked.size_figures(), **asked.clock_figures()}
    figures.update(_bill_figures(asked, answered, figures["step_time"]))
    return Result(
        schema="gambrel.train/1",
        verdict=answered.verdict if fits else memory_verdict,
        scenario=scenario.model_dump(mode="json"),
        figures=figures,
        breakdown=answered.breakdown,
        memory=parts,
        why=answered.why,
        fits=fits,
        next_commands=_next_train(asked, fits),
        provenance={**asked.provenance, "interval": answer.INTERVAL_BASIS},
        warnings=answered.warnings,
        tables=answered.tables,
    )


def _bill_figures(asked: _Asked, use: Any, moved: Figure | None) -> dict[str, Figure]:
    """The bill of seconds of chips; `moved`: the time whose interval it shares, None where it has none."""
    from .economics import Usage, bill_figures, spread_of

    usage = Usage(asked.devices, asked.paid, use.seconds, use.chip_w, use.basis, spread_of(moved))
    return bill_figures(asked.library, asked.target, usage, asked.scenario.economy)


def _next_train(asked: _Asked, fits: bool) -> tuple[str, ...]:
    asks = asked.scenario
    if not fits:
        return (command("fit", asks, recompute="full", tokens=None), command("train", asks, sharding="zero3"))
    plan = asked.plan
    passes = (plan.global_batch or 1) // (plan.micro_batch * (plan.dp or 1))
    chunks = min(asked.model.layers // plan.pp, MOST_CHUNKS)
    interleaves = plan.pp > 1 and plan.virtual_stages == 1 and passes % plan.pp == 0 and chunks > 1
    other = {"virtual_stages": chunks} if interleaves else {"recompute": "full" if plan.recompute == "none" else "none"}
    return (
        command("trace", asks, tokens=None) + " -o trace.pftrace",
        command("train", asks, **other),
        "gambrel validate training",
    )


def trace(scenario: Scenario, library: Library | None = None) -> Timeline:
    """The timeline of one training step, or of the first requests that are served."""
    from .engine import run

    library = library or default_library()
    if scenario.groups[0].role == "train":
        from .training import step_schedule

        asked = _Asked(scenario, library, True)
        return run(step_schedule(asked.model, asked.plan, asked.target, _seq_len(scenario)), seed=scenario.seed)
    from .serving.answer import timeline

    return timeline(_deployment(_serving(scenario, library)), _traffic(scenario), scenario.seed)


def serve(scenario: Scenario, library: Library | None = None, progress: Progress | None = None) -> Result:
    """TTFT, TPOT, latency, throughput, goodput, cost a million tokens and energy of replicas behind a router."""
    from .serving import answer

    library = library or default_library()
    all_asked = _serving(scenario, library)
    for asked in all_asked:
        fitted = _fitted(asked, "gambrel.serve/1")
        if not fitted.fits:
            return fitted
    asked = all_asked[0]
    parts, needed = _memory(asked)
    answered = answer.answer(_deployment(all_asked), _traffic(scenario), scenario.slo, scenario.seed, progress)
    figures = {**answered.figures, **asked.memory_figures(needed), **_sizes(all_asked), **asked.clock_figures()}
    figures.update(_serving_bill(all_asked, answered))
    return Result(
        schema="gambrel.serve/1",
        verdict=answered.verdict,
        scenario=scenario.model_dump(mode="json"),
        figures=figures,
        breakdown=answered.breakdown,
        memory=parts,
        why=answered.why,
        fits=answered.meets_slo,
        requests=answered.requests,
        next_commands=_next_serve(asked) if len(all_asked) == 1 else (),
        provenance={**asked.provenance, "interval": answer.INTERVAL_BASIS},
        warnings=answered.warnings,
        tables={"series": answered.series} if answered.series else None,
    )


def _serving(scenario: Scenario, library: Library) -> list[_Asked]:
    """All that serves side by side."""
    groups = serving_groups(scenario)
    if any(group.role == "train" for group in groups):
        raise InputError("groups: one of role train among those that serve. Give it a scenario of its own.")
    return [_Asked(scenario, library, False, group) for group in groups]


def _deployment(all_asked: list[_Asked]) -> Deployment:
    from .serving.setup import Deployment, Setup

    setups = [
        Setup(
            each.model,
            each.plan,
            each.target,
            each.group.engine,
            each.replicas,
            each.group.role,
            each.group.min_replicas,
            each.group.max_replicas,
            each.draft_model,
        )
        for each in all_asked
    ]
    scenario = all_asked[0].scenario
    return Deployment(tuple(setups), scenario.router, scenario.operations)


def _sizes(all_asked: list[_Asked]) -> dict[str, Figure]:
    each = [asked.size_figures() for asked in all_asked]
    summed = {name: total([figures[name] for figures in each]) for name in each[0]}
    return {**summed, "slices": max((figures["slices"] for figures in each), key=lambda figure: figure.value or 0.0)}


def _next_serve(asked: _Asked) -> tuple[str, ...]:
    asks = asked.scenario
    if asks.operations.autoscale != "off":
        return ("gambrel validate serving",)
    return (
        command("serve", asks, replicas=asked.replicas * 2, devices=None),
        command("trace", asks, role="serve") + " -o serve.pftrace",
        "gambrel validate serving",
    )


def _serving_bill(all_asked: list[_Asked], answered: Any) -> dict[str, Figure]:
    """The bill of the whole run, and what a million output tokens and one of them cost."""
    from .economics import together

    demand = all_asked[0].scenario.demand
    closed = isinstance(demand, Traffic) and demand.concurrency is not None
    moved = answered.figures.get("duration") if closed else None
    bills = [_bill_figures(asked, use, moved) for asked, use in zip(all_asked, answered.uses, strict=True)]
    out = together(bills, [use.seconds / (answered.seconds or 1.0) for use in answered.uses])
    millions = answered.output_tokens / 1e6
    out["usd_per_million_tokens"] = out["cost"].scaled(1.0 / millions, "usd") if millions else out["cost"]
    out["joules_per_token"] = out["energy"].scaled(3.6 / millions, "j") if millions else out["energy"]
    return out


def _traffic(scenario: Scenario) -> Traffic:
    if not isinstance(scenario.demand, Traffic):
        raise InputError(
            "demand: serving needs traffic. Give --trace FILE, or --rate or --concurrency with token counts."
        )
    return scenario.demand


def validate(kind: str, path: str | None = None, **options: Any) -> Any:
    """Predict every row of a measured table and score the predictions; `whatif`: ratios of pairs of them; see `sim.evidence`."""
    from pathlib import Path

    if kind == "whatif":
        from .evidence.ratios import validate_ratios

        return validate_ratios(None if path is None else Path(path), **options)
    from .evidence.validate import validate as predict_and_score

    return predict_and_score(kind, None if path is None else Path(path), **options)
