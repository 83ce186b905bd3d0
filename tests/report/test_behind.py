"""What is made again beside a stored result agrees with it."""

import math

import numpy as np
import pytest

from sim import api
from sim.catalog.library import Library
from sim.catalog.plans import Plan
from sim.catalog.scenarios import Group, Scenario, TokenBudget, Traffic
from sim.report.behind import behind

LIBRARY = Library()


def training(**plan) -> Scenario:
    group = Group(role="train", model="llama-3.1-8b", cluster="dgx-h100", devices=32, plan=Plan(**plan))
    return Scenario(groups=(group,), demand=TokenBudget(seq_len=4096))


@pytest.mark.parametrize(
    "plan",
    [
        {"tp": 2, "pp": 4, "global_batch": 64},
        {"tp": 2, "pp": 4, "global_batch": 64, "virtual_stages": 2, "recompute": "full"},
        {"pp": 2, "global_batch": 64, "sharding": "zero1", "recompute": "auto"},
    ],
)
def test_the_fullest_stage_is_one_of_all_stages(plan):
    asked = training(**plan)
    result = api.train(asked, LIBRARY)
    stages = behind(asked, LIBRARY, result).stages
    assert len(stages) == plan["pp"]
    fullest = max(stages, key=lambda parts: math.fsum(parts.values()))
    assert fullest == pytest.approx({name: size for name, size in result.memory.items() if size})


def test_kernels_stay_under_their_roof_and_share_out_the_time():
    asked = training(tp=2, pp=2, global_batch=64)
    (made,) = behind(asked, LIBRARY, api.train(asked, LIBRARY)).passes
    assert math.fsum(each.share for each in made.kernels) + made.off_share == pytest.approx(1.0)
    assert made.kernels[0].share == max(each.share for each in made.kernels)
    products = [each for each in made.kernels if each.part in ("ffn", "projection", "logits")]
    assert products and all(each.flops / each.seconds <= made.roof.flops_per_s["bf16"] for each in products)


def test_a_serving_run_shows_its_mean_prompt_and_its_mean_batch():
    group = Group(role="serve", model="llama-3.1-8b", cluster="h100")
    demand = Traffic(concurrency=8, requests=32, input_tokens=256, output_tokens=64)
    asked = Scenario(groups=(group,), demand=demand)
    result = api.serve(asked, LIBRARY)
    prefill, decode = behind(asked, LIBRARY, result).passes
    assert prefill.name == "prefill of 256 tokens"
    assert np.isclose(float(decode.name.split()[2]), 8, atol=1)
    intensity = [
        sum(k.flops * k.share for k in each.kernels) / sum(k.bytes * k.share for k in each.kernels)
        for each in (prefill, decode)
    ]
    assert intensity[0] > 10 * intensity[1]
