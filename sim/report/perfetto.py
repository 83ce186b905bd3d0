"""Timeline -> a trace for ui.perfetto.dev: one track a queue, a slice a row, a flow for each dependency, a counter of busy queues."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..engine.schedule import IntArray
from ..engine.timeline import Timeline

NS = 1e9
MOST_SLICES = 400_000
_SEQUENCE = 1
_COUNTER = 1
_FIRST_TRACK = 2


def trace_bytes(timeline: Timeline, *, name: str = "gambrel", chrome: bool = False) -> bytes:
    """The trace as a file's content: Perfetto's TrackEvent protobuf, or Chrome's JSON.

    Rows without duration are kept as slices of length 0; of a longer timeline only the first 400,000 rows to start.
    """
    rows = np.argsort(timeline.start_s, kind="stable")[:MOST_SLICES]
    return _chrome(timeline, rows, name) if chrome else _perfetto(timeline, rows, name)


def row_name(timeline: Timeline, row: int) -> str:
    """What a slice is called: its part and phase."""
    table = timeline.schedule
    part, phase = table.part_names[table.part[row]], table.phase_names[table.phase[row]]
    return part if phase == part else f"{part} {phase}"


def nanoseconds(timeline: Timeline) -> tuple[IntArray, IntArray]:
    """Starts and ends as whole nanoseconds; equal seconds give equal nanoseconds, so that slices that touch do not overlap."""
    return np.rint(timeline.start_s * NS).astype(np.int64), np.rint(timeline.end_s * NS).astype(np.int64)


def _edges(timeline: Timeline, rows: IntArray) -> Iterator[tuple[int, int, int]]:
    """(flow, earlier row, later row) of each dependency between queues among these rows."""
    table = timeline.schedule
    kept = np.zeros(len(table), dtype=bool)
    kept[rows] = True
    for row in rows:
        for edge in range(table.after_ptr[row], table.after_ptr[row + 1]):
            earlier = table.after[edge]
            if kept[earlier] and table.queue[earlier] != table.queue[row]:
                yield edge + 1, int(earlier), int(row)


def busy_queues(timeline: Timeline, rows: IntArray) -> tuple[IntArray, IntArray]:
    """When the number of working queues changes [ns], and what it is from then on."""
    start, end = nanoseconds(timeline)
    moments = np.concatenate([start[rows], end[rows]])
    steps = np.concatenate([np.ones(len(rows), dtype=np.int64), np.full(len(rows), -1, dtype=np.int64)])
    order = np.argsort(moments, kind="stable")
    moments, level = moments[order], np.cumsum(steps[order])
    last = np.append(moments[1:] != moments[:-1], True) if len(moments) else np.zeros(0, dtype=bool)
    return moments[last], level[last]


def _perfetto(timeline: Timeline, rows: IntArray, name: str) -> bytes:
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TracePacket, TrackEvent
    from perfetto.trace_builder.proto_builder import TraceProtoBuilder

    builder: Any = TraceProtoBuilder()  # type: ignore[no-untyped-call]
    _describe(builder, timeline, name, TracePacket.SEQ_INCREMENTAL_STATE_CLEARED)
    out_flows: dict[int, list[int]] = {}
    in_flows: dict[int, list[int]] = {}
    for flow, earlier, later in _edges(timeline, rows):
        out_flows.setdefault(earlier, []).append(flow)
        in_flows.setdefault(later, []).append(flow)
    start, end = nanoseconds(timeline)
    table = timeline.schedule
    for row in rows.tolist():
        track = _FIRST_TRACK + int(table.queue[row])
        event = _event(builder, int(start[row]), track, TrackEvent.TYPE_SLICE_BEGIN)
        event.name = row_name(timeline, row)
        event.categories.append(table.phase_names[table.phase[row]])
        event.flow_ids.extend(out_flows.get(row, ()))
        event.terminating_flow_ids.extend(in_flows.get(row, ()))
        _event(builder, int(end[row]), track, TrackEvent.TYPE_SLICE_END)
    for moment, level in zip(*(column.tolist() for column in busy_queues(timeline, rows)), strict=True):
        _event(builder, moment, _COUNTER, TrackEvent.TYPE_COUNTER).counter_value = level
    content: bytes = builder.serialize()
    return content


def _describe(builder: Any, timeline: Timeline, name: str, cleared: int) -> None:
    """A process with one named thread a queue, in the order of the queues, and the counter."""
    packet = builder.add_packet()
    packet.trusted_packet_sequence_id = _SEQUENCE
    packet.sequence_flags = cleared
    process = packet.track_descriptor
    process.uuid = _FIRST_TRACK + len(timeline.schedule.queue_names)
    process.process.pid = 1
    process.process.process_name = name
    for queue, queue_name in enumerate(timeline.schedule.queue_names):
        track = _packet(builder).track_descriptor
        track.uuid = _FIRST_TRACK + queue
        track.parent_uuid = process.uuid
        track.name = queue_name
        track.sibling_order_rank = queue
    counter = _packet(builder).track_descriptor
    counter.uuid = _COUNTER
    counter.parent_uuid = process.uuid
    counter.name = "busy queues"
    counter.counter.SetInParent()


def _packet(builder: Any) -> Any:
    packet = builder.add_packet()
    packet.trusted_packet_sequence_id = _SEQUENCE
    return packet


def _event(builder: Any, moment: int, track: int, kind: int) -> Any:
    packet = _packet(builder)
    packet.timestamp = moment
    packet.track_event.type = kind
    packet.track_event.track_uuid = track
    return packet.track_event


def _chrome(timeline: Timeline, rows: IntArray, name: str) -> bytes:
    """Chrome's JSON: complete events with times in microseconds."""
    table = timeline.schedule
    events: list[dict[str, Any]] = [{"ph": "M", "pid": 1, "name": "process_name", "args": {"name": name}}]
    for queue, queue_name in enumerate(table.queue_names):
        events.append({"ph": "M", "pid": 1, "tid": queue, "name": "thread_name", "args": {"name": queue_name}})
    start, end = nanoseconds(timeline)
    for row in rows.tolist():
        events.append(
            {
                "ph": "X",
                "pid": 1,
                "tid": int(table.queue[row]),
                "name": row_name(timeline, row),
                "cat": table.phase_names[table.phase[row]],
                "ts": start[row] / 1e3,
                "dur": (end[row] - start[row]) / 1e3,
            }
        )
    for flow, earlier, later in _edges(timeline, rows):
        for kind, row, moment in (("s", earlier, start[earlier]), ("f", later, start[later])):
            tid = int(table.queue[row])
            events.append(
                {
                    "ph": kind,
                    "pid": 1,
                    "tid": tid,
                    "id": flow,
                    "name": "after",
                    "cat": "after",
                    "bp": "e",
                    "ts": moment / 1e3,
                }
            )
    for moment, level in zip(*(column.tolist() for column in busy_queues(timeline, rows)), strict=True):
        events.append({"ph": "C", "pid": 1, "name": "busy queues", "ts": moment / 1e3, "args": {"queues": level}})
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}).encode()
