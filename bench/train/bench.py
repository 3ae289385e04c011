"""Trains the same student with our engine and with PyTorch, compares the losses step by
step, and then the speed in alternating blocks. Called by ./run; see README.md."""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import typing
from importlib.metadata import version

import torch
import torch._dynamo
import torch._inductor.config
from safetensors.torch import load_file

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), os.pardir))
from paired import BF16_KERNELS, THREADS, Ours, Probe, best_steps, compare_speed, counted, load_average, machine, ratio, timed
from student import Trainer

TOLERANCE = 1e-4  # of losses
OUR_PRECISIONS = (("fp32",), ("fp32", "bf16"))
THEIR_PRECISIONS = ("fp32", "bf16")
FINALISTS = 2  # layouts that are also compiled; one with --quick, as compiling takes a minute

# Student: steps over which losses must agree. A mixture's router turns rounding into
# another choice of experts, sooner or later.
STUDENTS = {"mla": 20, "moe": 10, "quickstart": 20}
EVEN_LAYOUTS = ("padded", "padded+wide", "packed+mask+wide")  # of sequences of one length
DENSE_LAYOUTS = ("padded", "padded+wide", "packed", "packed+wide", "packed+mask", "packed+mask+wide")
MOE_LAYOUTS = tuple(f"packed{wide}{experts}" for experts in ("", "+batched", "+grouped") for wide in ("", "+wide"))  # experts are given no padding


class Variant(typing.NamedTuple):
    """A way for PyTorch to do the step."""

    layout: str
    way: str = "eager"
    precision: str = "fp32"

    def __str__(self):
        return f"{self.way} {self.precision} {self.layout}"


def fastest(setup, weights, probe, precisions, finalists, passes, limit):
    """Returns PyTorch's fastest way in fp32 and in any precision: all layouts eager, and
    the best of them compiled."""
    c = setup["config"]
    lengths = {len(s["Tokens"]) for s in setup["data"]}
    layouts = MOE_LAYOUTS if c["first_k_dense_replace"] < c["num_hidden_layers"] else EVEN_LAYOUTS if len(lengths) == 1 else DENSE_LAYOUTS
    found = {}

    def make(v):
        return Trainer(setup, weights, v.layout, v.way, v.precision)

    for precision in precisions:
        eager = best_steps([Variant(l, "eager", precision) for l in layouts], make, probe, passes, limit)
        compiled = [v._replace(way="compile") for v in sorted(eager, key=eager.get)[:finalists]]
        found |= eager | best_steps(compiled, make, probe, passes, limit)
    single = {v: t for v, t in found.items() if v.precision == "fp32"}
    return min(single, key=single.get), min(found, key=found.get)


def peak(setup_file, weights_file, variant, avx2):
    """Most memory that PyTorch has resident over a few steps, in MiB, in a process of its own."""
    out = subprocess.run([sys.executable, __file__, "--peak", json.dumps([setup_file, weights_file, *variant])] + ["--avx2"] * avx2, stdout=subprocess.PIPE, check=True)
    return float(out.stdout.split()[-1])


def configure(avx2):
    """Settings of PyTorch that it takes from nowhere else."""
    torch.set_num_threads(THREADS)
    torch._dynamo.config.recompile_limit = 64  # Muon meets many shapes
    if avx2:
        torch._inductor.config.cpp.simdlen = 256


