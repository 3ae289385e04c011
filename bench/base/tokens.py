"""Encodes 10,000 strings with the tokenizers of base models, in transformers and in
student/tokenizer, and says where the two differ:

    go build -o BINARY ./bench/base
    python bench/base/tokens.py BINARY [--text FILE.jsonl...] FILE.gguf|DIRECTORY...

Text of special tokens in a string is those tokens on both sides. Of JSON lines that are
named with --text, what their objects say is cut into strings, too; the rest is random:
words, digits, white space, code, scripts, emoji, marks that combine, bytes that no
character has, special tokens. The last line is one JSON object; a difference ends with
exit code 1."""

import json
import pathlib
import random
import subprocess
import sys

from gguf import GGUFReader
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

STRINGS = 10_000
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "<|begin_of_text|>", "<|eot_id|>", "<s>", "</s>"]
PIECES = [
    "the", " The", "don't", "WE'LL", "naïve", "größe", "東京", "は", "Привет", "नमस्ते", "สวัสดี", "مرحبا", "한국어", "😀", "👩‍👩‍👧", "🇩🇪", "e\u0301", "ﬁ",
    "\u2028", "\u00a0", "\u200b", "\ufeff", "\x00", "\x1f", "\x7f", "\ufffd", "\U000e0041", "𝔘", "½", "²", "٣", "१२", "1", "12", "123", "1234", "3.14", "1,000",
    " ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", "-", "--", "...", "!?", "://", "_", "__init__", "()", "{}", "[0]", "+=", "'s", "'S", "’s", "'", '"',
    "def f(x):\n    return x", "if (a && b) {", "<b>", "&amp;", "\\n", "#", "@user", "a.b@c.de", "$5", "%20",
]


def strings(texts):
    rng = random.Random(7)
    out = []
    while len(out) < STRINGS:
        kind = rng.random()
        if texts and kind < 0.4:
            t = rng.choice(texts)
            at = rng.randrange(len(t))
            out.append(t[at : at + rng.randrange(1, 200)])
        elif kind < 0.5:
            out.append("".join(chr(rng.choice([rng.randrange(0x20, 0x7F), rng.randrange(0xA0, 0x3000), rng.randrange(0x3000, 0xD800), rng.randrange(0xE000, 0x11000), rng.randrange(0x1F300, 0x1FAFF)])) for _ in range(rng.randrange(1, 30))))
        else:
            out.append("".join(rng.choice(PIECES if rng.random() < 0.97 else SPECIAL) for _ in range(rng.randrange(1, 24))))
    return out


def said(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from said(v)
    elif isinstance(value, list):
        for v in value:
            yield from said(v)


def load(path):
    if path.is_dir():
        return AutoTokenizer.from_pretrained(str(path))
    t = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    # transformers takes GPT-2's word pattern whatever the file says (tokenizer.ggml.pre);
    # SmolLM2's own tokenizer.json cuts digits first.
    if GGUFReader(path).get_field("tokenizer.ggml.pre").contents() == "smollm":
        t.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return t


def main(binary, args):
    texts, models = [], []
    while args:
        if args[0] == "--text":
            texts += [t for line in open(args[1]) for t in said(json.loads(line)) if t]
            args = args[2:]
        else:
            models.append(pathlib.Path(args[0]))
            args = args[1:]
    every = strings(texts)
    failed, figures = False, {}
    for path in models:
        theirs = load(path)
        ours = subprocess.run([binary, "--encode", str(path)], input="".join(json.dumps(s) + "\n" for s in every), capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(ours) == len(every), f"{len(ours)} answers to {len(every)} strings"
        differ = 0
        for s, line in zip(every, ours):
            want = theirs.encode(s, add_special_tokens=False)
            if json.loads(line) != want:
                differ += 1
                if differ <= 5:
                    print(f"{path.name}: {s!r}: {json.loads(line)} here, {want} there")
        print(f"{path.name}: {differ} of {len(every)} strings differ")
        figures[path.stem.lower() + "_strings"] = differ
        failed |= differ > 0
    print(json.dumps({"bench": "base", "figures": figures, "spread": {}}))
    sys.exit(failed)


main(sys.argv[1], sys.argv[2:])
