"""Compares exported models with what transformers, llama.cpp, tokenizers, gguf and
safetensors make of them. Called by ./run; see README.md."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np

from texts import conversations, id_lists, texts

MAX_DELTA = 1e-3
NEAR_TIE = 1e-4

figures = {}
failures = []


def note(name, value, ok=None, text=""):
    """Prints a figure, keeps it for the last line, and remembers if it is wrong."""
    figures[name] = value
    mark = "" if ok is None else ("ok  " if ok else "FAIL")
    shown = f"{value:.3g}" if isinstance(value, float) else str(value)
    print(f"  {mark:4} {name:44} {shown:>12}  {text}", flush=True)
    if ok is False:
        failures.append(name)


def ours(binary, command, model, values):
    """Asks our side about values, a line each."""
    lines = "".join(json.dumps(v) + "\n" for v in values)
    done = subprocess.run([binary, command, model], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    out = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(out) == len(values), f"{len(out)} answers to {len(values)} questions"
    return out


def check_tokenizer(binary, model, label, count):
    from tokenizers import Tokenizer

    path = os.path.join(model, "tokenizer.json")
    tok = Tokenizer.from_file(path)
    spec = json.loads(Path(path).read_text())
    spec["added_tokens"] = []
    plain = Tokenizer.from_str(json.dumps(spec))  # in which nothing is special
    strings = texts(count)
    answers = ours(binary, "encode", model, strings)
    differ = [s for s, a in zip(strings, answers) if tok.encode(s, add_special_tokens=False).ids != a["ids"]]
    note(f"{label}.tokenizer.encode_differs", len(differ), not differ, f"of {count} strings {differ[:3]!r}" if differ else f"of {count} strings")
    differ = [s for s, a in zip(strings, answers) if plain.encode(s, add_special_tokens=False).ids != a["ordinary"]]
    note(f"{label}.tokenizer.ordinary_differs", len(differ), not differ, f"of {count} strings, nothing special {differ[:3]!r}" if differ else "nothing special")
    lists = id_lists(count // 4, tok.get_vocab_size())
    differ = [i for i, a in zip(lists, ours(binary, "decode", model, lists))
              if not tok.decode(i, skip_special_tokens=False) == a["text"] == a["streamed"]]
    note(f"{label}.tokenizer.decode_differs", len(differ), not differ, f"of {len(lists)} lists of ids, most of them not UTF-8")


def check_template(binary, model, label):
    from transformers import AutoTokenizer

    tok = AutoTokenizer.from_pretrained(model)
    honest, hostile = conversations()
    wrong = []
    for key in ("reasoning_content", "reasoning"):
        for generate in (True, False):
            questions = [{"messages": c, "generate": generate} for c in honest + hostile]
            for q, a in zip(questions, ours(binary, "render", model, questions)):
                messages = [{(key if k == "reasoning" else k): v for k, v in m.items()} for m in q["messages"]]
                text = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
                ids = tok.apply_chat_template(messages, tokenize=True, add_generation_prompt=generate, return_dict=False)
                if text != a["text"] or (generate and q["messages"] in honest and list(ids) != a["prompt"]):
                    wrong.append(text)
    note(f"{label}.chat_template_differs", len(wrong), not wrong, f"of {4 * len(honest + hostile)} renderings, text and tokens")
    note(f"{label}.eos", tok.eos_token, tok.eos_token == "<|im_end|>" and tok.pad_token == "<|endoftext|>")


def reference(binary, model, out, prompts=64):
    subprocess.run([binary, "reference", model, out, str(prompts)], check=True)
    ref = json.loads(Path(out, "reference.json").read_text())
    shape = (len(ref["prompts"]), len(ref["greedy"][0]), ref["vocab"])
    for name in ("decoder", "pass"):
        ref[name] = np.fromfile(os.path.join(out, name + ".f32"), "<f4").reshape(shape)
    return ref


def read_json(*path):
    return json.loads(Path(*path).read_text())


def check_transformers(model, label, ref):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_grad_enabled(False)
    torch.set_num_threads(1)  # tiny matrices; a second thread only waits
    m, info = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, output_loading_info=True)
    m.eval()
    loaded = [type(m).__name__] == read_json(model, "config.json")["architectures"] and not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    note(f"{label}.transformers.class", type(m).__name__, loaded, "no key missing or unexpected")
    delta = {"decoder": 0.0, "pass": 0.0}
    same = 0
    for i, (prompt, greedy) in enumerate(zip(ref["prompts"], ref["greedy"])):
        logits = m(torch.tensor([prompt + greedy[:-1]])).logits[0, len(prompt) - 1:].numpy()
        for name in delta:
            delta[name] = max(delta[name], float(np.abs(logits - ref[name][i]).max()))
        out = m.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=False,
                         max_new_tokens=len(greedy), eos_token_id=None, pad_token_id=0)
        same += out[0, len(prompt):].tolist() == greedy
    n = len(ref["prompts"])
    note(f"{label}.transformers.max_abs_dlogit", delta["decoder"], delta["decoder"] < MAX_DELTA, f"{n} prompts, decoder")
    note(f"{label}.transformers.max_abs_dlogit_training", delta["pass"], delta["pass"] < MAX_DELTA, "training forward pass")
    note(f"{label}.transformers.greedy_identical", same, same == n, f"of {n}, {len(ref['greedy'][0])} tokens each")


class LlamaCpp:
    """llama.cpp's server, on loopback, in one setting of the attention cache."""

    def __init__(self, path, exact):
        import xllamacpp as x

        p = x.CommonParams()
        p.model.path = path
        p.n_ctx, p.n_parallel, p.n_gpu_layers, p.warmup, p.verbosity, p.cache_ram_mib = 256, 1, 0, False, 0, 0
        p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1  # tiny models; spinning threads only wait
        if exact:
            p.flash_attn_type = x.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
            p.cache_type_k = p.cache_type_v = x.ggml_type.GGML_TYPE_F32
        self.server = x.Server(p)

    def post(self, path, body):
        request = urllib.request.Request(self.server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    def continuation(self, prompt, count, top):
        """Returns up to count greedy tokens, fewer if it ends its answer, and the
        log-probabilities of most of them."""
        answer = self.post("/completion", {"prompt": prompt, "n_predict": count, "temperature": 0, "samplers": ["temperature"], "n_probs": top,
                                           "cache_prompt": False, "return_tokens": True})
        return answer["tokens"], answer.get("completion_probabilities", [])


def token_bytes(model):
    """Returns the bytes of each token of a tokenizer.json."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    code, to_byte = 256, {}
    for b in range(256):
        to_byte[chr(b) if b in printable else chr(code)] = b
        code += b not in printable
    spec = read_json(model, "tokenizer.json")
    out = {i: bytes(to_byte[c] for c in t) for t, i in spec["model"]["vocab"].items()}
    # Special tokens have no text.
    return out | {t["id"]: b"" if t["special"] else t["content"].encode() for t in spec["added_tokens"]}


def ends(model):
    """Returns the tokens after which llama.cpp stops: a model's own, and some by their text."""
    named = {t["id"] for t in read_json(model, "tokenizer.json")["added_tokens"] if t["content"] in ("<|im_end|>", "<|endoftext|>")}
    return named | set(read_json(model, "generation_config.json")["eos_token_id"])


def ends_inside_character(text):
    """llama.cpp's server shows no probabilities of a token after which this holds: it
    looks for a lead byte among the last four, whatever stands behind it."""
    for i in range(1, min(4, len(text)) + 1):
        c = text[-i]
        if c & 0xE0 == 0xC0 and i < 2 or c & 0xF0 == 0xE0 and i < 3 or c & 0xF8 == 0xF0 and i < 4:
            return True
    return False


def log_softmax(logits):
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def compare_continuation(server, prompt, greedy, logprobs, spelling, end):
    """Lets llama.cpp continue a prompt. Where its token is another than ours, it goes on
    from ours, so that every position is compared in the same context. Returns the largest
    difference, the number of values compared and the gaps between our two best tokens
    where it chose another."""
    delta, compared, gaps, at = 0.0, 0, [], 0
    while at < len(greedy):
        tokens, shown = server.continuation(prompt + greedy[:at], len(greedy) - at, TOP)
        text, k = b"", 0
        for j, token in enumerate(tokens):
            text += spelling[token]
            if not ends_inside_character(text) and k < len(shown):
                assert shown[k]["id"] == token, f"probabilities of {shown[k]['id']}, want those of {token}"
                for t in shown[k]["top_logprobs"]:
                    compared += 1
                    delta = max(delta, abs(t["logprob"] - logprobs[at + j, t["id"]]))
                k += 1
            if token != greedy[at + j]:
                break
        wrong = [j for j, token in enumerate(tokens) if token != greedy[at + j]]
        done = wrong[0] if wrong else len(tokens)
        if wrong:
            best = np.sort(logprobs[at + done])[-2:]
            gaps.append(float(best[1] - best[0]))
            done += 1
        elif done < len(greedy) - at:  # it ended its answer, as it must after this token alone
            assert tokens and tokens[-1] in end, f"an answer of {done} tokens ends with {tokens[-1:]}"
        at += done
    return delta, compared, gaps


TOP = 32  # log-probabilities at each position


def check_llama_cpp(model, path, label, ref, judged, exact=True, limit=None):
    server = LlamaCpp(path, exact)
    spelling, end = token_bytes(model), ends(model)
    delta, compared, identical, after_tie = 0.0, 0, 0, 0
    questions = list(zip(ref["prompts"], ref["greedy"], ref["decoder"]))[:limit]
    for prompt, greedy, logits in questions:
        d, c, gaps = compare_continuation(server, prompt, greedy, log_softmax(logits), spelling, end)
        delta, compared = max(delta, d), compared + c
        identical += not gaps
        after_tie += bool(gaps) and max(gaps) < NEAR_TIE
    n = len(questions)
    enough = compared > n * TOP * len(ref["greedy"][0]) / 3
    note(f"{label}.max_abs_dlogprob", delta, delta < MAX_DELTA and enough if judged else None, f"{n} prompts, {compared} values")
    note(f"{label}.greedy_identical", identical, identical + after_tie == n if judged else None,
         f"of {n}" + (f", {after_tie} more but for near ties" if after_tie else ""))
    return server


def check_llama_tokenizer(server, binary, model, label, count, template=True):
    strings = [s for s in texts(count) if s]
    differ = []
    for s, a in zip(strings, ours(binary, "encode", model, strings)):
        ids = server.post("/tokenize", {"content": s, "add_special": False, "parse_special": True})["tokens"]
        if ids != a["ids"]:
            differ.append(s)
    note(f"{label}.tokenizer_differs", len(differ), not differ, f"of {len(strings)} strings {differ[:2]!r}" if differ else f"of {len(strings)} strings")
    if not template:
        return
    honest, _ = conversations()
    wrong = 0
    for c, a in zip(honest, ours(binary, "render", model, [{"messages": c, "generate": True} for c in honest])):
        messages = [{("reasoning_content" if k == "reasoning" else k): v for k, v in m.items()} for m in c]
        wrong += server.post("/apply-template", {"messages": messages})["prompt"] != a["text"]
    note(f"{label}.chat_template_differs", wrong, None, f"of {len(honest)} (it trims and adds to what templates say)" if wrong else f"of {len(honest)}")


def check_files(model, label):
    import gguf
    from safetensors import safe_open
    from safetensors.numpy import load_file

    weights = load_file(os.path.join(model, "model.safetensors"))
    with safe_open(os.path.join(model, "model.safetensors"), "numpy") as f:
        ok = f.metadata() == {"format": "pt"} and all(w.dtype == np.float32 for w in weights.values())
    note(f"{label}.safetensors.tensors", len(weights), ok and bool(weights))
    path = os.path.join(model, "model.gguf")
    reader = gguf.GGUFReader(path)
    found = {t.name: t for t in reader.tensors}
    config = json.loads(Path(model, "config.json").read_text())
    ok = reader.fields["general.architecture"].contents() == "deepseek2"
    ok &= np.array_equal(found["token_embd.weight"].data, weights["model.embed_tokens.weight"])
    ok &= np.array_equal(found["output_norm.weight"].data, weights["model.norm.weight"])
    ok &= len(reader.fields["tokenizer.ggml.tokens"].contents()) == config["vocab_size"]
    note(f"{label}.gguf.tensors", len(found), bool(ok))


def check_model(binary, model, label, args, extras):
    print(f"{label}: {model}")
    subprocess.run([binary, "check", model], check=True)
    check_files(model, label)
    with tempfile.TemporaryDirectory() as out:
        ref = reference(binary, model, out)
    check_transformers(model, label, ref)
    gguf_path = os.path.join(model, "model.gguf")
    server = check_llama_cpp(model, gguf_path, f"{label}.llama_cpp", ref, True)
    if extras:
        check_tokenizer(binary, model, label, 2500 if args.quick else 10000)
        check_template(binary, model, label)
        check_llama_tokenizer(server, binary, model, f"{label}.llama_cpp", 1000 if args.quick else 2500)
    del server
    few = 8 if args.quick else 32
    check_llama_cpp(model, gguf_path, f"{label}.llama_cpp_defaults", ref, False, exact=False, limit=few)
    for suffix, judged in (("-legacy", True), ("-f16", False), ("-q8_0", False)):
        other = os.path.join(model + suffix, "model.gguf")
        if os.path.exists(other):
            check_llama_cpp(model, other, f"{label}.llama_cpp{suffix.replace('-', '_')}", ref, judged, limit=few)


def versions():
    from importlib.metadata import version

    names = ("torch", "transformers", "tokenizers", "xllamacpp", "gguf", "safetensors")
    return ", ".join(f"{n} {version(n)}" for n in names)


def machine():
    flags, name = "", platform.processor()
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
            if line.startswith("flags"):
                flags = " ".join(f for f in line.split() if f in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile"))
                break
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores, {flags}"


def main():
    p = argparse.ArgumentParser(prog="bench/parity/run")
    p.add_argument("model", nargs="?", help="an exported model's directory; without it, small random models are made")
    p.add_argument("--quick", action="store_true", help="fewer strings and prompts")
    p.add_argument("--record", metavar="FILE", help=argparse.SUPPRESS)
    p.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    args = p.parse_args()
    head = [machine(), versions()]
    print("\n".join(head))
    with tempfile.TemporaryDirectory() as made:
        if args.model:
            check_model(args.binary, os.path.abspath(args.model), "model", args, True)
        else:
            subprocess.run([args.binary, "make", made], check=True)
            for i, name in enumerate(("dense", "moe", "odd")):
                check_model(args.binary, os.path.join(made, name), name, args, i == 0)
    finish("parity", head, args.record)


def finish(bench, head, record):
    """Prints and records what was noted, and ends the process."""
    if record:
        with open(record, "a") as f:
            f.write(f"\n## {bench}\n\n" + "\n".join(head) + "\n\n" + "".join(f"- {k}: {v}\n" for k, v in figures.items()))
    print(f"{len(figures) - len(failures)} as they should be, {len(failures)} not" + "".join(f"\n  {f}" for f in failures))
    print(json.dumps({"bench": bench, "figures": {k: v for k, v in figures.items() if not isinstance(v, str)} | {"failures": len(failures)}, "spread": {}}), flush=True)
    # xllamacpp's server threads outlive the interpreter's end otherwise.
    os._exit(1 if failures else 0)


def guarded(main):
    """Runs main and ends the process, which the server's threads would keep alive."""
    try:
        main()
    except BaseException as e:
        if isinstance(e, SystemExit):
            os._exit(e.code or 0)
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    guarded(main)
