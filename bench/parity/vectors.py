"""Writes student/tokenizer/testdata/vectors.json: what Hugging Face tokenizers
says about some strings and ids on testdata/tokenizer.json, so that `go test`
compares with it where there is no Python.

Run it with the environment of requirements.txt, from the repository's root.
"""

import json

import tokenizers

from texts import id_lists, texts

DIR = "student/tokenizer/testdata/"

if __name__ == "__main__":
    tok = tokenizers.Tokenizer.from_file(DIR + "tokenizer.json")
    encode = [{"text": t, "ids": tok.encode(t, add_special_tokens=False).ids} for t in texts(600)]
    decode = [{"ids": ids, "text": tok.decode(ids, skip_special_tokens=False)} for ids in id_lists(200, tok.get_vocab_size())]
    with open(DIR + "vectors.json", "w") as f:
        json.dump({"tokenizers": tokenizers.__version__, "encode": encode, "decode": decode}, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")
