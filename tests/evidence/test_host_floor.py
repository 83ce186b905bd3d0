"""Kernels that the host launches one by one take no less than it needs from one call to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.catalog.library import default_library
from sim.evidence import collective_rows
from sim.evidence.context import Context
from sim.evidence.kernel_rows import predict
from sim.evidence.predictions import silent
from sim.evidence.tables import find_tables

HEADER = "device,dtype,m,n,k,time_us,stack,stack_version,kernel"
KERNEL = "DeepGemmFp8BlockScaledMMKernel"


def predicted_us(folder: Path, rows: list[str]) -> list[float]:
    path = folder / "gemm.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    found = predict(find_tables(path, "kernels")[0], Context(default_library()), silent)
    assert found.reason == ("",) * len(rows)
    return [float(value) for value in found.values["time_us"]]


def test_products_of_blocks_called_by_the_host_take_its_time_by_their_kernel(tmp_path: Path) -> None:
    shapes = ("16,128,128", "64,128,128", "64,96,128", "64,128,192")
    times = predicted_us(tmp_path, [f"h100-sxm,fp8_block,{shape},1,vllm,0.24.0,{KERNEL}" for shape in shapes])
    assert times == pytest.approx([60, 92, 177, 177])


def test_a_long_product_takes_its_own_time_and_one_in_a_graph_no_floor(tmp_path: Path) -> None:
    shape = "16384,16384,16384"
    called, replayed = f"vllm,0.24.0,{KERNEL}", "vllm,0.24.0,"
    rows = [f"h100-sxm,fp8_block,{size},1,{how}" for size in (shape, "64,128,128") for how in (called, replayed)]
    long, long_replayed, short, short_replayed = predicted_us(tmp_path, rows)
    assert long == long_replayed > 1000
    assert short_replayed < 20 < short


def test_a_run_on_one_node_that_says_nothing_is_one_process_and_one_over_several_is_not(tmp_path: Path) -> None:
    def time_us(nodes: int, library: str, notes: str, size: int = 1024) -> float:
        path = tmp_path / "collectives.csv"
        header = "id,system,device,num_devices,nodes,op,bytes,time_us,busbw_gb_s,library,notes"
        path.write_text(f"{header}\na,mine,h100-sxm,{8 * nodes},{nodes},all_reduce,{size},1,,{library},{notes}\n")
        table = find_tables(path, "collectives")[0]
        return float(collective_rows.predict(table.configuration(), Context(), silent).values["time_us"][0])

    said_nothing, own = time_us(1, "NCCL 2.27", ""), time_us(1, "NCCL 2.27", "one process a GPU")
    assert said_nothing == pytest.approx(40.0) == time_us(1, "NCCL", "-g 8")
    assert own < 25.0
    assert own == time_us(1, "NCCL", "mpirun -np 8") == time_us(1, "NCCL", "-b 8 -g 1")
    assert time_us(1, "JAX/XLA", "") < 25.0
    assert time_us(2, "NCCL", "") == time_us(2, "NCCL", "mpirun") < time_us(2, "NCCL", "one process launches") + 1e-9
    assert time_us(1, "NCCL", "", 1 << 30) == time_us(1, "NCCL", "mpirun", 1 << 30)
