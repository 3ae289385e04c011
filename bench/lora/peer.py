"""The other side of bench/lora: PyTorch and PEFT take the step that ours has taken, and
are compared with it. Called by run; see README.md."""

import json
import pathlib
import sys

import torch
import torch.nn.functional as F
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def load(path):
    path = pathlib.Path(path)
    if path.is_dir():
        return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32)


def loss_of(model, sequences):
    tokens = torch.tensor([s["Tokens"] for s in sequences])
    targets = tokens[:, 1:].clone()
    for i, s in enumerate(sequences):
        targets[i, : s["ResponseFrom"] - 1] = -100
    logits = model(tokens[:, :-1]).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-100)


def compare(work):
    step = json.loads((work / "step.json").read_text())
    model = PeftModel.from_pretrained(load(step["base"]), work, is_trainable=True)
    model.eval()  # no dropout; gradients all the same
    loss = loss_of(model, step["sequences"])
    loss.backward()
    ours = load_file(work / "gradients" / "adapter_model.safetensors")
    worst, largest, seen = 0.0, 0.0, 0
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        mine = ours[name.replace(".default.", ".")]
        worst = max(worst, (p.grad - mine).abs().max().item())
        largest = max(largest, p.grad.abs().max().item())
        seen += 1
    assert seen == len(ours), (seen, len(ours))
    print(f"loss {step['loss']:.6f} ours {loss.item():.6f} theirs; {seen} gradients reach {largest:.3g} and differ by {worst:.3g} at most")
    return abs(step["loss"] - loss.item()) < 1e-3 and worst < 1e-3 * max(1, largest)


if not compare(pathlib.Path(sys.argv[1])):
    sys.exit("the two sides do not take the same step")