def measure_peak(spec, avx2):
    setup_file, weights_file, *variant = json.loads(spec)
    configure(avx2)
    with open(setup_file) as f:
        trainer = Trainer(json.load(f), load_file(weights_file), *variant)
    timed(trainer, 5)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def compare_losses(ours, trainer, steps):
    """Does the first steps on both sides and returns the largest difference of losses.
    Theirs on one thread: it is not timed, and
    would take minutes on a busy machine. Experts are ours on both sides: a router turns
    rounding into another choice, and the steps after it into other steps."""
    block = ours.block(steps)
    worst = 0.0
    torch.set_num_threads(1)
    for i, (loss, norm) in enumerate(zip(block["losses"], block["norms"])):
        theirs, their_norm = trainer.step(block["experts"][i] if "experts" in block else None)
        difference = abs(loss - theirs) if math.isfinite(theirs) else math.inf
        worst = max(worst, difference)
        if i in (0, 1, 4, steps // 2, steps - 1):
            print(f"  step {i + 1:3}  loss {loss:.6f} ours {theirs:.6f} theirs   gradient norm {norm:.5f} ours {their_norm:.5f} theirs")
        if difference > TOLERANCE:
            print(f"  step {i + 1}: losses {loss:.6f} and {theirs:.6f} are not the same step's")
    print(f"  largest difference of losses over {steps} steps: {worst:.2e}", flush=True)
    torch.set_num_threads(THREADS)
    return worst


class Bench:
    def __init__(self, args):
        self.args = args
        self.rounds, self.seconds, self.limit = (5, 0.7, 45) if args.quick else (9, 1.5, 150)
        self.passes = (3, 10) if args.quick else (5, 25)
        self.probe = None if args.losses else Probe()
        self.figures, self.spread, self.lines, self.wrong = {}, {}, [], []

    def student(self, name):
        print(f"{name}:", flush=True)
        args, work = self.args, os.path.join(self.args.work, name)  # weights stay mapped
        files = [os.path.join(work, f) for f in ("setup.json", "weights.safetensors")]
        os.mkdir(work)
        ours = self.ours(work, name)
        ours.block(1)  # by now the files are there
        ours.close()
        with open(files[0]) as f:
            setup = json.load(f)
        weights = load_file(files[1])
        ours = self.ours(self.again(work), name, "-experts")
        worst = compare_losses(ours, Trainer(setup, weights, "packed"), STUDENTS[name])
        ours.close()
        if worst > TOLERANCE:
            self.wrong.append(name)
        elif not args.losses:
            self.speed(name, setup, weights, files, worst)

    def ours(self, work, name, *args):
        return Ours(self.args.binary, "-student", name, "-dir", work, *args)

    @staticmethod
    def again(work):
        """A directory for weights that are already there and still mapped."""
        return tempfile.mkdtemp(dir=work)

    def speed(self, name, setup, weights, files, worst):
        self.probe.sustained()
        chosen = fastest(setup, weights, self.probe, THEIR_PRECISIONS[: 1 if self.args.avx2 else 2], 1 if self.args.quick else FINALISTS, *self.passes)
        text = f"{name}: {setup['params'] / 1e6:.2f} M parameters, {setup['active_params'] / 1e6:.2f} M active, kernel {setup['kernel']}, losses differ by {worst:.1e} at most over {STUDENTS[name]} steps"

        def their_side(trainer):
            return lambda steps: trainer.batch.tokens * steps / timed(trainer, steps)

        ours = {p: self.ours(self.again(os.path.dirname(files[0])), name, "-precision", p) for p in OUR_PRECISIONS[setup["kernel"] in BF16_KERNELS]}
        single, best = map(str, chosen)
        sides = {"ours fp32": ours["fp32"].rate, single: None} | {f"ours {p}": side.rate for p, side in ours.items()}
        for v in dict.fromkeys(chosen):
            sides[str(v)] = their_side(Trainer(setup, weights, v.layout, v.way, v.precision))
        if self.args.avx2:
            name += "_avx2"
        pairs = {f"{name}_fp32": ("ours fp32", single)}
        if not self.args.avx2:
            pairs[f"{name}_best"] = (f"ours {list(ours)[-1]}", best)
        found = compare_speed(sides, pairs.values(), [side.process.pid for side in ours.values()], self.probe, self.rounds, self.seconds, self.limit)
        peaks = [side.peak() for side in ours.values()]
        for side in ours.values():
            side.close()
        rates = {side: [r[side].rate for r in counted(found, [side], self.probe)] for side in sides}
        median = {side: statistics.median(r) for side, r in rates.items() if r}
        text += f"; tokens/s in {len(found)} rounds: " + ", ".join(f"{side} {median[side]:.0f} ({len(rates[side])} counted)" for side in median)
        for figure, pair in pairs.items():
            rounds = counted(found, pair, self.probe)
            if not rounds:
                text += f"; no {figure}, the machine was busy throughout"
                continue
            self.figures[figure], self.spread[figure] = ratio(rounds, *pair)
            text += f"; {figure} {self.figures[figure]} {self.spread[figure]} of {len(rounds)} rounds{'' if len(rounds) >= self.rounds else ' (too busy for more)'}"
        if "ours fp32" in median:
            each = setup["flops"] / sum(len(s["Tokens"]) - 1 for s in setup["data"])
            shares = [each * r["ours fp32"].rate / r["ours fp32"].beside for r in counted(found, ["ours fp32"], self.probe)]
            flops = each * median["ours fp32"]
            self.figures[f"{name}_sgemm_share"] = round(flops / self.probe.best, 3)
            text += f"; {flops / 1e9:.0f} useful GFLOP/s, {flops / self.probe.best:.0%} of the best {self.probe.name} products and {statistics.median(shares):.0%} of those beside"
        theirs = min(peak(*files, v, self.args.avx2) for v in dict.fromkeys(chosen))
        self.figures[f"{name}_memory"] = round(max(peaks) / theirs, 3)
        self.lines.append(text + f"; at most {max(peaks):.0f} MiB resident, theirs {theirs:.0f}")

    def report(self, first):
        self.lines.insert(0, first)
        if self.probe:
            self.lines.append(f"best probe {self.probe.best / 1e9:.0f} GFLOP/s ({self.probe.name}, {self.probe.size}×{self.probe.size}); load average at the end {load_average()}")
        for line in self.lines[1:]:
            print(line)
        if self.args.record and self.figures:
            with open(self.args.record, "a") as f:
                f.write("\n## train\n\n" + "".join(f"- {line}\n" for line in self.lines))
        for name in self.wrong:
            print(f"{name}: the two sides do not compute the same step; nothing was timed", file=sys.stderr)
        print(json.dumps({"bench": "train", "figures": self.figures, "spread": self.spread}), flush=True)


def main():
    p = argparse.ArgumentParser(prog="bench/train/run")
    p.add_argument("--quick", action="store_true", help="fewer and shorter blocks")
    p.add_argument("--only", choices=STUDENTS, action="append", help="this student alone (may be repeated)")
    p.add_argument("--losses", action="store_true", help="compare losses alone, and time nothing")
    p.add_argument("--avx2", action="store_true", help="both sides with AVX2 at most, and in fp32")
    p.add_argument("--record", metavar="FILE", help=argparse.SUPPRESS)
    p.add_argument("--binary", help=argparse.SUPPRESS)
    p.add_argument("--work", help=argparse.SUPPRESS)
    p.add_argument("--peak", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.peak:
        return measure_peak(args.peak, args.avx2)
    torch.manual_seed(1)
    configure(args.avx2)
    first = f"{machine()}{', AVX2 at most on both sides' * args.avx2}; torch {version('torch')}, {THREADS} threads on both sides; load average at the start {load_average()}"
    print(first)
    bench = Bench(args)
    for name in args.only or STUDENTS:
        bench.student(name)
    bench.report(first)
    sys.exit(1 if bench.wrong else 0)


if __name__ == "__main__":
    main()
