"""How a training campaign is run: what fails, what is saved and when, who restarts it. Flags of `train` derive from here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .records import Count, CountOrZero, Flag, NotNegative, Positive, Record, Text


class Campaign(Record):
    """Options of a run over weeks. Nothing fails unless `faults` is on."""

    faults: Flag = Field(False, description="let the token budget meet failures, checkpoints and restarts")
    seeds: Count = Field(20, le=10_000, description="campaigns drawn; figures are percentiles over them")
    mtbf_s: Positive | None = Field(
        None, description="time between interruptions of the whole job; null: the cluster's rates by component"
    )
    sacct: Text | None = Field(None, description="file of `sacct -P` that the rates come from")
    checkpoint_interval_s: Positive | Literal["auto"] = Field(
        "auto", description="training between checkpoints; auto is Young's optimum"
    )
    checkpoint_mode: Literal["async", "sync"] = Field(
        "async", description="async: training stops for the copy to the host alone; sync: until storage has it"
    )
    checkpoint_bytes: Positive | None = Field(None, description="of one checkpoint; null: 14 bytes a parameter")
    storage_bytes_per_s: Positive | None = Field(
        None, description="of the whole storage; null: 0.15 GB/s a chip, as BLOOM had (2.3 TB in 40 s from 384)"
    )
    restart: Literal["auto", "manual"] = Field("auto", description="who restarts the job")
    restart_delay_s: NotNegative | None = Field(
        None, description="until the job is launched again; null: 11 minutes (auto), 3.1 hours (manual)"
    )
    compile_s: NotNegative = Field(0.0, description="compilation and warm-up after each launch")
    detect_s: NotNegative = Field(0.0, description="until a crash is noticed, beyond what the restart counts")
    watchdog_s: NotNegative = Field(600.0, description="until the watchdog finds a hang (PyTorch's limit for NCCL)")
    silent_delay_s: NotNegative = Field(3600.0, description="until silent corruption is noticed (assumed)")
    slow_mtbf_s: Positive | None = Field(
        None, description="of one chip until it turns slow; null: the cluster's, which is never where it states none"
    )
    slow_factor: float = Field(
        1.2, ge=1, allow_inf_nan=False, description="a step lasts so many times as long with a slow chip"
    )
    slow_delay_s: NotNegative = Field(21600.0, description="until a slow chip is found and its node swapped (assumed)")
    domain_mtbf_s: Positive | None = Field(
        None, description="of one fault domain of the cluster (a rack, a pod) as a whole"
    )
    spares: CountOrZero | None = Field(None, description="spare nodes at hand; null: as many as are asked for")
    repair_s: NotNegative = Field(86400.0, description="until a failed node is back (assumed)")
    elastic: Flag = Field(False, description="without a spare, go on with fewer data-parallel ranks")
    preempt_mtbf_s: Positive | None = Field(None, description="of one spot node until it is taken; null: never")
    preempt_notice_s: NotNegative = Field(120.0, description="warning before a spot node is taken (AWS: two minutes)")
    preempt_back_s: NotNegative = Field(3600.0, description="until a taken spot node is replaced (assumed)")
    evaluation_every_s: Positive | None = Field(None, description="training between evaluations; null: none")
    evaluation_s: NotNegative = Field(0.0, description="pause of one evaluation")
