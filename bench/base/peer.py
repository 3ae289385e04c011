"""Makes models of random weights with transformers, and reads a real one; leaves beside
each the logits of some prompts. Called by run; see README.md."""

import json
import pathlib
import shutil
import sys

import numpy
import torch
from transformers import AutoModelForCausalLM, DeepseekV3Config, LlamaConfig, Qwen2Config, Qwen3Config

PROMPTS, LENGTH = 64, 24
# Every base has a tokenizer; here one that is not used.
TOKENIZER = pathlib.Path(__file__).resolve().parents[2] / "student/tokenizer/testdata/tokenizer.json"

SMALL = dict(vocab_size=368, eos_token_id=1, hidden_size=96, intermediate_size=160, num_hidden_layers=3, max_position_embeddings=256, rms_norm_eps=1e-5)
RANDOM = {
    "llama": LlamaConfig(**SMALL, num_attention_heads=6, num_key_value_heads=2, rope_theta=500.0),
    "llama-3.1": LlamaConfig(
        **SMALL, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
        rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64),
    ),
    "llama-tied": LlamaConfig(**SMALL, num_attention_heads=4, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**SMALL, num_attention_heads=6, num_key_value_heads=3, rope_theta=1e6),
    "deepseek-v3": DeepseekV3Config(
        **SMALL, num_attention_heads=3, num_key_value_heads=3, q_lora_rank=24, kv_lora_rank=20, qk_nope_head_dim=10, qk_rope_head_dim=6, v_head_dim=12,
        n_routed_experts=6, n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=40, first_k_dense_replace=1, routed_scaling_factor=1.5,
        n_group=1, topk_group=1,
    ),
    "qwen3": Qwen3Config(**SMALL, num_attention_heads=5, num_key_value_heads=1, head_dim=32, tie_word_embeddings=True),
}


def judge(model, folder, name, path):
    rng = numpy.random.default_rng(3)
    tokens = rng.integers(0, model.config.vocab_size, size=(PROMPTS, LENGTH))
    with torch.no_grad():
        logits = model(torch.tensor(tokens)).logits.float().numpy()
    (folder / f"{name}.logits").write_bytes(logits.astype("<f4").tobytes())
    (folder / f"{name}.json").write_text(json.dumps({"path": str(path), "tokens": tokens.tolist(), "vocab": logits.shape[-1]}))


def main():
    folder, real = pathlib.Path(sys.argv[1]), sys.argv[2:]
    for name, config in RANDOM.items():
        torch.manual_seed(5)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for key, p in model.named_parameters():
                if "norm" in key:
                    p.add_(0.3 * torch.randn_like(p))
                else:
                    p.copy_(torch.randn_like(p) * (0.1 if "bias" in key else 1.5 / p.shape[-1] ** 0.5))
        path = folder / "models" / name
        # One of them in many files.
        model.save_pretrained(path, max_shard_size="100KB" if name == "llama" else "1GB")
        shutil.copy(TOKENIZER, path)
        judge(model.eval(), folder, name, path)
    for file in map(pathlib.Path, real):
        model = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
        judge(model.eval(), folder, file.stem, file)


main()
