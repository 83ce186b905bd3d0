"""Illegal plans are refused with key, value and remedy."""

import pytest

from sim.catalog.library import default_library
from sim.catalog.plans import Plan
from sim.errors import InputError
from sim.lowering import check, resolved

LLAMA = default_library().model("llama-3.1-70b")


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Plan(tp=6), r"plan\.tp = 6 does not divide the 64 heads of llama-3\.1-70b\. Use 1, 2, 4"),
        (Plan(ep=4), r"plan\.ep = 4, but llama-3\.1-70b has no experts"),
        (Plan(pp=81), r"is more than the 80 layers"),
        (
            Plan(dp=4, micro_batch=3, global_batch=32),
            r"plan\.global_batch = 32 is not a multiple of micro_batch \* dp = 12\. Use 24",
        ),
        (Plan(pp=4, virtual_stages=2, dp=1, global_batch=6), r"micro-batches a multiple of pp = 4; there are 6"),
        (Plan(trainable="lora"), r"lora_rank = 0"),
    ],
)
def test_an_illegal_plan_names_key_value_and_remedy(plan, says):
    with pytest.raises(InputError, match=says):
        check(LLAMA, plan, training=True)


def test_dp_is_what_the_other_degrees_leave():
    assert resolved(Plan(tp=8, pp=4), 1024, LLAMA).dp == 32
    with pytest.raises(InputError, match=r"8 \* 3 \* 1 = 24 does not divide 1024 ranks"):
        resolved(Plan(tp=8, pp=3), 1024, LLAMA)
    with pytest.raises(InputError, match=r"plan\.dp = 3"):
        resolved(Plan(tp=8, dp=3), 64, LLAMA)
