"""Values of Megatron-LM arguments by name, and what became of each."""

from __future__ import annotations

from ..errors import InputError
from .imported import Note, Said
from .megatron_text import Words

SLOWS = frozenset(  # arguments that move a step's time and have no field in a plan
    (
        *("tp_comm_overlap", "moe_token_dispatcher_type", "moe_grouped_gemm", "moe_expert_capacity_factor"),
        *("moe_shared_expert_overlap", "overlap_moe_expert_parallel_comm", "delay_wgrad_compute", "enable_cuda_graph"),
        *("cuda_graph_impl", "fp8_recipe", "fp8_param_gather", "cp_comm_type", "cross_entropy_loss_fusion"),
        *("decoder_first_pipeline_num_layers", "decoder_last_pipeline_num_layers", "pipeline_model_parallel_layout"),
        *("account_for_embedding_in_pipeline_split", "account_for_loss_in_pipeline_split", "recompute_modules"),
        *("hidden_dropout", "attention_dropout", "overlap_p2p_comm", "use_torch_fsdp2", "rampup_batch_size"),
    )
)
_WORDS_FOR = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


class Arguments:
    """Reads values by name, and remembers what became of each."""

    def __init__(self, words: Words, name: str) -> None:
        self.values, self.full, self.name = words.values, words.full, name
        self.understood: dict[str, Note] = {}
        self.assumed: list[Note] = list(words.assumed)

    def _find(self, names: tuple[str, ...]) -> tuple[str, Said] | None:
        return next(((name, self.values[name]) for name in names if name in self.values), None)

    def place(self, name: str) -> str:
        return f"{self.name}:{self.values[name].line}"

    def text(self, becomes: str, *names: str) -> str | None:
        """The value of the first of these names that the file has, None if it has none."""
        found = self._find(names)
        if found is None:
            return None
        for name in names:
            if name in self.values:
                self.understood[name] = Note(name, self.values[name].text, becomes)
        value = found[1].text
        return value if value.startswith(("$((", "(", "[")) else value.split(" ")[0].strip("\"'")

    def count(self, becomes: str, *names: str) -> int | None:
        """A whole number of at least 1. Raises InputError, naming file, line, name and value, for anything else."""
        value = self.text(becomes, *names)
        if value is None:
            return None
        if not value.isdecimal() or len(value) > 12 or int(value) < 1:
            name = next(each for each in names if each in self.values)
            remedy = "The file does not set it; write the number." if "$" in value else "Write a whole number above 0."
            raise InputError(f"{self.place(name)}: {name} = {value!r}. {remedy}")
        return int(value)

    def assumed_count(self, becomes: str, default: int, why: str, *names: str) -> int:
        """`count`, or a default that is listed as assumed."""
        value = self.count(becomes, *names)
        if value is None:
            self.assume(names[0], str(default), why)
            return default
        return value

    def flag(self, becomes: str, *names: str) -> bool:
        """A switch; one that is given without a value is on."""
        value = self.text(becomes, *names)
        return False if value is None else _WORDS_FOR.get(value.lower(), True)

    def assume(self, name: str, value: str, why: str) -> None:
        self.assumed.append(Note(name, value, why))

    def rest(self) -> tuple[Note, ...]:
        """What nothing was made of, in the order of the file."""
        return tuple(
            Note(name, said.text, "moves a step's time, but is not modelled" if name in SLOWS else "not used")
            for name, said in self.values.items()
            if name not in self.understood
        )
