"""Teaches an adapter on a real base with our engine and with PyTorch and PEFT: compares a
step, then the speed in alternating blocks, then memory. Called by ./run; see README.md."""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import typing
from importlib.metadata import version

import torch
from safetensors.torch import load_file

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), os.pardir))
import peer
from paired import BF16_KERNELS, THREADS, Ours, Probe, best_steps, compare_speed, counted, load_average, machine, ratio, timed

TOLERANCE = 1e-3  # of losses, and of gradients relative to the largest
STEPS = 3  # whose losses are compared
PARTS = 4  # of our step: 512 tokens each
PRECISIONS = ("fp32", "bf16", "bf16 base")
FIT = {"135m": 1.5, "05b": 5.0}  # GiB
FIT_LENGTH, FIT_STEPS = 512, 2


class Variant(typing.NamedTuple):
    """A way for PyTorch to do the step."""

    way: str
    precision: str

    def __str__(self):
        return f"{self.way} {self.precision}"


class Bench:
    def __init__(self, args):
        self.args = args
        self.rounds, self.seconds, self.limit = (5, 4, 120) if args.quick else (9, 6, 400)
        self.passes = (2, 60) if args.quick else (3, 150)
        self.figures, self.spread, self.lines, self.wrong = {}, {}, [], False
        self.adapter = os.path.join(args.work, "adapter")

    def ours(self, *args, base=None, kernel=None):
        return Ours(self.args.binary, "-base", base or self.args.base, *args, kernel=kernel)

    def figure(self, name, value, spread=None):
        self.figures[name] = value
        if spread:
            self.spread[name] = spread

    def step(self):
        """Compares loss and gradients of one step, and the losses of a few whole ones, in
        fp32, and reads what the other side needs."""
        self.setup = self.told(self.adapter)
        self.base = peer.convert(self.args.base, os.path.join(self.args.work, "base"))
        trainer = self.make(Variant("eager", "fp32"))
        loss, worst = trainer.compare(load_file(os.path.join(self.adapter, "gradients", "adapter_model.safetensors")))
        off = abs(loss - self.setup["loss"])
        print(f"loss {self.setup['loss']:.6f} ours, {loss:.6f} theirs; gradients differ by {worst:.1e} of the largest", flush=True)
        ours = self.ours("-parts", str(PARTS))
        for mine in ours.block(STEPS)["losses"]:
            theirs, _ = trainer.step()
            print(f"  a step: loss {mine:.6f} ours, {theirs:.6f} theirs", flush=True)
            off = max(off, abs(mine - theirs) if math.isfinite(theirs) else math.inf)
        ours.close()
        self.wrong = not max(off, worst) < TOLERANCE
        self.lines.append(f"the same step in fp32: losses differ by {off:.1e} over {STEPS} steps, gradients by {worst:.1e} of the largest")

    def told(self, work, *args):
        """Has our side leave one step in a new directory, and returns what it says of it."""
        os.mkdir(work)
        subprocess.run([self.args.binary, "-base", self.args.base, "-work", work, "-threads", str(THREADS), *args], check=True)
        with open(os.path.join(work, "step.json")) as f:
            return json.load(f)

    def make(self, v):
        return peer.Trainer(self.setup, self.base, self.adapter, v.way, v.precision)

    def fastest(self, probe):
        """Returns PyTorch's fastest way in fp32 and in any precision: eager in every one, and
        compiled, with --quick only what is fastest of it."""
        eager = best_steps([Variant("eager", p) for p in PRECISIONS], self.make, probe, *self.passes)
        best = sorted(eager, key=eager.get)[: 1 if self.args.quick else len(eager)]
        found = dict(eager)
        for v in best:  # one after the other, for their memory
            found |= best_steps([v._replace(way="compile")], self.make, probe, *self.passes)
        single = {v: t for v, t in found.items() if v.precision == "fp32"}
        return min(single, key=single.get), min(found, key=found.get)

    def speed(self):
        probe = Probe()
        single, best = self.fastest(probe)
        precisions = ["fp32"] + ["bf16"] * (self.setup["kernel"] in BF16_KERNELS)
        ours = {p: self.ours("-precision", p, "-parts", str(PARTS)) for p in precisions}

        def their_side(trainer):
            return lambda steps: trainer.tokens * steps / timed(trainer, steps)

        sides = {f"ours {p}": side.rate for p, side in ours.items()} | {str(v): their_side(self.make(v)) for v in dict.fromkeys((single, best))}
        mine = f"ours {precisions[-1]}"
        pairs = {"lora_best": (mine, str(best)), "lora_fp32": ("ours fp32", str(single))}
        found = compare_speed(sides, pairs.values(), [side.process.pid for side in ours.values()], probe, self.rounds, self.seconds, self.limit)
        peaks = {p: side.peak() for p, side in ours.items()}
        for side in ours.values():
            side.close()
        rates = {side: [r[side].rate for r in counted(found, [side], probe)] for side in sides}
        text = f"kernel {self.setup['kernel']}, tokens/s in {len(found)} rounds: " + ", ".join(f"{side} {statistics.median(r):.0f} ({len(r)} counted)" for side, r in rates.items() if r)
        for name, pair in pairs.items():
            rounds = counted(found, pair, probe)
            if not rounds:
                text += f"; no {name}, the machine was busy throughout"
                continue
            self.figure(name, *ratio(rounds, *pair))
            text += f"; {name} {self.figures[name]} {self.spread[name]} of {len(rounds)} rounds{'' if len(rounds) >= self.rounds else ' (too busy for more)'}"
        theirs = peak(self.args.work, best)
        self.figure("memory", round(peaks[precisions[-1]] / theirs, 3))
        self.lines.append(f"{text}; at most {peaks[precisions[-1]]:.0f} MiB resident ({', '.join(f'{p} {m:.0f}' for p, m in peaks.items())}), theirs ({best}) {theirs:.0f}: memory {self.figures['memory']}")
        self.lines.append(f"best probe {probe.best / 1e9:.0f} GFLOP/s ({probe.name}, {probe.size}×{probe.size})")

    def fit(self):
        """Measures the memory that teaching takes at 512 tokens a sequence, with the
        processor's best products and with AVX2's."""
        large, words = (os.path.join(self.args.work, name) for name in ("half-billion", "words"))
        os.mkdir(large)
        peer.half_billion(self.told(words, "-sequences", "1", "-length", "2"), os.path.join(words, "tokenizer.json"), large)
        for (name, most), base in zip(FIT.items(), (self.args.base, large)):
            for kernel, precision in ((None, "auto"), ("avx2", "fp32")):
                side = self.ours("-precision", precision, "-sequences", "4", "-length", str(FIT_LENGTH), "-parts", "4", base=base, kernel=kernel)
                block = side.block(FIT_STEPS)
                peak = round(side.peak() / 1024, 3)
                side.close()
                figure = f"fit_{name}" + "_avx2" * (kernel == "avx2")
                self.figure(figure, peak)
                self.lines.append(f"{figure}: {peak} GiB resident at most, of {most}, loss {block['losses'][0]:.3f} then {block['losses'][-1]:.3f}")
                print(self.lines[-1], flush=True)
                self.wrong |= not peak <= most

    def report(self, first):
        self.lines.insert(0, first)
        self.lines[-1] += f"; load average at the end {load_average()}"
        for line in self.lines[1:]:
            print(line)
        if self.args.record and self.figures:
            with open(self.args.record, "a") as f:
                f.write("\n## lora\n\n" + "".join(f"- {line}\n" for line in self.lines))
        print(json.dumps({"bench": "lora", "figures": self.figures, "spread": self.spread}), flush=True)


