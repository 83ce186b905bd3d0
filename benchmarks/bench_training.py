"""How fast training plans are priced: plans a second of process CPU time on one core, and one warm `api.train`.

Beside them the rate of a NumPy loop that does no more than multiply six numbers a plan, measured in the same run.
"""

from __future__ import annotations

import time
from itertools import product

import numpy as np

from sim import api
from sim.catalog.library import default_library
from sim.catalog.models import Model
from sim.catalog.plans import Plan
from sim.catalog.scenarios import Group, Scenario, TokenBudget
from sim.catalog.targets import target
from sim.errors import InputError
from sim.lowering import check
from sim.training import price

SEQ_LEN, DEVICES, BATCH = 8192, 1024, 2048


def legal_plans(model: Model) -> list[Plan]:
    """Every layout of 1,024 ranks for a batch of 2,048 sequences."""
    out = []
    choices = product(
        (1, 2, 4, 8), (1, 2, 4, 8, 16), (1, 2, 4), ("none", "zero1", "zero2", "zero3"), ("none", "full"), (1, 2)
    )
    for tp, pp, micro, sharding, recompute, chunks in choices:
        plan = Plan(
            tp=tp,
            pp=pp,
            dp=DEVICES // (tp * pp),
            micro_batch=micro,
            global_batch=BATCH,
            sharding=sharding,
            recompute=recompute,
            virtual_stages=chunks,
        )
        try:
            check(model, plan, True)
        except InputError:
            continue
        out.append(plan)
    return out


def best_s(work: object, repeats: int = 5) -> float:
    """Least process CPU time of some repeats after a warm one."""
    times = []
    for _ in range(repeats + 1):
        begin = time.process_time()
        work()  # type: ignore[operator]
        times.append(time.process_time() - begin)
    return min(times[1:])


def bare_plans(plans: list[Plan]) -> float:
    """A loop that only reads six degrees of each plan and multiplies them."""
    return sum(p.tp * p.pp * (p.dp or 1) * p.cp * p.micro_batch * p.virtual_stages for p in plans)


def main() -> None:
    library = default_library()
    model = library.model("llama-3.1-405b")
    h100 = target(library, "dgx-h100", None, "train")
    plans = legal_plans(model)
    priced = best_s(lambda: price(model, plans, h100, SEQ_LEN))
    bare = best_s(lambda: bare_plans(plans))
    numpy = best_s(lambda: np.prod(np.ones((len(plans), 6)), axis=1))
    group = Group(
        role="train",
        model="llama-3.1-405b",
        cluster="dgx-h100",
        devices=16384,
        plan=Plan(tp=8, pp=16, global_batch=BATCH),
    )
    scenario = Scenario(groups=(group,), demand=TokenBudget(seq_len=SEQ_LEN, tokens=15.6e12))
    once = best_s(lambda: api.train(scenario))
    print(f"plans through training.price ({len(plans):,} distinct) {len(plans) / priced:>14,.0f} plans/s")
    print(f"  beside a bare Python loop over them      {len(plans) / bare:>14,.0f} plans/s")
    print(f"  beside NumPy multiplying six numbers     {len(plans) / numpy:>14,.0f} plans/s")
    print(f"one warm api.train                          {once * 1e3:>13.2f} ms")


if __name__ == "__main__":
    main()
