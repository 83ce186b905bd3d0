"""A step's graph as Chakra execution traces: a file a rank, messages with their length before them, and the ranks of each group.

Fields and numbers: mlcommons/chakra schema/protobuf/et_def.proto; names and types of attributes: its feeder (src/feeder_v3) and
ASTRA-sim, which reads `PREFIX.RANK.et` and a JSON of groups (2026).
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, NamedTuple

from ..training.nodes import COMPUTE, RECEIVED, SENT, Node, StepGraph

VERSION = "0.0.4"
COMP_NODE, COMM_SEND_NODE, COMM_RECV_NODE, COMM_COLL_NODE = 4, 5, 6, 7
COLLECTIVES = {"all_reduce": 0, "all_gather": 2, "all_to_all": 6, "reduce_scatter": 7}  # CollectiveCommType
_ATTRIBUTES = {  # name -> field of AttributeProto
    "is_cpu_op": "bool_val",
    "num_ops": "int64_val",
    "tensor_size": "uint64_val",
    "comm_type": "int64_val",
    "comm_size": "int64_val",
    "comm_src": "int32_val",
    "comm_dst": "int32_val",
    "comm_tag": "int32_val",
    "pg_name": "string_val",
}
_MICRO = 1e6


class Messages(NamedTuple):
    """Classes of the messages that are written."""

    metadata: Any
    node: Any


@cache
def messages() -> Messages:
    """The part of et_def.proto that these traces use, as message classes."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    protos: Any = descriptor_pb2
    pools: Any = descriptor_pool
    factory: Any = message_factory
    file = protos.FileDescriptorProto(name="gambrel_et.proto", package="ChakraProtoMsg", syntax="proto3")
    kinds = protos.FieldDescriptorProto
    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED

    def add(name: str, *fields: tuple[int, str, int, int, str]) -> Any:
        message = file.message_type.add(name=name)
        for number, field, label, kind, of in fields:
            message.field.add(name=field, number=number, label=label, type=kind, **({"type_name": of} if of else {}))
        return message

    attribute = ".ChakraProtoMsg.AttributeProto"
    values = ((7, "int32_val", kinds.TYPE_INT32), (9, "int64_val", kinds.TYPE_INT64), (13, "uint64_val", kinds.TYPE_UINT64),
              (27, "bool_val", kinds.TYPE_BOOL), (29, "string_val", kinds.TYPE_STRING))  # fmt: skip
    found = add("AttributeProto", (1, "name", one, kinds.TYPE_STRING, ""))
    found.oneof_decl.add(name="value")
    for number, field, kind in values:
        found.field.add(name=field, number=number, label=one, type=kind, oneof_index=0)
    add("GlobalMetadata", (1, "version", one, kinds.TYPE_STRING, ""), (2, "attr", many, kinds.TYPE_MESSAGE, attribute))
    add(
        "Node",
        (1, "id", one, kinds.TYPE_UINT64, ""),
        (2, "name", one, kinds.TYPE_STRING, ""),
        (3, "type", one, kinds.TYPE_INT32, ""),  # an enum on the wire is an int32
        (4, "ctrl_deps", many, kinds.TYPE_UINT64, ""),
        (5, "data_deps", many, kinds.TYPE_UINT64, ""),
        (6, "start_time_micros", one, kinds.TYPE_UINT64, ""),
        (7, "duration_micros", one, kinds.TYPE_UINT64, ""),
        (10, "attr", many, kinds.TYPE_MESSAGE, attribute),
    )
    pool = pools.DescriptorPool()
    pool.Add(file)
    names = ("ChakraProtoMsg.GlobalMetadata", "ChakraProtoMsg.Node")
    return Messages(*(factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names))


Groups = dict[tuple[int, ...], str]


def groups_of(graph: StepGraph) -> Groups:
    """Every set of ranks that a collective of the step runs over, and the name that nodes call it by."""
    shapes = {(node.ranks, node.stride) for nodes in graph.stages for node in nodes if node.kind in COLLECTIVES}
    found: Groups = {}
    for ranks, stride in sorted(shapes):
        for rank in range(graph.world):
            found.setdefault(graph.group(rank, ranks, stride), str(len(found)))
    return found


def groups_json(groups: Groups) -> str:
    """The groups as ASTRA-sim reads them: name -> ranks."""
    return json.dumps({name: list(ranks) for ranks, name in groups.items()}) + "\n"


def trace_of(graph: StepGraph, rank: int, groups: Groups) -> bytes:
    """The file of one rank. Durations are whole microseconds of a running sum, so that they add up to the stage's time."""
    made = messages()
    out = bytearray(_delimited(made.metadata(version=VERSION)))
    spent_s, told = 0.0, 0
    for number, node in enumerate(graph.stages[graph.stage_of(rank)]):
        message = made.node(id=number, name=node.name, type=_type(node), data_deps=node.after)
        if node.kind == COMPUTE:
            spent_s += node.seconds
            message.duration_micros = round(spent_s * _MICRO) - told
            told = round(spent_s * _MICRO)
        for name, value in _attributes(graph, node, rank, groups):
            attribute = message.attr.add(name=name)
            setattr(attribute, _ATTRIBUTES[name], value)
        out += _delimited(message)
    return bytes(out)


def _type(node: Node) -> int:
    return {COMPUTE: COMP_NODE, SENT: COMM_SEND_NODE, RECEIVED: COMM_RECV_NODE}.get(node.kind, COMM_COLL_NODE)


def _attributes(graph: StepGraph, node: Node, rank: int, groups: Groups) -> list[tuple[str, Any]]:
    size = round(node.size_bytes)
    common = [("is_cpu_op", False)]
    if node.kind == COMPUTE:
        return [*common, ("num_ops", round(node.flops)), ("tensor_size", size)]
    if node.kind in COLLECTIVES:
        group = groups[graph.group(rank, node.ranks, node.stride)]
        return [*common, ("comm_type", COLLECTIVES[node.kind]), ("comm_size", size), ("pg_name", group)]
    other = partner(graph, node, rank)
    ends = (rank, other) if node.kind == SENT else (other, rank)
    tag = ("comm_tag", node.tag)
    return [*common, ("comm_size", size), ("comm_src", ends[0]), ("comm_dst", ends[1]), tag]


def partner(graph: StepGraph, node: Node, rank: int) -> int:
    """The other rank of a send or receive: along the pipeline, or the neighbour in the ring of a group."""
    if node.ring:
        ring = graph.group(rank, node.ranks, node.stride)
        return ring[(ring.index(rank) + (1 if node.kind == SENT else -1)) % len(ring)]
    return rank + node.stride


def _delimited(message: Any) -> bytes:
    content: bytes = message.SerializeToString(deterministic=True)
    return _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
