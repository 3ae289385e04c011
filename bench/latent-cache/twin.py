"""Trains the twin of a student that our engine has trained: the same student but for
its attention, which caches a key and a value for every head. Called by main.go, one
process a training; see README.md. The last line is what came of it, as JSON."""

import argparse
import json
import math
import pathlib
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "train"))
from student import Batch, Muon, Student, adamw_of, heights, linear, rotate, step_adamw  # noqa: E402

LAYOUT = "packed+wide"
HELD_TOKENS = 4096  # of a batch of held-out sequences


class Heads(nn.Module):
    """Multi-head attention whose heads are rotated whole."""

    def __init__(self, c):
        super().__init__()
        d, self.heads, self.width = c["hidden_size"], c["num_attention_heads"], c["v_head_dim"]
        self.q_proj, self.k_proj, self.v_proj = (linear(self.heads * self.width, d) for _ in range(3))
        self.o_proj = linear(d, self.heads * self.width)
        self.scale = 1 / math.sqrt(self.width)

    def project(self, x, turn):
        q, k, v = (p(x).view(-1, self.heads, self.width) for p in (self.q_proj, self.k_proj, self.v_proj))
        return rotate(q, turn), rotate(k, turn), v

    def forward(self, x, batch, turn):
        return self.o_proj(batch.attend(*self.project(x, turn), self.scale))


def twin(config, weights, seed):
    """The student with Heads for attention. What both have begins with the same weights,
    and Heads' are drawn by the rule of our engine: a deviation of 1/√inputs, smaller by
    √(2·layers) where a matrix writes into the residual stream."""
    model = Student(config)
    rng = torch.Generator().manual_seed(seed)
    shared = {name.removeprefix("model."): value for name, value in weights.items()}
    with torch.no_grad():
        for layer in model.layers:
            layer.self_attn = Heads(config)
        for name, p in model.named_parameters():
            if ".self_attn." in name:
                p.normal_(0, 1 / math.sqrt(p.shape[1]), generator=rng)
                if "o_proj" in name:
                    p /= math.sqrt(2 * len(model.layers))
            else:
                p.copy_(shared[name])
    return model


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


def rows_of(name, config):
    """The rows of the matrices that Muon is to see in one of the twin's parameters."""
    if any(p in name for p in ("q_proj", "k_proj", "v_proj")):
        return [config["v_head_dim"]] * config["num_attention_heads"]
    return None


def train(model, setup, rows):
    """The steps that our engine took: the same sequences, rates and optimisers. rows says
    of a parameter's name and the config how high the matrices in it are."""
    options, began = setup["options"], time.process_time()
    matrices, others = [], []
    for name, p in model.named_parameters():
        (matrices if "_proj" in name else others).append((p, rows(name, setup["config"])))
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


@torch.no_grad()
def decode(model, sequence):
    """Reads a sequence token by token from a cache, and returns the loss on its response
    and the bytes that the cache takes for a token and layer."""
    tokens, first = sequence["Tokens"], max(sequence["ResponseFrom"], 1)
    context = len(tokens) - 1
    cache = [tuple(torch.empty(context, a.heads, a.width) for _ in "kv") for a in (layer.self_attn for layer in model.layers)]
    losses = []
    for at, token in enumerate(tokens[:-1]):
        turn = torch.polar(torch.ones_like(model.frequency), at * model.frequency)[None, None]
        x = model.embed_tokens(torch.tensor([token]))
        for layer, (keys, values) in zip(model.layers, cache):
            a = layer.self_attn
            q, k, v = a.project(layer.input_layernorm(x), turn)
            keys[at], values[at] = k[0], v[0]
            score = torch.einsum("hw,thw->ht", q[0], keys[: at + 1]) * a.scale
            out = torch.einsum("ht,thw->hw", score.softmax(-1), values[: at + 1])
            x = x + a.o_proj(out.flatten()[None])
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        if at + 1 >= first:
            losses.append(F.cross_entropy(model.lm_head(model.norm(x)), torch.tensor([tokens[at + 1]])))
    size = sum(t.nbytes for pair in cache for t in pair)
    return torch.stack(losses).mean().item(), size / context / len(cache)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("dir", type=pathlib.Path, help="with setup.json and weights.safetensors")
    p.add_argument("--latent", action="store_true", help="train the student itself, not its twin")
    args = p.parse_args()
    setup = json.loads((args.dir / "setup.json").read_text())
    weights = load_file(args.dir / "weights.safetensors")
    config = setup["config"]
    if args.latent:
        model = Student(config)
        model.load(weights)
    else:
        model = twin(config, weights, setup["options"]["Seed"])
    train(model, setup, heights if args.latent else rows_of)
    found = {"heldout": heldout_loss(model, setup["heldout"]), "params": sum(p.numel() for p in model.parameters())}
    if not args.latent:
        one = setup["heldout"][0]
        loss, found["cache_bytes"] = decode(model, one)
        if abs(loss - heldout_loss(model, [one])) > 1e-4:
            sys.exit(f"decoding from the cache gives a loss of {loss}, not {heldout_loss(model, [one])}: the cache is not all that attention needs")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
