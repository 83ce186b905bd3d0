"""A scenario written as flags is read as the same scenario."""

import shlex

import pytest

from sim.app.options import options, scenario_from
from sim.catalog.plans import Dtypes, Engine, Plan
from sim.catalog.scenarios import Group, Scenario, Slo, TokenBudget, Traffic
from sim.report.commands import command

TRAIN = Scenario(
    groups=(
        Group(
            role="train", model="llama-3.1-70b", cluster="dgx-h100", devices=512,
            plan=Plan(tp=8, pp=4, global_batch=512, recompute="full", sequence_parallel=False, dtypes=Dtypes(weights="fp8")),
        ),
    ),
    demand=TokenBudget(seq_len=8192, tokens=15.6e12),
)  # fmt: skip
SERVE = Scenario(
    groups=(
        Group(
            role="serve",
            model="llama-3.1-70b",
            cluster="h200",
            plan=Plan(tp=4),
            engine=Engine(max_num_seqs=64),
            replicas=3,
        ),
    ),
    demand=Traffic(rate_requests_per_s=2.5, input_tokens=1000, output_tokens=100, requests=50),
    slo=Slo(ttft_s=1.5),
)


def typed(line: str, verb: str) -> dict[str, str | bool]:
    """The words of a command as the command line hands them on: flag -> text."""
    words = shlex.split(line)[2:]
    switches = {option.name for option in options(verb) if option.switch}
    flags: dict[str, str | bool] = {}
    while words:
        name = words.pop(0).removeprefix("--")
        if name.removeprefix("no-") in switches:
            flags[name.removeprefix("no-")] = not name.startswith("no-")
        else:
            flags[name] = words.pop(0)
    return flags


@pytest.mark.parametrize(("verb", "scenario"), [("train", TRAIN), ("serve", SERVE)])
def test_flags_give_the_scenario_back(verb: str, scenario: Scenario) -> None:
    assert scenario_from(verb, None, typed(command(verb, scenario), verb), None, ()) == scenario


def test_a_change_replaces_or_removes_a_flag() -> None:
    line = command("train", TRAIN, tp=16, tokens=None)
    assert "--tp 16" in line and "--tokens" not in line and "--pp 4" in line
