"""Makes bases with transformers, has them taught and exported by our side, and compares
the exports with what transformers, PEFT, llama.cpp, tokenizers and gguf make of them.
Called by ./run; see README.md."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "parity"))
import parity  # noqa: E402
from parity import check_llama_cpp, check_llama_tokenizer, check_tokenizer, check_transformers, note, ours, read_json  # noqa: E402
from texts import conversations  # noqa: E402
from vectors import rules  # noqa: E402

ROWS = 368  # more than the tokenizer has tokens
SMALL = dict(vocab_size=ROWS, hidden_size=96, intermediate_size=160, num_hidden_layers=3, max_position_embeddings=256, rms_norm_eps=1e-5)

CHATML = """{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
LLAMA3 = """{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>

{{ m.content | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""
# Names of the five added tokens, the template, bos and the ends by name.
QWEN = (["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"], CHATML, None, ["<|im_end|>", "<|endoftext|>"])
LLAMA = (["<|begin_of_text|>", "<|start_header_id|>", "<|eot_id|>", "<|end_header_id|>", "<|eom_id|>"], LLAMA3, "<|begin_of_text|>", ["<|eot_id|>", "<|eom_id|>"])


def configs():
    from transformers import LlamaConfig, Qwen2Config, Qwen3Config

    llama3 = dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
    return {
        "llama": ("smollm", True, QWEN, LlamaConfig(**SMALL, num_attention_heads=6, num_key_value_heads=2, rope_theta=500.0)),
        "llama-3.1": ("llama-bpe", False, LLAMA, LlamaConfig(**SMALL, num_attention_heads=4, num_key_value_heads=2, head_dim=32, rope_parameters=llama3)),
        "qwen2": ("qwen2", False, QWEN, Qwen2Config(**SMALL, num_attention_heads=6, num_key_value_heads=3, rope_theta=1e6)),
        "llama-tied": ("gpt-2", False, QWEN, LlamaConfig(**SMALL, num_attention_heads=4, tie_word_embeddings=True)),
        "qwen2-wide": ("qwen2", False, QWEN, Qwen2Config(**SMALL, num_attention_heads=2, num_key_value_heads=2, head_dim=64, rope_theta=1e6)),
        "qwen3": ("qwen2", False, QWEN, Qwen3Config(**SMALL, num_attention_heads=5, num_key_value_heads=1, head_dim=32, tie_word_embeddings=True)),
    }


def tokenizer(rule, in_front, names, bos):
    """Returns a tokenizer.json that cuts text by a rule, with added tokens of other names,
    before all others on request, as SmolLM2 has them, and as Llama 3's with one that
    begins every text."""
    spec = json.loads(dict(rules())[rule].to_str())
    vocab, added = spec["model"]["vocab"], spec["added_tokens"]
    for t, name in zip(added, names):
        t["content"] = name
        t["special"] |= name.startswith("<|")
    if in_front:
        vocab = {t: i + len(added) for t, i in vocab.items()}
        for i, t in enumerate(added):
            t["id"] = vocab[t["content"]] = i
        spec["model"]["vocab"] = vocab
    if bos:
        token = next(t["id"] for t in added if t["content"] == bos)
        piece = [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
        spec["post_processor"] = {"type": "Sequence", "processors": [spec["post_processor"], {
            "type": "TemplateProcessing", "single": piece, "pair": piece + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {bos: {"id": bos, "ids": [token], "tokens": [bos]}}}]}
    return spec


def make_base(path, rule, in_front, text, config):
    import torch
    from transformers import AutoModelForCausalLM

    names, template, bos, ends = text
    spec = tokenizer(rule, in_front, names, bos)
    ids = {t["content"]: t["id"] for t in spec["added_tokens"]}
    config.eos_token_id, config.bos_token_id = [ids[e] for e in ends], ids.get(bos)
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    known = len(spec["model"]["vocab"]) + (0 if in_front else len(ids))
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "norm" in key:
                p.add_(0.3 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) * (0.1 if "bias" in key else 1.5 / p.shape[-1] ** 0.5))
        model.get_output_embeddings().weight[known:] = 0  # rows without a token, which no model writes
    model.generation_config.eos_token_id = config.eos_token_id
    model.save_pretrained(path)
    Path(path, "tokenizer.json").write_text(json.dumps(spec))
    Path(path, "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template, "bos_token": bos, "eos_token": ends[0]}))


def load(path):
    import torch
    from transformers import AutoModelForCausalLM

    if path.is_dir():
        return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    return AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32).eval()


def check_adapter(base, model, label, ref):
    """The base as it was, with the adapter as PEFT reads it, against our merged model."""
    import torch
    from peft import PeftModel

    whole = load(base)
    delta = moved = 0.0
    asked = [(torch.tensor([p + g[:-1]]), len(p) - 1) for p, g in zip(ref["prompts"], ref["greedy"])]
    before = [whole(ids).logits[0, at:].numpy() for ids, at in asked[:4]]
    whole = PeftModel.from_pretrained(whole, os.path.join(model, "adapter")).eval()
    for i, (ids, at) in enumerate(asked):
        logits = whole(ids).logits[0, at:].numpy()
        delta = max(delta, float(np.abs(logits - ref["decoder"][i]).max()))
        if i < len(before):
            moved = max(moved, float(np.abs(logits - before[i]).max()))
    note(f"{label}.peft.max_abs_dlogit", delta, delta < parity.MAX_DELTA < moved, f"{len(asked)} prompts; the adapter moves logits by up to {moved:.3g}")


def check_text(binary, model, label):
    """Template and special tokens, as transformers reads them."""
    from transformers import AutoTokenizer

    tok = AutoTokenizer.from_pretrained(model)
    honest, _ = conversations()
    honest = [[{k: v for k, v in m.items() if k != "reasoning"} for m in c] for c in honest]
    answers = ours(binary, "render", model, [{"messages": c, "generate": True} for c in honest])
    wrong = [c for c, a in zip(honest, answers) if list(tok.apply_chat_template(c, add_generation_prompt=True, return_dict=False)) != a["prompt"]]
    note(f"{label}.chat_template_differs", len(wrong), not wrong, f"of {len(honest)} conversations, tokens")
    said = read_json(model, "tokenizer_config.json")
    begins = [i for i in tok("x").input_ids if i in tok.all_special_ids]
    ok = tok.eos_token == said["eos_token"] and tok.bos_token == said["bos_token"] and begins == ([tok.bos_token_id] if said["add_bos_token"] else [])
    note(f"{label}.special_tokens", f"{tok.bos_token} {tok.eos_token} {tok.pad_token}", ok and len(tok) <= read_json(model, "config.json")["vocab_size"])


def check_blocks(model, typ, label, prompt):
    """Every matrix is what gguf makes of ours, and llama.cpp runs the file. Random models
    of four bits have other answers; what that costs a real one is not asked here."""
    import gguf

    wide = {t.name: t for t in gguf.GGUFReader(os.path.join(model, "model.gguf")).tensors}
    narrow = gguf.GGUFReader(f"{model}-{typ}/model.gguf").tensors
    wrong, of_type = [], 0
    for t in narrow:
        want = wide[t.name].data
        if t.tensor_type != gguf.GGMLQuantizationType.F32:
            want = gguf.quants.quantize(np.asarray(want, np.float32), t.tensor_type)
        of_type += t.tensor_type.name == typ
        if t.data.tobytes() != want.tobytes():
            wrong.append(t.name)
    note(f"{label}.{typ}.tensors_differ", len(wrong), not wrong and of_type > 0 and len(narrow) == len(wide), f"of {len(narrow)}, {of_type} of them {typ} {wrong[:2] or ''}")
    tokens, _ = parity.LlamaCpp(f"{model}-{typ}/model.gguf", True).continuation(prompt, 16, 1)
    note(f"{label}.{typ}.llama_cpp_writes", len(tokens), bool(tokens), "tokens")


def check(binary, base, model, types, prompts):
    import torch

    label = os.path.basename(model)
    print(label)
    torch.set_grad_enabled(False)
    subprocess.run([binary, "check", model], check=True)
    with tempfile.TemporaryDirectory() as out:
        ref = parity.reference(binary, model, out, prompts)
    check_transformers(model, label, ref)
    check_adapter(base, model, label, ref)
    check_text(binary, model, label)
    server = check_llama_cpp(model, os.path.join(model, "model.gguf"), f"{label}.llama_cpp", ref, True)
    check_tokenizer(binary, model, label, 2000)
    if read_json(model, "tokenizer.json")["normalizer"] is None:  # llama.cpp has none
        check_llama_tokenizer(server, binary, model, f"{label}.llama_cpp", 1000, template=False)
    del server
    for typ in types:
        check_blocks(model, typ, label, ref["prompts"][0])


def main():
    p = argparse.ArgumentParser(prog="bench/merged/run")
    p.add_argument("gguf", nargs="*", type=Path, help="bases besides the random ones")
    p.add_argument("--quick", action="store_true", help="fewer prompts, and of the bases that are named fewer types")
    p.add_argument("--record", metavar="FILE", help=argparse.SUPPRESS)
    p.add_argument("--parity", required=True, help=argparse.SUPPRESS)
    p.add_argument("--merged", required=True, help=argparse.SUPPRESS)
    args = p.parse_args()
    head = [parity.machine(), parity.versions()]
    print("\n".join(head))
    all_types = ("F16", "Q8_0", "Q4_0", "Q4_1")
    with tempfile.TemporaryDirectory() as made:
        bases = []
        for name, parts in configs().items():
            path = Path(made, "bases", name)
            make_base(path, *parts)
            bases.append((path, all_types, 16 if args.quick else 64))
        for path in args.gguf:
            bases.append((path, ("Q4_0",), 4) if args.quick else (path, all_types, 64))
        for path, types, prompts in bases:
            out = Path(made, "out")
            subprocess.run([args.merged, out, path, *types], check=True)
            check(args.parity, path, str(out / path.name.removesuffix(".gguf")), types, prompts)
            shutil.rmtree(out)
    parity.finish("merged", head, args.record)


parity.guarded(main)
