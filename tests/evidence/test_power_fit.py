"""The fit of the draw: recovers what made the rows, predicts rows that it has not seen, contrasts by hand."""

from __future__ import annotations

import pytest

from sim.errors import InputError
from sim.evidence.context import Context
from sim.evidence.contrasts import contrasts
from sim.evidence.power_fit import fit, leave_out, measured
from sim.evidence.power_rows import predict
from sim.evidence.predictions import silent
from sim.evidence.tables import Skip, parse_table
from sim.evidence.validate import validate

HEADER = (
    "device,num_devices,model,phase,precision,batch_or_concurrency,engine,scope,year,measured_power_w,"
    "energy_j_per_token,tokens_per_s,notes\n"
)
ROW = "{device},{n},{model},inference,bfloat16,{batch},vLLM,GPUs,2025,{watts},{joules},{rate},chat; TP{n} EP1 DP1\n"


@pytest.fixture(scope="module")
def context():
    return Context()


@pytest.fixture(scope="module")
def made(context):
    """Rows whose measured cells are what the model itself predicts."""
    runs = [
        (device, n, model, batch)
        for device, n, model in (
            ("h100-sxm", 2, "qwen3-32b"),
            ("b200", 1, "qwen3-32b"),
            ("h100-sxm", 4, "llama-3.1-70b"),
            ("b200", 2, "llama-3.1-70b"),
        )
        for batch in (8, 32, 64, 256)
    ]
    guess = predict(filled(runs, [("", "", "")] * len(runs)), context, silent).values
    cells = [
        (watts, joules, watts / joules)
        for watts, joules in zip(guess["measured_power_w"], guess["energy_j_per_token"], strict=True)
    ]
    return filled(runs, cells)


def filled(runs, cells):
    text = HEADER
    for (device, n, model, batch), (watts, joules, rate) in zip(runs, cells, strict=True):
        text += ROW.format(device=device, n=n, model=model, batch=batch, watts=watts, joules=joules, rate=rate)
    return parse_table(text, "x.csv")


def test_the_fit_gives_back_the_values_that_made_the_rows(made, context):
    rows = [measured(row, context) for row in made.rows()]
    stack, power = rows[0].target.stack, rows[0].served.machine.power
    found = fit(rows)
    assert found["wait_share"] == pytest.approx(power[0], rel=0.02)
    assert found["matrix_pj"] == pytest.approx(power[1], rel=0.02)
    assert found["step_host_s"] == pytest.approx(stack.step_host_s, rel=0.02)
    assert found["sequence_host_s"] == pytest.approx(stack.sequence_host_s, rel=0.02)


@pytest.mark.parametrize("split", ["model", "device"])
def test_rows_left_out_are_predicted_by_the_others(made, context, split):
    found = leave_out(made, split, context, silent).values["measured_power_w"]
    assert found == pytest.approx(made.measured("measured_power_w"), rel=0.02)


def test_a_fit_needs_rows_and_a_row_needs_the_draw_of_devices(made, context):
    rows = [measured(row, context) for row in made.rows()]
    with pytest.raises(InputError, match="a fit needs 8"):
        fit(rows[:3])
    text = HEADER + ROW.format(device="b200", n=1, model="qwen3-32b", batch=8, watts=1, joules=1, rate=1)
    wall = parse_table(text.replace("GPUs", "system wall (AC)"), "x.csv")
    with pytest.raises(Skip, match="no draw of the devices"):
        measured(next(wall.rows()), context)


def test_a_larger_batch_saves_what_the_contrast_says(made, context):
    same = contrasts(made, predict(made.configuration(), context, silent), [""] * len(made))
    assert [(c.value, c.groups) for c in same] == [(pytest.approx(0.0, abs=1e-6), 4), (1.0, 4)]


def test_other_splits_of_power_are_an_input_error():
    with pytest.raises(InputError, match="use one of model, device"):
        validate("power", None, leave_out="stack")
