from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.catalog.scenarios import Traffic
from sim.catalog.traffic import Requests, closed_loop, poisson, read_trace, requests, scaled
from sim.errors import InputError

SAMPLES = Path(__file__).parent / "samples" / "traces"
SHIPPED = Path(__file__).parents[2] / "workloads" / "traffic"

GOLDEN = {
    "azure_2023_golden.csv": ([0.0, 1.0, 2.5000001], [100, 300, 200], [10, 30, 20]),
    "azure_2024_golden.csv": ([0.0, 0.5, 3.75], [100, 200, 300], [10, 20, 30]),
    "burstgpt_golden.csv": ([0.0, 113.0], [472, 417], [18, 276]),
    "burstgpt_sessions_golden.csv": ([0.0, 40.0, 113.0], [472, 87, 417], [18, 5, 276]),
    "mooncake_golden.jsonl": ([0.0, 1.5, 2.0], [1030, 1500, 512], [50, 9, 7]),
}
BROKEN = {
    "azure_2023_broken.csv": (":3: ContextTokens = '2oo'", "Mend"),
    "azure_2024_broken.csv": (":3: TIMESTAMP = '2024-05-12 25:00:01+00:00'", "Mend"),
    "burstgpt_broken.csv": (":3: Request tokens = -1", "Mend"),
    "burstgpt_sessions_broken.csv": (":3: row = '45.0,b2,9.0,ChatGPT,87' has 5 columns, not 8", "Mend"),
    "mooncake_broken.jsonl": (":2: input_length = nan", "is not a number from 0 on"),
}


