"""Repeats a training of a student with multi-head attention that our engine has done:
the same first weights, batches, rates and optimisers. Called by main.go; see README.md.
The last line is the held-out loss."""

import json
import pathlib
import sys
import time

import torch
from safetensors.torch import load_file
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "train"))
from student import Batch, Muon, Student, adamw_of, heights, step_adamw  # noqa: E402

LAYOUT = "packed+wide"
HELD_TOKENS = 4096  # of a batch of held-out sequences


@torch.no_grad()
def heldout_loss(model, sequences):
    """The mean over all tokens of the responses."""
    total, count, group, tokens = 0.0, 0, [], 0
    for s in [*sequences, None]:
        if group and (s is None or tokens + len(s["Tokens"]) > HELD_TOKENS):
            batch = Batch(group, LAYOUT)
            total += model(batch)[0].item() * len(batch.targets)
            count += len(batch.targets)
            group, tokens = [], 0
        if s is not None:
            group.append(s)
            tokens += len(s["Tokens"])
    return total / count


def train(model, setup):
    """The steps that our engine took: the same sequences, rates and optimisers."""
    options, began = setup["options"], time.process_time()
    matrices, others = [], []
    for name, p in model.named_parameters():
        (matrices if "_proj" in name else others).append((p, heights(name, setup["config"])))
    muon = Muon(matrices, compiled=False, dtype=torch.float32)
    matrices, others = ([p for p, _ in some] for some in (matrices, others))
    adamw = adamw_of(model, others)
    for i, (step, rate) in enumerate(zip(setup["steps"], setup["rates"])):
        loss, _ = model(Batch([setup["data"][j] for j in step], LAYOUT))
        loss.backward()
        nn.utils.clip_grad_norm_(matrices + others, options["ClipNorm"], foreach=True)
        step_adamw(adamw, options, rate)
        muon.step(options["MuonLR"] * rate)
        for p in matrices + others:
            p.grad = None
        if (i + 1) % 100 == 0:
            print(f"step {i + 1} of {len(setup['steps'])}, loss {loss.item():.4f}, {time.process_time() - began:.0f} s of processor", file=sys.stderr, flush=True)


def main():
    folder = pathlib.Path(sys.argv[1])
    setup = json.loads((folder / "setup.json").read_text())
    model = Student(setup["config"])
    model.load(load_file(folder / "weights.safetensors"))
    train(model, setup)
    print(heldout_loss(model, setup["heldout"]))


if __name__ == "__main__":
    main()
