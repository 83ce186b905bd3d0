"""Figures of serving taken apart: recomputed from below to 1e-12, the requests at a percentile by name, leaves that move them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sim import api
from sim.app.cli import run
from sim.catalog.facts import contents
from sim.catalog.library import Library
from sim.catalog.recorded import Recorded
from sim.catalog.scenarios import Economy, Group, Scenario, Traffic
from sim.errors import InputError
from sim.studies.explain_serving import FIGURES, Explained
from sim.studies.terms import moved_contents

LIBRARY = Library()
OPEN = Traffic(rate_requests_per_s=30.0, requests=60, input_tokens=800, output_tokens=40)
SCENARIO = Scenario(
    groups=(Group(role="serve", model="llama-3.1-8b", cluster="h100", replicas=2),),
    demand=OPEN,
    economy=Economy(kg_co2_per_kwh=0.3),
)
APART = Scenario(
    groups=(
        Group(role="prefill", model="llama-3.1-8b", cluster="h100", replicas=1),
        Group(role="decode", model="llama-3.1-8b", cluster="h200", replicas=1),
    ),
    demand=OPEN,
    economy=Economy(kg_co2_per_kwh=0.3),
)
CLOSED = SCENARIO.with_(demand=Traffic(concurrency=8, requests=24, input_tokens=500, output_tokens=20))


def explained(scenario, library=LIBRARY):
    return Explained(library, scenario, *api.deployment(scenario, library))


def tree(scenario, figure, library=LIBRARY):
    return explained(scenario, library).term(figure)


@pytest.mark.parametrize("scenario", [SCENARIO, APART, CLOSED], ids=["replicas", "apart", "closed"])
def test_terms_recomputed_from_below_give_every_figure(scenario):
    figures = api.serve(scenario, LIBRARY).figures
    whole = explained(scenario)
    for name in FIGURES:
        term = whole.term(name)
        assert term.recomputed() == pytest.approx(figures[name].value, rel=1e-12), name
        assert term.value == pytest.approx(figures[name].value, rel=1e-12), name


def test_a_percentile_names_the_requests_at_it_and_their_parts_are_its_seconds():
    result = api.serve(SCENARIO, LIBRARY)
    term = tree(SCENARIO, "ttft_p95")
    ttft_s = result.requests["first_token_s"] - result.requests["arrival_s"]
    order = np.argsort(ttft_s, kind="stable")
    named = [each.terms[1].name for each in term.terms]
    assert named == [f"request {order[56]}, TTFT", f"request {order[57]}, TTFT"]  # 0.95 * 59 = 56.05
    for each, number in zip(term.terms, order[56:58], strict=True):
        parts = {part.name: part.value for part in each.terms[1].terms}
        assert set(parts) <= {"queueing", "prefill", "outside the replica"}
        assert sum(parts.values()) == pytest.approx(ttft_s[number], rel=1e-12)
        waited = result.requests["admitted_s"][number] - result.requests["arrival_s"][number]
        assert parts.get("queueing", 0.0) == pytest.approx(waited, abs=1e-15)


def test_leaves_are_values_of_the_catalogue_with_sources():
    leaves = [leaf for leaf in tree(SCENARIO, "latency_p50").leaves() if leaf.key]
    assert {leaf.key.partition(".")[0] for leaf in leaves} == {"chip", "calibration", "stack"}
    assert all(leaf.source for leaf in leaves)
    assert {"chip.memory.bandwidth", "chip.matrix.clock", "stack.request_host_s"} <= {leaf.key for leaf in leaves}


def test_moving_a_leaf_moves_the_figures_as_the_whole_model_says():
    key = "chip.memory.bandwidth"
    entries = contents(LIBRARY, CLOSED)
    before = explained(CLOSED, Recorded(entries))
    moved = explained(CLOSED, Recorded(moved_contents(entries, key, 1.05)))
    path = key.partition(".")[2]
    changed = CLOSED.groups[0].with_(chip_changes=(f"{path}*=1.05",))
    figures = api.serve(CLOSED.with_(groups=(changed,)), LIBRARY).figures
    for name in ("ttft_p50", "tpot_p95", "output_tokens_per_s", "joules_per_token"):
        assert moved.term(name).recomputed() == pytest.approx(figures[name].value, rel=1e-12), name
        assert moved.term(name).value != before.term(name).value, name


def test_moving_fitted_values_and_the_price_moves_the_figure():
    entries = contents(LIBRARY, CLOSED)
    term = tree(CLOSED, "usd_per_million_tokens", Recorded(entries))
    assert any(leaf.key == "price.h100-sxm" for leaf in term.leaves())
    spent = tree(CLOSED, "latency_p50", Recorded(entries))
    fitted = {leaf.key for leaf in spent.leaves() if leaf.key.startswith(("calibration.", "stack."))}
    assert len(fitted) > 5
    for key in sorted(fitted)[:: len(fitted) // 3]:
        moved = api.serve(CLOSED, Recorded(moved_contents(entries, key, 1.05))).figures["latency_p50"].value
        assert moved != spent.value, key
    dearer = tree(CLOSED, "usd_per_million_tokens", Recorded(moved_contents(entries, "price.h100-sxm", 1.05)))
    assert dearer.value == pytest.approx(1.05 * term.value, rel=1e-12)


def test_what_is_not_taken_apart_is_refused_with_what_is():
    with pytest.raises(InputError, match="ttft_p50"):
        tree(SCENARIO, "ttft_p5O")


def test_explain_reads_a_stored_answer_of_serve(tmp_path, capsys):
    words = (
        "serve --model llama-3.1-8b --cluster h100 --concurrency 4 --requests 8 --input-tokens 500 --output-tokens 20"
    )
    assert run([*words.split(), "--out", str(tmp_path / "a")]) == 0
    capsys.readouterr()
    assert run(["explain", str(tmp_path / "a"), "ttft_p95", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recomputed"] == pytest.approx(found["stored"], rel=1e-12)
    assert "request" in json.dumps(found["tree"])
