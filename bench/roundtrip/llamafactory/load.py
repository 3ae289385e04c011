"""LLaMA-Factory's own loader reads exported files, and what it made of them is
written again in the format's words.

    load.py IN OUT FORMAT...    reads IN/FORMAT.jsonl, writes OUT/llamafactory.FORMAT.jsonl

The description that its users write (dataset_info.json) is DESCRIPTION below.
"""
import json
import sys
import tempfile
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType, SimpleNamespace

import transformers  # noqa: F401

# Imported for rows with sound alone; its wheel insists on one version of CUDA.
sound = ModuleType("torchaudio")
sound.__spec__ = ModuleSpec("torchaudio", None)
sys.modules["torchaudio"] = sound

from llamafactory.data.loader import _load_single_dataset
from llamafactory.data.parser import get_dataset_list

DESCRIPTION = {
    "sharegpt": {"file_name": "sharegpt.jsonl", "formatting": "sharegpt", "columns": {"messages": "conversations", "tools": "tools"}},
    "alpaca": {
        "file_name": "alpaca.jsonl",
        "columns": {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": "history"},
    },
}
ROLES = {"user": "human", "assistant": "gpt", "observation": "observation", "function": "function_call"}


def sharegpt(row):
    turns = [{"from": ROLES[m["role"]], "value": m["content"]} for m in row["_prompt"] + row["_response"]]
    if row["_system"]:
        turns.insert(0, {"from": "system", "value": row["_system"]})
    return {"conversations": turns, **({"tools": row["_tools"]} if row["_tools"] else {})}


def alpaca(row):
    texts = [m["content"] for m in row["_prompt"]]
    history = [texts[i:i + 2] for i in range(0, len(texts) - 1, 2)]
    return {
        "instruction": texts[-1], "input": "", "output": row["_response"][0]["content"],
        **({"system": row["_system"]} if row["_system"] else {}), **({"history": history} if history else {}),
    }


source, target = sys.argv[1:3]
with tempfile.TemporaryDirectory() as cache:
    data = SimpleNamespace(
        dataset_dir=source, streaming=False, preprocessing_num_workers=None, max_samples=None, overwrite_cache=True, media_dir=source)
    for name in sys.argv[3:]:
        attr = get_dataset_list([name], DESCRIPTION)[0]
        rows = _load_single_dataset(attr, SimpleNamespace(cache_dir=cache, hf_hub_token=None), data, SimpleNamespace(local_process_index=0))
        write = {"sharegpt": sharegpt, "alpaca": alpaca}[name]
        with open(f"{target}/llamafactory.{name}.jsonl", "w", encoding="utf-8") as f:
            for row in rows:
                f.write(json.dumps(write(row), ensure_ascii=False) + "\n")

print("llamafactory", version("llamafactory"), "with datasets", version("datasets"), file=sys.stderr)
