"""A trace says what the timeline says: decoded again, its slices nest and their times match."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from sim.engine import Schedule, Timeline, run
from sim.report.perfetto import busy_queues, nanoseconds, trace_bytes


@pytest.fixture
def timeline() -> Timeline:
    """Two stages and a link: forward, send, forward, and a row without duration."""
    table = Schedule.of(
        queue=["stage 0", "link", "stage 1", "stage 0", "stage 1"],
        seconds=[1.5e-3, 0.25e-3, 1.5e-3, 0.0, 3e-3],
        after=[[], [0], [1], [0], [2]],
        part=["ffn", "pp_traffic", "ffn", "host", "ffn"],
        phase=["forward", "forward", "forward", "forward", "backward"],
    )
    return run(table, executor="simpy")


def slices(content: bytes) -> list[tuple[str, str, int, int]]:
    """(track, name, begin, end) of each slice of a decoded trace; raises if slices of a track do not nest."""
    trace = Trace()
    trace.ParseFromString(content)
    tracks = {p.track_descriptor.uuid: p.track_descriptor.name for p in trace.packet if p.HasField("track_descriptor")}
    events = [p for p in trace.packet if p.HasField("track_event")]
    open_slices: dict[int, list[tuple[str, int]]] = {}
    found = []
    for packet in sorted(events, key=lambda packet: packet.timestamp):  # stable, as the trace processor sorts
        event = packet.track_event
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            open_slices.setdefault(event.track_uuid, []).append((event.name, packet.timestamp))
        elif event.type == TrackEvent.TYPE_SLICE_END:
            name, begin = open_slices[event.track_uuid].pop()
            found.append((tracks[event.track_uuid], name, begin, packet.timestamp))
    assert not any(open_slices.values())
    return found


def test_every_row_is_one_slice_at_its_own_times(timeline):
    table = timeline.schedule
    start, end = nanoseconds(timeline)
    expected = [
        (
            table.queue_names[table.queue[i]],
            f"{table.part_names[table.part[i]]} {table.phase_names[table.phase[i]]}",
            start[i],
            end[i],
        )
        for i in range(len(table))
    ]
    assert sorted(slices(trace_bytes(timeline))) == sorted(expected)


def test_a_dependency_between_queues_is_a_flow_with_both_ends(timeline):
    trace = Trace()
    trace.ParseFromString(trace_bytes(timeline))
    begins = [flow for p in trace.packet for flow in p.track_event.flow_ids]
    ends = [flow for p in trace.packet for flow in p.track_event.terminating_flow_ids]
    assert len(begins) == 2  # stage 0 -> link -> stage 1; what follows on the same queue needs none
    assert sorted(begins) == sorted(ends)


def test_the_counter_ends_at_no_busy_queue(timeline):
    moments, level = busy_queues(timeline, np.arange(len(timeline.schedule)))
    assert level[-1] == 0
    assert level.max() <= len(timeline.schedule.queue_names)
    assert (np.diff(moments) > 0).all()


def test_the_chrome_trace_says_the_same(timeline):
    events = json.loads(trace_bytes(timeline, chrome=True))["traceEvents"]
    complete = {(e["tid"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"}
    start, end = nanoseconds(timeline)
    rows = range(len(timeline.schedule))
    assert complete == {(int(timeline.schedule.queue[i]), start[i] / 1e3, (end[i] - start[i]) / 1e3) for i in rows}
    assert {e["args"]["name"] for e in events if e.get("name") == "thread_name"} == set(timeline.schedule.queue_names)


def test_an_empty_timeline_is_an_empty_trace():
    empty = run(Schedule.of([], []), executor="simpy")
    assert slices(trace_bytes(empty)) == []
    assert json.loads(trace_bytes(empty, chrome=True))["traceEvents"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1e-3)), max_size=30))
def test_slices_of_a_queue_never_overlap(rows):
    timeline = run(Schedule.of([f"q{queue}" for queue, _ in rows], [seconds for _, seconds in rows]), executor="simpy")
    by_track: dict[str, list[tuple[int, int]]] = {}
    for track, _, begin, end in slices(trace_bytes(timeline)):
        by_track.setdefault(track, []).append((begin, end))
    assert sum(map(len, by_track.values())) == len(rows)
    for spans in by_track.values():
        spans.sort()
        assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_a_training_step_s_trace_nests_counts_and_pairs_as_the_trace_processor_asks():
    """Every packet names a track that is described; slices of a track nest; counters have values; flows end where they begin."""
    from sim.api import trace
    from sim.catalog.scenarios import Scenario

    plan = {"tp": 2, "pp": 4, "dp": 2, "virtual_stages": 2, "global_batch": 16}
    group = {"role": "train", "model": "llama-3.1-8b", "cluster": "dgx-h100", "devices": 16, "plan": plan}
    timeline = trace(Scenario.model_validate({"groups": [group], "demand": {"kind": "tokens", "seq_len": 4096}}))
    decoded = Trace()
    decoded.ParseFromString(trace_bytes(timeline))
    descriptors = [packet.track_descriptor for packet in decoded.packet if packet.HasField("track_descriptor")]
    uuids = [track.uuid for track in descriptors]
    assert len(set(uuids)) == len(uuids)
    assert all(track.parent_uuid in uuids for track in descriptors if track.parent_uuid)
    events = [packet for packet in decoded.packet if packet.HasField("track_event")]
    assert {packet.track_event.track_uuid for packet in events} <= set(uuids)
    assert all(packet.trusted_packet_sequence_id for packet in decoded.packet)
    (counter,) = [track.uuid for track in descriptors if track.HasField("counter")]
    counts = [p.track_event.counter_value for p in events if p.track_event.type == TrackEvent.TYPE_COUNTER]
    assert {p.track_event.track_uuid for p in events if p.track_event.type == TrackEvent.TYPE_COUNTER} == {counter}
    assert counts[-1] == 0 and 1 < max(counts) <= len(timeline.schedule.queue_names)
    begins = {flow: p.timestamp for p in events for flow in p.track_event.flow_ids}
    ends = {flow: p.timestamp for p in events for flow in p.track_event.terminating_flow_ids}
    assert begins.keys() == ends.keys() and begins
    assert all(begins[flow] <= ends[flow] for flow in begins)
    assert len(slices(trace_bytes(timeline))) == len(timeline.schedule)