def peak(work, variant):
    """Most memory that PyTorch has resident over a few steps, in MiB, in a process of its own."""
    out = subprocess.run([sys.executable, __file__, "--work", work, "--peak", json.dumps(variant)], stdout=subprocess.PIPE, check=True)
    return float(out.stdout.split()[-1])


def measure_peak(args):
    with open(os.path.join(args.work, "adapter", "step.json")) as f:
        setup = json.load(f)
    base = os.path.join(args.work, "base")
    trainer = peer.Trainer(setup, base if os.path.isdir(base) else setup["base"], os.path.join(args.work, "adapter"), *json.loads(args.peak))
    timed(trainer, 4)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main():
    p = argparse.ArgumentParser(prog="bench/lora/run")
    p.add_argument("--quick", action="store_true", help="fewer and shorter blocks")
    p.add_argument("--only", choices=("step", "speed", "fit"), help="compare a step alone, or speed too, or only look whether it fits into memory")
    p.add_argument("--record", metavar="FILE", help=argparse.SUPPRESS)
    p.add_argument("--binary", help=argparse.SUPPRESS)
    p.add_argument("--work", help=argparse.SUPPRESS)
    p.add_argument("--peak", help=argparse.SUPPRESS)
    p.add_argument("base", nargs="?", help="a GGUF file, or the directory of a Hugging Face model")
    args = p.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(THREADS)
    if args.peak:
        return measure_peak(args)
    first = f"{machine()}; torch {version('torch')}, peft {version('peft')}, {THREADS} threads on both sides; load average at the start {load_average()}"
    print(first)
    bench = Bench(args)
    if args.only != "fit":
        bench.step()
    if not bench.wrong and args.only in (None, "speed"):
        bench.speed()
    if args.only in (None, "fit"):
        bench.fit()
    bench.report(first)
    sys.exit(1 if bench.wrong else 0)


if __name__ == "__main__":
    main()
