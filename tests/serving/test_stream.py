"""Long runs in little memory give the same bits; percentiles stay close."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from sim.catalog.traffic import poisson
from sim.errors import InputError
from sim.serving import stream as streaming
from sim.serving.fleet import Fleet
from sim.serving.metrics import metrics
from sim.serving.run import simulate
from sim.serving.stream import COLUMNS, Spread, stream

from .parts import packed, random_requests


def cut(requests, pieces):
    bounds = np.linspace(0, len(requests), pieces + 1).astype(int)
    names = ("arrival_s", "input_tokens", "output_tokens")
    return [replace(requests, **{name: getattr(requests, name)[a:b] for name in names}) for a, b in pairwise(bounds)]


@pytest.mark.parametrize("router", ["round_robin", "least_loaded"])
@pytest.mark.parametrize("rows", [4, 1024])
def test_a_stream_gives_the_bits_of_a_whole_run(monkeypatch, router, rows):
    monkeypatch.setattr(streaming, "_LEAST_ROWS", rows)
    for number in range(3):
        requests = random_requests(number, 200)
        limits = {"kv_blocks": 80, "longest": 1024, "max_model_len": 750, "request_host_s": 0.01}
        whole = simulate(packed(**limits), requests, Fleet(3, router))
        parts = []
        out = stream(packed(**limits), cut(requests, 7), 3, router=router, write=parts.append)
        found = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
        order = np.argsort(found["request"])
        assert (found["request"][order] == np.arange(200)).all()
        for name in COLUMNS[1:]:
            wanted = getattr(whole, name)
            assert found[name][order].tobytes() == wanted.astype(found[name].dtype).tobytes()
        summed = metrics(whole)
        assert out.finished == summed["finished"] and out.output_tokens == summed["output_tokens"]
        assert out.ttft_s.percentile(95) == pytest.approx(summed["ttft_s_p95"])
        assert out.tpot_s.mean == pytest.approx(summed["tpot_s_mean"])


def test_rows_held_follow_what_is_in_flight_not_what_has_been():
    requests = poisson(5.0, 20_000, 100, 5, seed=3)
    out = stream(packed(), cut(requests, 20), 2)
    assert out.finished == 20_000 and out.rows == 1024


def test_percentiles_are_exact_for_few_values_and_close_for_many(monkeypatch):
    values = np.random.default_rng(0).lognormal(0.0, 2.0, 50_000)
    exact, binned = Spread(), Spread()
    exact.add(values)
    monkeypatch.setattr(streaming, "EXACT", 1000)
    for piece in np.split(values, 10):
        binned.add(piece)
    for p in (1, 50, 90, 99, 99.9):
        assert exact.percentile(p) == np.percentile(values, p)
        assert binned.percentile(p) == pytest.approx(np.percentile(values, p), rel=0.005)
    assert binned.mean == pytest.approx(values.mean())
    assert np.isnan(Spread().percentile(50))


def test_what_cannot_be_streamed_says_so():
    late = random_requests(1, 20)
    with pytest.raises(InputError, match="not in order"):
        stream(packed(longest=1024), [late, late])
    with pytest.raises(InputError, match="not compiled"):
        stream(packed(scheduler="fair"), [late])