def written(folder: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("name", GOLDEN)
def test_each_publishers_format_is_read(name: str) -> None:
    arrival_s, inputs, outputs = GOLDEN[name]
    trace = read_trace(SAMPLES / name)
    np.testing.assert_allclose(trace.arrival_s, arrival_s, atol=1e-7)
    assert trace.input_tokens.tolist() == inputs
    assert trace.output_tokens.tolist() == outputs
    assert trace.arrival_s.dtype == np.float64
    assert trace.input_tokens.dtype == trace.output_tokens.dtype == np.int32


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_trace_is_told_with_line_value_and_remedy(name: str) -> None:
    with pytest.raises(InputError) as caught:
        read_trace(SAMPLES / name)
    for part in (name, *BROKEN[name]):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_gzipped_trace_is_the_same_whatever_its_name(name: str, tmp_path: Path) -> None:
    packed = written(tmp_path, gzip.compress((SAMPLES / name).read_bytes()), "packed")
    plain, unpacked = read_trace(SAMPLES / name), read_trace(packed)
    assert plain.arrival_s.tobytes() == unpacked.arrival_s.tobytes()
    assert plain.input_tokens.tobytes() == unpacked.input_tokens.tobytes()


def test_the_shipped_azure_trace_is_whole() -> None:
    trace = read_trace(SHIPPED / "azure_llm_2023_conv.csv.gz")
    assert len(trace) == 19_366
    assert trace.name == "azure_llm_2023_conv"
    assert trace.dropped == 0
    assert trace.arrival_s[0] == 0.0
    assert 3400 < trace.arrival_s[-1] < 3600  # one hour
    assert trace.arrival_s[1] == pytest.approx(50.995169 - 46.680590, abs=1e-6)
    assert (trace.input_tokens[0], trace.output_tokens[0]) == (374, 44)
    assert trace.output_tokens.mean() == pytest.approx(211.1, abs=0.1)


def test_failed_requests_are_left_out_and_counted() -> None:
    trace = read_trace(SAMPLES / "burstgpt_golden.csv")
    assert (len(trace), trace.dropped) == (2, 1)


def test_sessions_are_numbered() -> None:
    sessions = read_trace(SAMPLES / "burstgpt_sessions_golden.csv").sessions
    assert sessions is not None
    assert sessions[0] == sessions[2] != sessions[1]


def test_prefix_blocks_move_with_their_request() -> None:
    trace = read_trace(SAMPLES / "mooncake_golden.jsonl")
    assert trace.blocks is not None and trace.block_starts is not None
    each = [trace.blocks[a:b].tolist() for a, b in zip(trace.block_starts, trace.block_starts[1:], strict=False)]
    assert each == [[0, 1, 2], [0, 1, 5], [0]]
    assert trace.block_tokens == 512


def test_the_size_of_a_prefix_block_is_told_by_how_many_there_are(tmp_path: Path) -> None:
    line = '{"timestamp": 0, "input_length": 40, "output_length": 1, "hash_ids": [4, 5, 6]}\n'
    assert read_trace(written(tmp_path, line)).block_tokens == 16
    with pytest.raises(InputError, match="fit no block"):
        read_trace(written(tmp_path, line.replace("[4, 5, 6]", "[4, 5, 6, 7, 8, 9]")))


def test_equal_arrivals_keep_their_order(tmp_path: Path) -> None:
    head = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    rows = "".join(f"{7 - i % 2},m,{i + 1},1,0,x\n" for i in range(100))
    trace = read_trace(written(tmp_path, head + rows))
    assert trace.input_tokens.tolist() == [*range(2, 101, 2), *range(1, 100, 2)]


AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
MOONCAKE = '{"timestamp": 0, "input_length": 8, "output_length": 1}\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "known trace"),
        ("a,b,c\n1,2,3\n", ":1: columns 'a, b, c'"),
        (AZURE, "no rows"),
        (AZURE + "\n\n", "no rows"),
        (AZURE + "2023-11-16 10:00:00,0,0\n", "no request with tokens"),
        (AZURE + "5,1,1\n", ":2: TIMESTAMP = '5'"),
        (AZURE + "NaT,1,1\n", ":2: TIMESTAMP = 'NaT'"),
        (AZURE + ",1,1\n", ":2: TIMESTAMP = ''"),
        (AZURE + "9999-01-01 00:00:00,1,1\n", ":2: TIMESTAMP = '9999-01-01 00:00:00'"),
        (AZURE + "2023-11-16 10:00:00+02:00,1,1\n", ":2: TIMESTAMP"),
        (AZURE + "2023-11-16 10:00:00,nan,1\n", ":2: ContextTokens = 'nan'"),
        (AZURE + "2023-11-16 10:00:00,1,inf\n", ":2: GeneratedTokens = 'inf'"),
        (AZURE + "2023-11-16 10:00:00,1,1.5\n", ":2: GeneratedTokens = 1.5"),
        (AZURE + "2023-11-16 10:00:00,1,3000000000\n", ":2: GeneratedTokens = 3000000000"),
        (AZURE + "\n2023-11-16 10:00:00,1,\xff\n", ":3: GeneratedTokens"),
        ("TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n", "NumImages"),
        ("Timestamp,Request tokens,Response tokens\n-1,1,1\n", ":2: Timestamp = '-1'"),
        (MOONCAKE + "{\n", ":2: row = '{'"),
        (MOONCAKE + "[]\n", ":2: row = '[]'"),
        (MOONCAKE + MOONCAKE.strip() + "," + MOONCAKE, ":2: row"),
        (MOONCAKE + "{}\n", ":2: timestamp = None"),
        (MOONCAKE.replace("8", "-8"), ":1: input_length = -8"),
        (MOONCAKE.replace("8", "true"), ":1: input_length = True"),
        (MOONCAKE.replace("8", "1" + "0" * 400), ":1: input_length"),
        (MOONCAKE.replace("}", ', "hash_ids": ["a"]}'), ":1: hash_ids"),
    ],
)
def test_what_is_malformed_is_named(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_trace(written(tmp_path, text))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_torn_gzip_file_and_a_missing_one_are_told(tmp_path: Path) -> None:
    whole = gzip.compress((SAMPLES / "azure_2023_golden.csv").read_bytes())
    with pytest.raises(InputError, match="not a whole gzip file"):
        read_trace(written(tmp_path, whole[:-20]))
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(tmp_path / "none.csv")


def test_a_poisson_process_has_its_rate_and_its_spread() -> None:
    n, rate = 20_000, 12.5
    gaps_s = np.diff(poisson(rate, n, 100, 100, seed=3).arrival_s, prepend=0.0)
    # mean and standard deviation of exponential gaps are 1/rate; five standard errors of each
    assert gaps_s.mean() == pytest.approx(1 / rate, rel=5 / np.sqrt(n))
    assert gaps_s.std() == pytest.approx(1 / rate, rel=5 * np.sqrt(2 / n))


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_lengths_lie_between_their_bounds(inputs: int, outputs: int, spread: float, seed: int) -> None:
    drawn = closed_loop(4, 50, inputs, outputs, spread, seed)
    for tokens, nominal in ((drawn.input_tokens, inputs), (drawn.output_tokens, outputs)):
        assert tokens.max() <= nominal
        assert tokens.min() >= max(1, (1 - spread) * nominal - 1e-6)
    assert not drawn.arrival_s.any()
    assert drawn.concurrency == 4


def same(a: Requests, b: Requests) -> bool:
    columns = ("arrival_s", "input_tokens", "output_tokens")
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in columns)


