"""Writes student/tokenizer/testdata/vectors.json: what Hugging Face tokenizers
says about some strings and ids on testdata/tokenizer.json, so that `go test`
compares with it where there is no Python; and rules.json: the same vocabulary with
text cut by other rules, each as the models that use it have it in their own file.

Run it with the environment of requirements.txt, from the repository's root.
"""

import json

import tokenizers
from tokenizers import Regex, normalizers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

from texts import id_lists, texts

DIR = "student/tokenizer/testdata/"

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = ByteLevel(add_prefix_space=False, use_regex=True)


def rules():
    def changed(**parts):
        tok = tokenizers.Tokenizer.from_file(DIR + "tokenizer.json")
        for name, value in parts.items():
            setattr(tok, name, value)
        return tok

    yield "gpt-2", changed(pre_tokenizer=GPT2)
    yield "smollm", changed(pre_tokenizer=Sequence([Digits(individual_digits=True), GPT2]))
    yield "qwen2", changed(normalizer=normalizers.NFC())
    llama = changed(pre_tokenizer=Sequence([Split(Regex(LLAMA3), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]))
    whole = json.loads(llama.to_str())
    whole["model"]["ignore_merges"] = True
    yield "llama-bpe", tokenizers.Tokenizer.from_str(json.dumps(whole))


if __name__ == "__main__":
    tok = tokenizers.Tokenizer.from_file(DIR + "tokenizer.json")
    encode = [{"text": t, "ids": tok.encode(t, add_special_tokens=False).ids} for t in texts(600)]
    decode = [{"ids": ids, "text": tok.decode(ids, skip_special_tokens=False)} for ids in id_lists(200, tok.get_vocab_size())]
    with open(DIR + "vectors.json", "w") as f:
        json.dump({"tokenizers": tokenizers.__version__, "encode": encode, "decode": decode}, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")

    def parts(tok):
        whole = json.loads(tok.to_str())
        return {k: whole[k] for k in ("normalizer", "pre_tokenizer")} | {"ignore_merges": whole["model"]["ignore_merges"]}

    strings = texts(200, seed=20261130)
    with open(DIR + "rules.json", "w") as f:
        json.dump([{"rule": name, "file": parts(tok), "ids": [tok.encode(t, add_special_tokens=False).ids for t in strings]} for name, tok in rules()] + [{"texts": strings}], f, separators=(",", ":"))
        f.write("\n")
