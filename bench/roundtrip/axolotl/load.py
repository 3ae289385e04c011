"""Axolotl's prompt strategies and TRL's data utilities read exported files, and
what they made of them is written again in the format's words.

    load.py IN OUT      reads IN/FORMAT.jsonl, writes OUT/axolotl.FORMAT.jsonl and
                        OUT/trl.FORMAT.jsonl

Axolotl's ShareGPT knows no calls of tools, its alpaca neither a system message
nor history, and its preference pairs no tools: rows with them are left out there.
"""
import json
import sys
import tempfile
from importlib.metadata import version

import datasets
from axolotl.prompt_strategies import load as strategy
from axolotl.prompt_strategies.dpo.chat_template import default as preference
from axolotl.utils.dict import DictDefault
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl import apply_chat_template
from trl.data_utils import is_conversational, maybe_extract_prompt

# A chat template that can be read back: one JSON object a message. Raw is the
# same with separators, for code that looks for a text within what it rendered.
LINES = "{% for m in messages %}{{ m | tojson }}\n{% endfor %}"
RAW = "{% for m in messages %}\x01{{ m['role'] }}\x02{{ m['content'] }}\x03{% endfor %}"
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?")), unk_token="?", eos_token="?")

source, target = sys.argv[1:3]
datasets.disable_progress_bars()
cache = tempfile.TemporaryDirectory()


def rows(name):
    return datasets.load_dataset("json", data_files=f"{source}/{name}.jsonl", split="train", cache_dir=cache.name)


def write(tool, name, lines):
    with open(f"{target}/{tool}.{name}.jsonl", "w", encoding="utf-8") as f:
        for line in lines:
            f.write(json.dumps(line, ensure_ascii=False) + "\n")


def config(**more):
    return DictDefault({"sequence_len": 4096, "train_on_inputs": False, "chat_template": "chatml", **more})


def with_tools(row):
    return {"tools": row["tools"]} if row.get("tools") else {}


def spoken(turns):
    """What a strategy made of a conversation, in OpenAI's words again."""
    for m in turns:
        for call in m.get("tool_calls") or []:
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return turns


def axolotl_openai():
    made = strategy("chat_template", tokenizer, config(chat_template="jinja", chat_template_jinja=(
        "{% for message in messages %}{{ message.role }}{{ message.content }}{{ message.tool_calls }}{{ message.tool_call_id }}{{ message.name }}{% endfor %}")),
        {"type": "chat_template", "field_messages": "messages"})
    for row in rows("openai"):
        yield {"messages": spoken(made.get_conversation_thread(row)), **with_tools(row)}


def axolotl_sharegpt():
    made = strategy("chat_template", tokenizer, config(), {
        "type": "chat_template", "field_messages": "conversations", "message_property_mappings": {"role": "from", "content": "value"}})
    back = {"user": "human", "assistant": "gpt", "system": "system"}
    for row in rows("sharegpt"):
        if not row["tools"]:
            turns = made.get_conversation_thread(row)
            yield {"id": row["id"], "conversations": [{"from": back[m["role"]], "value": m["content"]} for m in turns]}


def axolotl_alpaca():
    made = strategy("alpaca_chat", tokenizer, config(), {"type": "alpaca_chat"})
    for row in rows("alpaca"):
        if not row["system"] and not row["history"]:
            instruction, text, output = made.parse_instruction_fields(row)
            yield {"id": row["id"], "instruction": instruction, "input": text, "output": output}


def axolotl_dpo():
    transform, _ = preference(DictDefault({"datasets": [{"field_messages": "prompt"}], "chat_template": "jinja", "chat_template_jinja": RAW}))
    for row in rows("dpo"):
        if row["tools"]:
            continue
        got = transform(row, tokenizer=tokenizer)
        prompt = [dict(zip(("role", "content"), part.split("\x02"))) for part in got["prompt"].replace("\x01", "").split("\x03")[:-1]]
        ends = [[{"role": "assistant", "content": got[k].rstrip("\x03")}] for k in ("chosen", "rejected")]
        yield {"id": row["id"], "prompt": prompt, "chosen": ends[0], "rejected": ends[1]}


def lines(text):
    return [json.loads(line) for line in text.split("\n") if line]


def trl_openai():
    for row in rows("openai"):
        assert is_conversational(row)
        got = apply_chat_template({"messages": row["messages"]}, tokenizer, tools=row["tools"], chat_template=LINES)
        yield {"messages": lines(got["text"]), **with_tools(row)}


def trl_dpo():
    for row in rows("dpo"):
        pair = maybe_extract_prompt({k: row[k] for k in ("prompt", "chosen", "rejected")})
        assert is_conversational(pair)
        got = apply_chat_template(pair, tokenizer, tools=row["tools"], chat_template=LINES)
        yield {"id": row["id"], **{k: lines(got[k]) for k in ("prompt", "chosen", "rejected")}, **with_tools(row)}


for tool, name, made in [
    ("axolotl", "openai", axolotl_openai), ("axolotl", "sharegpt", axolotl_sharegpt), ("axolotl", "alpaca", axolotl_alpaca), ("axolotl", "dpo", axolotl_dpo),
    ("trl", "openai", trl_openai), ("trl", "dpo", trl_dpo),
]:
    write(tool, name, made())
print("axolotl", version("axolotl"), "and trl", version("trl"), "with datasets", version("datasets"), file=sys.stderr)
