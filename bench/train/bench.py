"""Trains the same student with our engine and with PyTorch, compares the losses step by
step, and then the speed in alternating blocks. Called by ./run; see README.md."""

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import typing
from importlib.metadata import version

import numpy
import torch
import torch._dynamo
import torch._inductor.config
from safetensors.torch import load_file

from student import Trainer

THREADS = 2
TOLERANCE = 1e-4  # of losses
QUIET = 0.85  # of the best probe: below, a measurement does not count
OTHERS = 0.03  # of all cores' time: used by others above it, a measurement does not count
PROBE = 2048  # rows and columns
SUSTAINED = 1.0  # seconds of products whose median is a candidate for the best probe
AGAIN = 5  # rounds between two such candidates
GLANCE = 0.2  # seconds of products around each measurement
SETTLE = 0.05  # seconds for threads to stop spinning
BF16_KERNELS = ("avx512bf16", "amx")  # ours with which bfloat16 is faster
OUR_PRECISIONS = (("fp32",), ("fp32", "bf16"))
THEIR_PRECISIONS = ("fp32", "bf16")
FINALISTS = 2  # layouts that are also compiled; one with --quick, as compiling takes a minute

# Student: steps over which losses must agree. A mixture's router turns rounding into
# another choice of experts, sooner or later.
STUDENTS = {"mla": 20, "moe": 10, "quickstart": 20}
EVEN_LAYOUTS = ("padded", "padded+wide", "packed+mask+wide")  # of sequences of one length
DENSE_LAYOUTS = ("padded", "padded+wide", "packed", "packed+wide", "packed+mask", "packed+mask+wide")
MOE_LAYOUTS = tuple(f"packed{wide}{experts}" for experts in ("", "+batched", "+grouped") for wide in ("", "+wide"))  # experts are given no padding


class Ours:
    """Our engine, in a process of its own that rests between blocks."""

    def __init__(self, binary, work, student, precision="fp32", experts=False):
        self.process = subprocess.Popen([binary, "-student", student, "-threads", str(THREADS), "-precision", precision, "-dir", work] + ["-experts"] * experts,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rate(self, steps):
        """Tokens a second over so many steps."""
        b = self.block(steps)
        return b["tokens"] / b["seconds"]

    def block(self, steps):
        try:
            print(steps, file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            sys.exit(f"our side ended with {self.process.wait()}")
        return json.loads(line)

    def peak(self):
        """Most memory that was ever resident, in MiB, as far as Linux tells."""
        try:
            with open(f"/proc/{self.process.pid}/status") as f:
                return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM"))
        except OSError:
            return math.nan

    def close(self):
        self.process.stdin.close()
        if self.process.wait():
            sys.exit(f"our side ended with {self.process.returncode}")


class Probe:
    """Floating point operations a second of large matrix products, one after the other:
    how much of the machine there is for us. What counts is the median of a while under
    load, not a single product: a rested core may be faster for a moment."""

    def __init__(self):
        self.a = torch.randn(PROBE, PROBE)
        self.out = torch.empty(PROBE, PROBE)
        a, out = self.a.numpy(), self.out.numpy()
        products = {"MKL": lambda: torch.mm(self.a, self.a, out=self.out), "OpenBLAS": lambda: numpy.matmul(a, a, out=out)}
        rates = {name: max(self.rate(product, SUSTAINED) for _ in range(3)) for name, product in products.items()}
        self.name = max(rates, key=rates.get)
        self.product, self.best = products[self.name], rates[self.name]
        print("large matrix products: " + ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items()), flush=True)

    @staticmethod
    def rate(product, seconds):
        """The median over so many seconds, after a fifth of them that only warm up."""
        began, rates = time.perf_counter(), []
        last = began
        while last - began < 1.2 * seconds or not rates:
            product()
            now = time.perf_counter()
            if last - began >= 0.2 * seconds:
                rates.append(2 * PROBE**3 / (now - last))
            last = now
        return statistics.median(rates)

    def sustained(self):
        """Looks for the best again."""
        self.best = max(self.best, self.rate(self.product, SUSTAINED))

    def __call__(self):
        time.sleep(SETTLE)
        return self.rate(self.product, GLANCE)


class Watch:
    """What others did with the cores meanwhile. The probe sees the moments around a
    measurement; this sees the measurement itself, where Linux tells."""

    def __init__(self, *pids):
        self.pids = (os.getpid(), *pids)
        self.used, self.own, self.began = self.total(), self.mine(), time.monotonic()

    @staticmethod
    def total():
        try:
            with open("/proc/stat") as f:
                user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
            return user + nice + system + irq + softirq + steal
        except OSError:
            return 0

    def mine(self):
        ticks = 0
        for pid in self.pids:
            try:
                with open(f"/proc/{pid}/stat") as f:
                    ticks += sum(map(int, f.read().rpartition(")")[2].split()[11:13]))  # user, system
            except OSError:
                pass
        return ticks

    def others(self):
        """The share of all cores' time that others used since the start."""
        ticks = (self.total() - self.used) - (self.mine() - self.own)
        return max(0, ticks) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - self.began) / os.cpu_count()


def timed(trainer, steps):
    began = time.perf_counter()
    for _ in range(steps):
        trainer.step()
    return time.perf_counter() - began


class Variant(typing.NamedTuple):
    """A way for PyTorch to do the step."""

    layout: str
    way: str = "eager"
    precision: str = "fp32"

    def __str__(self):
        return f"{self.way} {self.precision} {self.layout}"


