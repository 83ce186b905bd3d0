"""Generators: traffic as a few numbers says again what it was fitted to; conversations; Mooncake's trace and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.generators import Generator, drawn, fitted, read_generator
from sim.catalog.mooncake import jsonl
from sim.catalog.scenarios import Traffic
from sim.catalog.traffic import bursty, closed_loop, conversations, poisson, read_trace, requests
from sim.errors import InputError


def generator_of(**changes: object) -> Generator:
    plain = Generator(
        source="made up",
        rate_requests_per_s=5.0,
        gap_variation=2.0,
        period_s=2_000.0,
        profile=(0.5, 1.5, 1.0, 1.0),
        input_tokens=(10, 100, 1_000, 10_000),
        output_tokens=(5, 50, 100, 1_000),
        correlation=0.6,
    )
    return plain.with_(**changes)


def test_a_generator_fitted_to_what_a_generator_drew_is_that_generator() -> None:
    made = generator_of(period_s=40_000.0)  # as long as 200,000 requests take
    again = fitted("drawn", *drawn(made, 200_000, seed=1))
    assert again.rate_requests_per_s == pytest.approx(5.0, rel=0.02)
    assert again.gap_variation == pytest.approx(2.0, rel=0.05)
    assert again.correlation == pytest.approx(0.6, abs=0.01)
    for name in ("input_tokens", "output_tokens"):
        quantiles = np.interp(np.linspace(0, 1, 41), np.linspace(0, 1, 4), np.log(getattr(made, name)))
        assert np.log(getattr(again, name)) == pytest.approx(quantiles, abs=0.1)


def test_the_rate_follows_the_profile_and_starts_over() -> None:
    arrival_s, _, _ = drawn(generator_of(gap_variation=1.0), 20_000, seed=2)
    counts, _ = np.histogram(arrival_s, bins=8, range=(0.0, 4_000.0))
    assert counts / 2_500.0 == pytest.approx([0.5, 1.5, 1.0, 1.0] * 2, rel=0.08)


@pytest.mark.parametrize("variation", [0.25, 1.0, 3.0])
def test_gaps_of_an_open_loop_vary_as_asked(variation: float) -> None:
    gaps = np.diff(bursty(10.0, 100_000, variation, (100, 10, 0.0), seed=3).arrival_s)
    assert gaps.mean() == pytest.approx(0.1, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(variation, rel=0.05)


def test_a_variation_of_one_is_the_poisson_process() -> None:
    lengths = (100, 10, 0.5)
    assert (bursty(4.0, 50, 1.0, lengths, seed=4).arrival_s == poisson(4.0, 50, *lengths, seed=4).arrival_s).all()


@settings(max_examples=50, deadline=None)
@given(turns=st.integers(1, 6), count=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_turn_s_prompt_is_all_that_was_said_and_its_own_tokens(turns: int, count: int, seed: int) -> None:
    single = poisson(2.0, turns * count, 200, 80, spread=0.7, seed=seed)
    talk = conversations(single, turns, think_s=5.0)
    assert talk.blocks is not None and talk.block_starts is not None and talk.follows is not None
    for i, before in enumerate(talk.follows.tolist()):
        said = 0 if before < 0 else int(talk.input_tokens[before] + talk.output_tokens[before])
        assert talk.input_tokens[i] == said + single.input_tokens[i]
        own = talk.blocks[talk.block_starts[i] : talk.block_starts[i + 1]]
        assert len(own) == talk.input_tokens[i] // talk.block_tokens
        if before >= 0:
            earlier = talk.blocks[talk.block_starts[before] : talk.block_starts[before + 1]]
            assert (own[: len(earlier)] == earlier).all()
    firsts = talk.block_starts[:-1][talk.follows < 0]
    ids = [set(part.tolist()) for part in np.split(talk.blocks, firsts[1:])]
    assert all(not a & b for i, a in enumerate(ids) for b in ids[:i]), "conversations share nothing"


def test_what_is_exported_for_a_load_test_reads_back_as_it_was(tmp_path: Path) -> None:
    sent = poisson(3.0, 500, 3_000, 200, spread=0.9, seed=5)
    path = tmp_path / "load.jsonl"
    path.write_text(jsonl(sent))
    back = read_trace(path)
    assert (back.input_tokens == sent.input_tokens).all() and (back.output_tokens == sent.output_tokens).all()
    assert back.arrival_s == pytest.approx(sent.arrival_s - sent.arrival_s[0], abs=1e-6)
    assert back.blocks is not None and len(np.unique(back.blocks)) == len(back.blocks), "nothing is shared"


def test_prefix_blocks_survive_the_export(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 0, "input_length": 1024, "output_length": 5, "hash_ids": [7, 8]},
        {"timestamp": 1500, "input_length": 1030, "output_length": 6, "hash_ids": [7, 9, 10]},
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [json.loads(line) for line in jsonl(read_trace(path)).splitlines()] == rows


def test_a_loop_whose_arrivals_follow_from_answers_is_no_trace() -> None:
    with pytest.raises(InputError, match="closed loop has no arrival times"):
        jsonl(closed_loop(4, 10, 100, 10))
    with pytest.raises(InputError, match="turns = 1"):
        jsonl(conversations(poisson(1.0, 10, 100, 10), 2, 0.0))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"generator": "none.yaml", "trace": "a.csv"}, "exactly one of"),
        ({"generator": "none.yaml"}, "no such file"),
        ({"concurrency": 4, "input_tokens": 5, "output_tokens": 5, "gap_variation": 2.0}, "shapes the arrivals of a rate"),
        ({"generator": "none.yaml", "turns": 3}, "turns are drawn for a rate"),
        ({"rate_requests_per_s": 1.0, "input_tokens": 5}, "output_tokens is missing"),
        ({"rate_requests_per_s": 1.0, "input_tokens": 5, "output_tokens": 5, "requests": 3, "turns": 4}, "at least one"),
    ],
)  # fmt: skip
def test_a_demand_that_contradicts_itself_is_refused(asked: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        requests(Traffic.model_validate(asked), seed=0)


def test_a_trace_without_a_span_has_no_rate() -> None:
    once = closed_loop(1, 5, 10, 10)
    with pytest.raises(InputError, match="have no rate"):
        fitted("burst", once.arrival_s, once.input_tokens, once.output_tokens)


def test_a_generator_file_with_falling_quantiles_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "source: me\nrate_requests_per_s: 2.0\ngap_variation: 1.0\nperiod_s: 60.0\n"
        "input_tokens: [10, 5]\noutput_tokens: [1, 2]\n"
    )
    with pytest.raises(InputError, match=r"bad.yaml:5.*must not fall"):
        read_generator(path)
