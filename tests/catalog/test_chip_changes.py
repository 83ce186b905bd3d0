"""What if the chip were another: clock, units and peaks stay one fact; bad keys name the nearest."""

from __future__ import annotations

import pytest

from sim.catalog.chip_changes import changed
from sim.catalog.library import default_library
from sim.catalog.scenarios import Group
from sim.catalog.targets import adjusted, target
from sim.errors import InputError

H100 = default_library().chip("h100-sxm")


@pytest.mark.parametrize("text", ["matrix.clock*=1.1", "clock*=1.1", "matrix.clock_hz*=1.1", "matrix.clock_ghz=2.013"])
def test_the_clock_moves_every_peak_and_no_byte(text):
    faster = changed(H100, (text,))
    assert faster.matrix.clock_hz == pytest.approx(1.83e9 * 1.1, rel=1e-9)
    for dtype in ("bf16", "fp8", "fp32", "int8"):
        assert faster.matmul_flops_per_s(dtype) == pytest.approx(1.1 * H100.matmul_flops_per_s(dtype))
    assert faster.vector.exp_exp_per_s == pytest.approx(1.1 * H100.vector.exp_exp_per_s)
    assert (faster.memory, faster.matrix.units) == (H100.memory, H100.matrix.units)


def test_a_chip_without_a_printed_clock_still_runs_faster():
    chip = H100.with_(matrix=H100.matrix.with_(clock_hz=None))
    assert chip.clocked(2.0).matmul_flops_per_s("bf16") == 2.0 * H100.matmul_flops_per_s("bf16")
    with pytest.raises(InputError, match=r"matrix\.clock_hz of h100-sxm is unknown"):
        changed(chip, ("matrix.clock_ghz=2",))


def test_more_units_bring_their_peaks():
    larger = changed(H100, ("matrix.units*=2",))
    assert larger.matrix.units == 264
    assert larger.matmul_flops_per_s("bf16") == 2.0 * H100.matmul_flops_per_s("bf16")
    assert larger.matrix.clock_hz == H100.matrix.clock_hz


def test_changes_apply_one_after_the_other():
    chip = changed(H100, ("memory.bandwidth_gb_per_s=4000", "memory.bandwidth*=2", "memory.capacity_gb+=20"))
    assert chip.memory.bandwidth_bytes_per_s == 8e12
    assert chip.memory.capacity_bytes == H100.memory.capacity_bytes + 20e9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("matrix.clok*=2", r"chip\.matrix\.clok: a chip has no such value in matrix\. Did you mean clock_hz"),
        ("memroy.bandwidth*=2", r"chip\.memroy\.bandwidth: no such value of a chip\. Did you mean memory"),
        ("memory.bandwidth=4", r"say in which unit\. Use one of bandwidth_gb_per_s"),
        ("memory.bandwidth_gb_per_s=fast", "'fast' is not a number"),
        ("memory.bandwidth*=-1", r"bandwidth_bytes_per_s = -3.35e\+12 is no possible value"),
        ("matrix.clock*=0", "is no possible value"),
        ("matrix.fp4_flops_per_s*=2", r"matrix\.fp4_flops_per_s of h100-sxm is unknown"),
        ("matrix.kind=2", "no such value in matrix"),
        ("clock", "is not a change"),
    ],
)
def test_a_change_that_makes_no_sense_is_an_input_error(text, message):
    with pytest.raises(InputError, match=message):
        changed(H100, (text,))


def test_a_power_cap_stands_beside_the_chips_own_limit():
    found = target(default_library(), "dgx-h100", None, "train")
    group = Group(role="train", model="llama-3.1-8b", cluster="dgx-h100")
    capped = adjusted(found, group.with_(power_cap_w=500.0))
    assert (capped.chip.power.cap_w, capped.chip.power.tdp_w) == (500.0, 700.0)
    assert adjusted(found, group) == found