def best_steps(setup, weights, variants, probe, passes, limit):
    """Returns each variant's best step in seconds, of several of which only those on a
    quiet machine count, if there are any: threads that wait for a busy core would else
    choose. A variant that fails is said and left out."""
    trainers = {}

    def does(v, what):
        """What it returns, or None if it fails; a step may still compile something."""
        try:
            return what()
        except Exception as e:
            print(f"  {v}: does not run: {type(e).__name__}: {str(e).strip().splitlines()[0]}", flush=True)
            trainers.pop(v, None)

    def start(v):
        trainers[v] = Trainer(setup, weights, v.layout, v.way, v.precision)
        return timed(trainers[v], 3)

    for v in variants:
        took = does(v, lambda: start(v))
        if took and v.way == "compile":
            print(f"  {v}: compiled and first steps in {took:.0f} s", flush=True)
    found, every, tried = {v: [] for v in trainers}, {v: [] for v in trainers}, 0
    end = time.monotonic() + limit
    while any(len(found[v]) < passes for v in trainers) and (tried < 2 or time.monotonic() < end):
        tried += 1
        before = probe()
        for v, trainer in list(trainers.items()):
            time.sleep(SETTLE)
            watch, took = Watch(), does(v, lambda: timed(trainer, 1))
            if took is None:
                continue
            others, after = watch.others(), probe()
            every[v].append(took)
            if others <= OTHERS and min(before, after) >= QUIET * probe.best:
                found[v].append(took)
            before = after
    best = {v: min(found[v] or every[v]) for v in trainers}
    print(f"  best step of so many that counted, of {tried}: " + ", ".join(f"{v} {1e3 * t:.1f} ms of {len(found[v])}" for v, t in best.items()), flush=True)
    return best


def fastest(setup, weights, probe, precisions, finalists, passes, limit):
    """Returns PyTorch's fastest way in fp32 and in any precision: all layouts eager, and
    the best of them compiled."""
    c = setup["config"]
    lengths = {len(s["Tokens"]) for s in setup["data"]}
    layouts = MOE_LAYOUTS if c["first_k_dense_replace"] < c["num_hidden_layers"] else EVEN_LAYOUTS if len(lengths) == 1 else DENSE_LAYOUTS
    found = {}
    for precision in precisions:
        eager = best_steps(setup, weights, [Variant(l, "eager", precision) for l in layouts], probe, passes, limit)
        compiled = [v._replace(way="compile") for v in sorted(eager, key=eager.get)[:finalists]]
        found |= eager | best_steps(setup, weights, compiled, probe, passes, limit)
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


class Block(typing.NamedTuple):
    rate: float  # tokens a second
    probe: float  # the lower of those before and after
    beside: float  # the higher of them
    others: float  # share of the cores

    def counts(self, probe):
        return self.probe >= QUIET * probe.best and self.others <= OTHERS


def compare_speed(sides, pairs, pids, probe, rounds, seconds, limit):
    """Alternates blocks of about so many seconds of each side, probing the machine between
    them, until so many rounds have counted for each of the pairs of sides. A side does so
    many steps and returns tokens a second. Returns rounds: each side's Block."""
    steps = {}
    for name, side in sides.items():
        began = time.monotonic()
        side(3)
        steps[name] = max(2, round(seconds / ((time.monotonic() - began) / 3)))
    found, end = [], time.monotonic() + limit
    while any(len(counted(found, pair, probe)) < rounds for pair in pairs) and time.monotonic() < end:
        if len(found) % AGAIN == 0:
            probe.sustained()
        blocks, before = {}, probe()
        for name, side in sides.items():
            time.sleep(SETTLE)
            watch = Watch(*pids)
            rate, others = side(steps[name]), watch.others()
            after = probe()
            blocks[name] = Block(rate, min(before, after), max(before, after), others)
            before = after
        found.append(blocks)
        print(f"  round {len(found):2}: " + ", ".join(f"{name} {b.rate:.0f}{'' if b.counts(probe) else ' (not counted)'}" for name, b in blocks.items())
              + f" tokens/s, probes {min(b.probe for b in blocks.values()) / 1e9:.0f} to {max(b.probe for b in blocks.values()) / 1e9:.0f} GFLOP/s", flush=True)
    return found


def counted(found, pair, probe):
    """The rounds in which both blocks of a pair of sides count."""
    return [blocks for blocks in found if all(blocks[side].counts(probe) for side in pair)]


def machine():
    name, flags = platform.processor(), ""
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
            if line.startswith("flags"):
                flags = " ".join(f for f in line.split() if f in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16"))
                break
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores, {flags}"


def load_average():
    return " ".join(f"{x:.2f}" for x in os.getloadavg())


def ratio(rounds, ours, theirs):
    found = [blocks[ours].rate / blocks[theirs].rate for blocks in rounds]
    return round(statistics.median(found), 3), [round(min(found), 3), round(max(found), 3)]


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
        ours = Ours(args.binary, work, name)
        ours.block(1)  # by now the files are there
        ours.close()
        with open(files[0]) as f:
            setup = json.load(f)
        weights = load_file(files[1])
        ours = Ours(args.binary, self.again(work), name, experts=True)
        worst = compare_losses(ours, Trainer(setup, weights, "packed"), STUDENTS[name])
        ours.close()
        if worst > TOLERANCE:
            self.wrong.append(name)
        elif not args.losses:
            self.speed(name, setup, weights, files, worst)

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

        ours = {p: Ours(self.args.binary, self.again(os.path.dirname(files[0])), name, p) for p in OUR_PRECISIONS[setup["kernel"] in BF16_KERNELS]}
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
            self.lines.append(f"best probe {self.probe.best / 1e9:.0f} GFLOP/s ({self.probe.name}, {PROBE}×{PROBE}); load average at the end {load_average()}")
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
