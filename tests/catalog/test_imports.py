"""Arguments of Megatron-LM in every form that users have: what is read, what is assumed, what is refused; and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.catalog.imported import Imported, defined_model, with_rest
from sim.catalog.imports import csv_of, kind_of, read_run, run_of
from sim.catalog.library import default_library
from sim.catalog.models import Dense, LatentAttention, Moe
from sim.catalog.plans import Dtypes, Plan
from sim.errors import InputError
from sim.report.launch import launch

SAMPLES = Path(__file__).parent / "samples" / "runs"
LIBRARY = default_library()
SMALL = "--num-layers 8 --hidden-size 1024 --num-attention-heads 16 --seq-length 2048 --bf16"


def read(text: str) -> Imported:
    return run_of(text, "run.sh", LIBRARY, "megatron")


def notes(run: Imported, part: str) -> dict[str, str]:
    return {note.name: note.value for note in getattr(run, part)}


def test_a_script_with_variables_sums_and_comments():
    run = read_run(SAMPLES / "launch_golden.sh", LIBRARY)
    assert (run.kind, run.model.id, run.seq_len, run.devices) == ("megatron", "llama-3.1-70b", 4096, 512)
    assert run.plan == Plan(
        tp=8,
        pp=4,
        dp=16,
        virtual_stages=4,
        micro_batch=1,
        global_batch=16 * 32,
        recompute="full",
        recompute_layers=2 / 5,
        dtypes=Dtypes(weights="fp8"),
    )
    assert run.step_time_s is None
    assert notes(run, "assumed")["$MICRO"] == "1"
    assert notes(run, "ignored")["data_path"] == "0.5 first 0.5 second"


def test_a_log_gives_plan_and_the_median_step_after_warm_up():
    run = read_run(SAMPLES / "megatron_golden.log", LIBRARY)
    assert run.plan == Plan(tp=4, pp=2, dp=2, global_batch=128, recompute="none", dtypes=Dtypes(weights="bf16"))
    assert (run.model.id, run.devices, run.precision) == ("llama-3.1-8b", 16, "bf16")
    assert run.step_time_s == pytest.approx(8.012)  # of 8.012, 8.050 and 8.001; 21.0 is warm-up
    assert run.tflops_per_device == pytest.approx(430.1)


def test_keys_of_nemo_mean_the_same():
    run = read_run(SAMPLES / "nemo_golden.yaml", LIBRARY)
    assert run.plan == Plan(
        tp=4, pp=2, dp=4, global_batch=128, recompute="selective", overlap=False, dtypes=Dtypes(weights="bf16")
    )
    assert (run.model.id, run.seq_len, run.devices) == ("llama-3.1-8b", 8192, 32)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("launch_broken.sh", r"launch_broken.sh:13: num_query_groups = '\$GROUPS_OF_KEYS'.*write the number"),
        ("megatron_broken.log", r"megatron_broken.log:40: elapsed time per iteration \(ms\) = 'fast'.*Mend"),
        ("nemo_broken.yaml", r"nemo_broken.yaml:22: activations_checkpoint_granularity = 'some'.*full or selective"),
        ("mllog_broken.txt", r"mllog_broken.txt:21: .*is no JSON object.*Mend the line"),
    ],
)
def test_a_broken_file_is_refused_with_place_value_and_remedy(sample, message):
    with pytest.raises(InputError, match=message):
        read_run(SAMPLES / sample, LIBRARY)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--tensor-model-parallel-size 0", "run.sh:1: tensor_model_parallel_size = '0'. Write a whole number above 0"),
        (
            "--num-query-groups 3 --group-query-attention",
            "num_query_groups = 3 does not divide num_attention_heads = 16",
        ),
        ("--num-experts 8 --moe-router-topk 9", "moe_router_topk = 9 is more than the 8 experts"),
        ("--num-experts 8 --moe-layer-freq [0,1]", "moe_layer_freq = .* each of the 8 layers"),
        ("--hybrid-override-pattern M-M*", "layers of a hybrid model is not modelled"),
        ("--pipeline-model-parallel-size 3 --num-layers-per-virtual-pipeline-stage 1", "do not make 8 layers"),
        ("--tensor-model-parallel-size 8 --nnodes 1 --nproc-per-node 4", "does not divide 4 ranks"),
        ("--use-megatron-fsdp --data-parallel-sharding-strategy some", "data_parallel_sharding_strategy = 'some'"),
        ("--kv-channels many", "kv_channels = 'many'"),
    ],
)
def test_what_is_illegal_is_refused(more, message):
    with pytest.raises(InputError, match=message):
        read(f"{SMALL} {more}")


def test_a_size_that_is_missing_is_named():
    with pytest.raises(InputError, match=r"num_layers is missing. Add --num-layers"):
        read("--hidden-size 1024 --num-attention-heads 16 --seq-length 2048")


def test_defaults_of_megatron_are_taken_and_listed():
    run = read(SMALL + " --num-experts 8 --tensor-model-parallel-size 2 --expert-model-parallel-size 4 --swiglu")
    assert run.plan.expert_tp == 2  # an expert is split as everything else unless told otherwise
    assert run.plan.sharding == "none" and run.plan.recompute == "none" and not run.plan.overlap
    (block,) = run.model.blocks
    assert isinstance(block.ffn, Moe) and block.ffn.topk == 2
    assert block.ffn.width == 2688  # two thirds of 4 x 1024, a multiple of 64
    assumed = notes(run, "assumed")
    assert {"moe_router_topk", "ffn_hidden_size", "expert_tensor_parallel_size", "vocab_size"} <= set(assumed)
    assert run.devices is None and run.plan.dp is None


def test_every_argument_is_understood_or_ignored_by_name():
    text = SMALL + " --lr 1e-4 --tp-comm-overlap --unheard-of 7"
    run = read(text)
    listed = set(notes(run, "understood")) | set(notes(run, "ignored"))
    assert listed == {word[2:].replace("-", "_") for word in text.split() if word.startswith("--")}
    assert {note.name: note.meaning for note in run.ignored}["tp_comm_overlap"].startswith("moves a step's time")


def test_an_argument_given_twice_counts_as_argparse_counts_it():
    run = read(f"{SMALL} --tensor-model-parallel-size 2 \\\n --tensor-model-parallel-size 4")
    assert run.plan.tp == 4
    assert any("stands twice; line 2 counts" in note.meaning for note in run.assumed)


def test_what_only_the_launcher_knows_is_listed_and_not_guessed():
    run = read("torchrun --nnodes $NNODES --nproc-per-node 8 train.py " + SMALL)
    assert run.devices is None
    assert notes(run, "assumed")["nnodes"] == "$NNODES"
    assert run.on(32).plan.dp == 32
    with pytest.raises(InputError, match=r"--devices = 8: .* says 16"):
        read("torchrun --nnodes 2 --nproc-per-node 8 train.py " + SMALL).on(8)


def test_ranks_that_print_different_arguments_are_two_runs():
    block = "  num_layers ..... 8\n  hidden_size ..... 1024\n"
    with pytest.raises(InputError, match=r"run.sh:4: num_layers = '9', but '8' in line 1: two runs"):
        read(block + "other\n  num_layers ..... 9\n")


def log(*lines: str) -> str:
    return SMALL + " --global-batch-size 64\n" + "\n".join(lines)


def line(iteration: int, milliseconds: object, batch: int = 64) -> str:
    return f" iteration {iteration:8d}/ 100 | elapsed time per iteration (ms): {milliseconds} | global batch size: {batch} |"


def test_iterations_of_another_batch_count_not_and_repeated_ones_once():
    ramp = [line(1, 9000.0, 16), line(2, 9000.0, 32)]
    run = read(log(*ramp, line(3, 5000.0), line(4, 1000.0), line(4, 2000.0), line(5, 2000.0)))
    assert run.step_time_s == pytest.approx(2.0)
    assert "2 of another batch size left out" in run.measured_as
    with pytest.raises(InputError, match="no iteration has the global batch of 64"):
        read(log(*ramp))


def test_a_last_line_that_was_cut_off_is_left_out_and_said():
    run = read(log(line(1, 5000.0), line(2, 1000.0), " iteration 3/ 100 | elapsed time per iteration (ms): 10"))
    assert run.step_time_s == pytest.approx(1.0)
    assert "cut off" in run.measured_as


def test_a_model_that_the_catalogue_lacks_is_written_out_in_its_row():
    run = read(SMALL + " --vocab-size 32000 --multi-latent-attention --kv-lora-rank 128")
    assert not run.known
    mixer, ffn = run.model.blocks[0].mixer, run.model.blocks[0].ffn
    assert isinstance(mixer, LatentAttention) and mixer.kv_rank == 128
    assert isinstance(ffn, Dense) and not ffn.gated and ffn.bias
    cells = run.cells()
    assert defined_model(cells["model_definition"], "here") == run.model
    assert csv_of([run]).splitlines()[0].split(",") == list(cells)


def test_what_a_table_has_no_column_for_comes_back():
    run = read(SMALL + " --fp8-format hybrid --grad-reduce-in-bf16 --optimizer-cpu-offload")
    plan = with_rest(Plan(dtypes=Dtypes(weights="fp8")), run.cells()["plan_rest"], "here")
    assert (plan.offload, plan.overlap, plan.dtypes) == ("optimizer", False, Dtypes(weights="fp8", gradients="bf16"))
    with pytest.raises(InputError, match=r"here: plan_rest = .* Mend it"):
        with_rest(plan, '{"tp": "four"}', "here")
    with pytest.raises(InputError, match="here: model_definition holds no model"):
        defined_model("{}", "here")


@st.composite
def plans(draw: st.DrawFn, layers: int, experts: int) -> Plan:
    """Plans that Megatron-LM has arguments for."""
    tp, pp, dp, cp = (draw(st.sampled_from(choices)) for choices in ((1, 2, 4, 8), (1, 2, 4), (1, 2, 6, 16), (1, 2)))
    chunks = draw(st.sampled_from((1, 2))) if pp > 1 else 1
    micro, passes = draw(st.sampled_from((1, 2, 4))), pp * draw(st.sampled_from((1, 8)))
    recompute = draw(st.sampled_from(("none", "selective", "full")))
    held = layers // (pp * chunks)
    ep = (
        draw(st.sampled_from([n for n in (1, 2, 4, 8) if experts % n == 0 and (dp * cp * tp) % n == 0]))
        if experts
        else 1
    )
    sharding = draw(st.sampled_from(("none", "zero1", "zero2", "zero3")))
    instances = draw(st.sampled_from([n for n in (1, 2, 4) if (dp * cp) % n == 0])) if sharding != "none" else 1
    usual = 1 if ep > 1 else tp
    splits = [n for n in (1, 2, 4) if (dp * cp * tp) % (ep * n) == 0 and n != usual] if experts else []
    values: dict[str, Any] = {
        **dict(zip(("tp", "pp", "dp", "cp", "ep"), (tp, pp, dp, cp, ep), strict=True)),
        "virtual_stages": chunks,
        "micro_batch": micro,
        "expert_tp": draw(st.sampled_from([None, *splits])),
        "global_batch": micro * dp * passes,
        "sharding": sharding,
        "shard_degree": dp * cp // instances if instances > 1 else None,
        "recompute": recompute,
        "recompute_layers": draw(st.integers(1, held)) / held if recompute == "full" else 1.0,
        "sequence_parallel": tp == 1 or draw(st.booleans()),
        "offload": draw(st.sampled_from(("none", "optimizer"))),
        "overlap": draw(st.booleans()),
        "flash_attention": draw(st.booleans()),
        "optimizer": draw(st.sampled_from(("adam", "sgd"))),
    }
    weights, gradients = (
        draw(st.sampled_from(("bf16", "fp16", "fp8", "fp4", "fp32"))),
        draw(st.sampled_from(("fp32", "bf16"))),
    )
    return Plan(**values, dtypes=Dtypes(weights=weights, gradients=gradients))


@pytest.mark.parametrize("name", ["llama-3.1-70b", "mixtral-8x7b"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_search_emits_for_megatron_comes_back_as_the_same_plan(name, data):
    model = LIBRARY.model(name)
    experts = next((b.ffn.experts for b in model.blocks if isinstance(b.ffn, Moe)), 0)
    plan = data.draw(plans(model.layers, experts))
    run = read(launch("megatron", model, plan, 4096))
    assert run.plan == plan
    assert (run.model.id, run.seq_len) == (name, 4096)
    assert run.devices == plan.tp * plan.pp * (plan.dp or 1) * plan.cp


@pytest.mark.parametrize("name", ["gpt-3-175b", "deepseek-v3", "qwen3-235b-a22b", "qwen2.5-7b", "nemotron-4-340b"])
def test_the_emitted_network_is_the_models(name):
    model = LIBRARY.model(name)
    run = read(launch("megatron", model, Plan(dp=1, global_batch=1, recompute="none"), 4096))
    assert run.known and run.model.layers == model.layers
    assert [(b.layers, b.mixer, b.ffn) for b in run.model.blocks] == [(b.layers, b.mixer, b.ffn) for b in model.blocks]


WORDS = st.sampled_from(
    (
        *(
            "--num-layers",
            "--hidden-size",
            "--num-attention-heads",
            "--seq-length",
            "--num-experts",
            "--moe-layer-freq",
        ),
        *("--swiglu", "--multi-latent-attention", "--num-layers-per-virtual-pipeline-stage", "--recompute-granularity"),
        *(
            "8",
            "1024",
            "16",
            "0",
            "-1",
            "$X",
            "X=3",
            "$((X*2))",
            "(([1]*8",
            "full",
            '"',
            "\\\n",
            "#",
            "1e9",
            "nnodes",
            "=",
        ),
    )
)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=20), st.booleans())
def test_any_text_is_read_or_refused_in_one_line(words, whole):
    text = (SMALL + " " if whole else "--hidden-size ") + " ".join(words)
    try:
        assert read(text).model.layers >= 1
    except InputError as error:
        assert "\n" not in str(error)


def test_files_are_told_apart_by_what_is_in_them():
    kinds = {path.name: kind_of(path.read_text(encoding="utf-8")) for path in sorted(SAMPLES.iterdir())}
    assert all(kind == ("mllog" if name.startswith("mllog") else "megatron") for name, kind in kinds.items())
    assert kind_of("model,layers\nx,3\n") is None