def test_equal_seeds_give_identical_bytes_and_others_do_not() -> None:
    draw = (10.0, 500, 1000, 200, 0.5)
    assert same(poisson(*draw, seed=1), poisson(*draw, seed=1))
    assert not same(poisson(*draw, seed=1), poisson(*draw, seed=2))


def test_two_designs_meet_the_same_lengths_at_any_rate() -> None:
    slow, fast, closed = poisson(1, 100, 900, 90, 0.3), poisson(9, 100, 900, 90, 0.3), closed_loop(8, 100, 900, 90, 0.3)
    assert slow.input_tokens.tobytes() == fast.input_tokens.tobytes() == closed.input_tokens.tobytes()
    np.testing.assert_allclose(slow.arrival_s, 9 * fast.arrival_s)


def test_scaling_changes_rate_and_length_apart() -> None:
    trace = read_trace(SAMPLES / "mooncake_golden.jsonl")
    faster, longer = scaled(trace, rate=4.0), scaled(trace, length=0.001)
    np.testing.assert_array_equal(faster.arrival_s, trace.arrival_s / 4)
    assert faster.blocks is not None
    assert longer.input_tokens.tolist() == [1, 2, 1]
    assert longer.blocks is None
    with pytest.raises(InputError, match="scale_rate"):
        scaled(trace, rate=0.0)


def test_a_scenario_names_its_trace_or_draws_its_requests() -> None:
    named = Traffic(trace="mooncake_golden.jsonl", requests=2)
    taken = requests(named, 0, [SAMPLES])
    assert len(taken) == 2 and taken.blocks is not None and taken.blocks.tolist() == [0, 1, 2, 0, 1, 5]
    closed = requests(Traffic(concurrency=3, input_tokens=10, output_tokens=5), 0)
    assert (len(closed), closed.concurrency) == (30, 3)
    assert len(requests(Traffic(rate_requests_per_s=2.0, requests=7, input_tokens=10, output_tokens=5), 0)) == 7


@pytest.mark.parametrize(
    ("traffic", "told"),
    [
        (Traffic(), "nothing is given"),
        (Traffic(rate_requests_per_s=1.0, concurrency=1), "rate and concurrency is given"),
        (Traffic(concurrency=1, input_tokens=1), "output_tokens is missing"),
        (Traffic(trace="none.csv"), "no such file"),
    ],
)
def test_an_unclear_demand_is_an_error(traffic: Traffic, told: str) -> None:
    with pytest.raises(InputError, match=told):
        requests(traffic, 0)


def test_requests_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        closed_loop(1, 5, 1, 1).arrival_s[0] = 1.0


@pytest.mark.parametrize("module", ["sim.catalog.traffic", "sim.catalog.huggingface", "sim.lowering.parameters"])
def test_reading_what_users_bring_needs_no_numba(module: str) -> None:
    code = f"import sys, {module}; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
