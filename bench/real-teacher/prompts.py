"""Flattens the data set's own format into the JSON lines of a recipe: prompts.py DATA OUT N_CHAT N_GSM8K"""

import json
import pathlib
import sys

data, out, chat, gsm = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
rows = [json.loads(line) for line in open(data / "prompts/self_instruct_user_oriented.jsonl")]
with open(out / "prompts.jsonl", "w") as f:
    for r in rows[:chat]:
        text = r["instruction"]
        if r["instances"][0]["input"]:
            text += "\n\n" + r["instances"][0]["input"]
        f.write(json.dumps({"prompt": text}) + "\n")
lines = open(data / "gsm8k/train.jsonl").readlines()[:gsm]
(out / "gsm8k.jsonl").write_text("".join(lines))
