"""Fields of a Hugging Face config.json: which spellings mean the same, which change no layer, and what each kind of model implies."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..errors import InputError, did_you_mean

# one meaning, in the spellings of the makers; the first that holds a value counts
SPELLINGS: dict[str, tuple[str, ...]] = {
    "hidden": ("hidden_size", "n_embd", "d_model", "dim", "n_embed"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "head_dim": ("head_dim", "d_kv"),
    "width": ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "hidden_dim", "ffn_hidden_size"),
    "vocab": ("vocab_size",),
    "positions": (
        "max_position_embeddings",
        "n_positions",
        "max_seq_len",
        "max_sequence_length",
        "seq_length",
        "n_ctx",
    ),
    "dtype": ("dtype", "torch_dtype"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts"),
    "topk": ("num_experts_per_tok", "experts_per_token", "num_experts_per_token"),
    "expert_width": ("moe_intermediate_size",),
    "shared_width": ("shared_expert_intermediate_size", "shared_intermediate_size"),
    "mtp": ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules"),
    "embedding_width": ("embedding_size", "word_embed_proj_dim"),
}

# what trains, seeds, names or scales, but adds no layer, no product and no stored byte that is modelled
_CHANGES_NO_LAYER = re.compile(
    r"_.*|architectures|auto_map|model_type|transformers_version|.*dropout.*|.*_pdrop|.*token_ids?|.*_token_index"
    r"|initializer_.*|init_.*|.*_init_.*|.*_eps|.*epsilon|rope_.*|rotary.*|partial_rotary_factor|original_max_position.*"
    r"|initial_context_length|.*aux_loss.*|router_.*|output_router_logits|norm_topk_prob|n_group|topk_group|topk_method"
    r"|scoring_func|routed_scaling_factor|seq_aux|use_routing_bias|use_cache|pretraining_tp|ep_size|hidden_act"
    r"|hidden_activation|activation_function|activation|swiglu_limit|dense_act_fn|.*softcapping|query_pre_attn_scalar"
    r"|use_qk_norm|qk_norm_type|qk_layernorm|alibi|position_embedding_type|type_vocab_size|gradient_checkpointing"
    r"|scale_attn.*|reorder_and_upcast_attn|summary_.*|apply_residual_connection_post_layernorm|slow_but_exact"
    r"|masked_softmax_fusion|attention_softmax_in_fp32|skip_bias_add.*|bias_dropout_fusion|relative_attention_.*"
    r"|offset_alibi|do_layer_norm_before|layer_norm_elementwise_affine|tokenizer_.*|logit_scale|norm_type|verbose"
    r"|embedding_fraction|(attention|residual|embedding|logits)_(multiplier|scaling)|indexer_.*|mamba_ssm_dtype"
    r"|vision_.*|image_.*|video_.*|audio_.*|mm_.*|media_.*|.*_placeholder|use_unified_vision_chunk|ignore_index"
    r"|bad_words_ids|begin_suppress_tokens|suppress_tokens|chunk_size_feed_forward|diversity_penalty|do_sample"
    r"|early_stopping|.*_diversity_penalty|exponential_decay_.*|finetuning_task|(id2label|label2id)|length_penalty"
    r"|(min|max)_length|no_repeat_ngram_size|num_beams|num_beam_groups|num_return_sequences|output_(attentions|scores)"
    r"|output_(hidden_states|past)|prefix|problem_type|pruned_heads|remove_invalid_values|repetition_penalty"
    r"|return_dict.*|task_specific_params|temperature|tf_legacy_loss|tie_encoder_decoder|top_[kp]|torchscript|typical_p"
    r"|use_bfloat16|encoder_no_repeat_.*|cross_attention_hidden_size|sinusoidal_.*|cache_implementation|down_scale_factor|unsloth_.*|(use_)?flash_attn.*|attn_implementation"
    r"|mtp_use_dedicated_embeddings|attn_logit_.*|max_window_layers|max_position_.*|hidden_size_per_layer_input"
    r"|inner_group_num|num_hidden_groups|embed_pdrop|directionality|pooler_.*|tie_weights_?|unk_.*|n_special|predict_.*"
    r"|embedding_dropout|use_mtp|name_or_path|clip_qkv"
)


class Style(NamedTuple):
    """What a model_type implies without saying so in its config. `width`: of the feed-forward part, in hidden sizes."""

    gated: bool = True
    bias: bool = False
    ffn_bias: bool = False
    tied: bool = False
    learned: bool = False
    parallel: bool = False
    encoder: bool = False
    norms: int = 2
    gate: bool = False
    width: int = 0
    expert_width: bool = False  # `intermediate_size` is an expert's
    period: int = 0  # every so many-th layer attends in full where no layer_types say so


_PLAIN = Style(gated=False, bias=True, ffn_bias=True)
_BERT = _PLAIN._replace(tied=True, learned=True, encoder=True)
_HYBRID = Style(gate=True, period=4)
_LLAMA_LIKE = (
    "llama mistral qwen3 qwen3_moe deepseek_v2 deepseek_v3 deepseek_v32 kimi_k2 kimi_k25 glm4_moe glm_moe_dsa"
    " phi3 olmo2 granite"
)
STYLES: dict[str, Style] = {
    **dict.fromkeys(_LLAMA_LIKE.split(), Style()),
    **dict.fromkeys(("mixtral", "minimax_m2"), Style(expert_width=True)),
    **dict.fromkeys(("qwen2", "qwen2_moe"), Style(bias=True)),
    **dict.fromkeys(
        ("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"),
        _HYBRID,
    ),
    "gpt_oss": Style(bias=True, ffn_bias=True, expert_width=True, period=2),
    "gemma": Style(tied=True),
    "gemma2": Style(tied=True, norms=4, period=2),
    "gemma3_text": Style(tied=True, norms=4, period=6),
    "starcoder2": _PLAIN._replace(tied=True),
    "nemotron": Style(gated=False),
    "gpt2": _PLAIN._replace(tied=True, learned=True, width=4),
    "gptj": _PLAIN._replace(bias=False, parallel=True, norms=1, width=4),
    "gpt_neox": _PLAIN._replace(parallel=True),
    "opt": _PLAIN._replace(tied=True, learned=True),
    "bloom": _PLAIN._replace(tied=True, width=4),
    "mpt": _PLAIN._replace(tied=True, width=4),
    "falcon": Style(gated=False, tied=True, parallel=True, norms=1, width=4),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "distilbert", "albert"), _BERT),
    "t5": Style(gated=False, tied=True, norms=2),
}


class Fields:
    """The fields of one config: reads them by meaning, remembers which were used, and places errors."""

    def __init__(self, data: dict[str, Any], text: str, name: str) -> None:
        self.data, self.text, self.name = data, text, name
        self.used: set[str] = set()

    def place(self, key: str) -> str:
        """`file:line: key` of a field."""
        found = re.search(rf'"{re.escape(key)}"\s*:', self.text)
        line = f":{self.text.count(chr(10), 0, found.start()) + 1}" if found else ""
        return f"{self.name}{line}: {key}"

    def error(self, key: str, remedy: str) -> InputError:
        """The error about a field's value."""
        return InputError(f"{self.place(key)} = {self.data.get(key)!r} {remedy}")

    def get(self, key: str, default: Any = None) -> Any:
        """The raw value of one spelling; null counts as absent."""
        self.used.add(key)
        value = self.data.get(key)
        return default if value is None else value

    def key(self, meaning: str) -> str:
        """The spelling of a meaning that this config uses; two that disagree are an error."""
        spelt = SPELLINGS.get(meaning, (meaning,))
        self.used.update(spelt)
        here = [key for key in spelt if self.data.get(key) is not None]
        for other in here[1:]:
            if self.data[other] != self.data[here[0]] and (meaning, other) not in _MAY_DIFFER:
                raise self.error(other, f"contradicts {here[0]} = {self.data[here[0]]!r}. Keep one of the two.")
        return here[0] if here else spelt[0]

    def count(self, meaning: str, default: int | None = None, least: int = 1) -> int:
        """A whole number of at least `least`. Raises InputError where it is missing without default or malformed."""
        key = self.key(meaning)
        value = self.get(key, default)
        if value is None:
            raise InputError(f"{self.name}: {key} is missing. Add it.")
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**12:
            raise self.error(key, f"must be a whole number of at least {least}. Mend it.")
        return value

    def maybe(self, meaning: str) -> int | None:
        """A whole number, or None where the field is absent, null or zero."""
        return self.count(meaning, 0, least=0) or None

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false. Mend it.")
        return value

    def check_rest(self) -> None:
        """Raise InputError for a field that is neither used nor known to change no layer; a switched-off one is let be."""
        for key, value in self.data.items():
            if key not in self.used and value and not _CHANGES_NO_LAYER.fullmatch(key):
                raise self.error(
                    key, "is not modelled. Remove the field if it changes no layer, else write the model as YAML."
                )

    def style(self) -> tuple[str, Style]:
        """The model_type and what it implies. Raises InputError for one that is not known."""
        kind = self.data.get("model_type")
        if not isinstance(kind, str) or not kind:
            raise InputError(f"{self.name}: model_type is missing. Add it; known are {', '.join(sorted(STYLES))}.")
        if kind not in STYLES:
            hint = did_you_mean(kind, STYLES) or f"Known: {', '.join(sorted(STYLES))}."
            foreign = [
                key for key, value in self.data.items() if value and _STATE_SPACE.search(key) and key not in _HARMLESS
            ]
            told = f" (it has {', '.join(f'{key} = {self.data[key]!r}' for key in foreign[:3])})" if foreign else ""
            raise self.error("model_type", f"is not modelled{told}. {hint} Or write the model as YAML.")
        return kind, STYLES[kind]


# n_ctx is the old name of n_positions; embedding and hidden sizes may stand beside each other in ALBERT
_MAY_DIFFER = {("positions", "n_ctx"), ("positions", "seq_length"), ("hidden", "n_embed"), ("width", "hidden_dim")}
_STATE_SPACE = re.compile(r"mamba|ssm|rwkv|state_size|conv_kernel|d_conv|time_step|attn_layer|hybrid|block_types|wkv")
_HARMLESS = {"mamba_ssm_dtype"}
