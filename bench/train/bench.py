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
from safetensors.torch import load_file

from student import Trainer

THREADS = 2
TOLERANCE = 1e-4  # of losses
QUIET = 0.85  # of the best probe: below, a measurement does not count
OTHERS = 0.03  # of all cores' time: used by others above it, a measurement does not count
PROBE = 2048  # rows and columns
SETTLE = 0.05  # seconds for the other side's threads to stop spinning
BF16_KERNELS = ("avx512bf16", "amx")  # ours with which bfloat16 is faster
OUR_PRECISIONS = (("fp32",), ("fp32", "bf16"))
FINALISTS = 2  # layouts that are also compiled

# Student: steps over which losses must agree. A mixture's router turns rounding into
# another choice of experts, sooner or later.
STUDENTS = {"mla": 20, "moe": 10, "quickstart": 20}
EVEN_LAYOUTS = ("padded", "padded+wide", "packed+mask+wide")  # of sequences of one length
DENSE_LAYOUTS = ("padded", "padded+wide", "packed", "packed+wide", "packed+mask", "packed+mask+wide")
MOE_LAYOUTS = ("packed", "packed+wide", "packed+batched", "packed+wide+batched")  # experts are given no padding


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
    """Floating point operations a second of a large matrix product: how much of the
    machine there is for us."""

    def __init__(self):
        self.a = torch.randn(PROBE, PROBE)
        self.out = torch.empty(PROBE, PROBE)
        a, out = self.a.numpy(), self.out.numpy()
        products = {"MKL": lambda: torch.mm(self.a, self.a, out=self.out), "OpenBLAS": lambda: numpy.matmul(a, a, out=out)}
        rates = {name: max(self.rate(product) for _ in range(6)) for name, product in products.items()}
        self.name = max(rates, key=rates.get)
        self.product, self.best = products[self.name], rates[self.name]
        print("large matrix products: " + ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items()), flush=True)

    @staticmethod
    def rate(product):
        began = time.perf_counter()
        product()
        return 2 * PROBE**3 / (time.perf_counter() - began)

    def __call__(self):
        rate = self.rate(self.product)
        self.best = max(self.best, rate)
        return rate


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
    """Returns each variant's best step in seconds, of several passes over all of them of
    which only those on a quiet machine count: threads that wait for a busy core would else
    choose. Empty if there was no such pass. A variant that fails is said and left out."""
    trainers = {}
    for v in variants:
        try:
            t = Trainer(setup, weights, v.layout, v.way, v.precision)
            began = time.monotonic()
            timed(t, 3)
            if v.way == "compile":
                print(f"  {v}: compiled and first steps in {time.monotonic() - began:.0f} s", flush=True)
            trainers[v] = t
        except Exception as e:
            print(f"  {v}: does not run: {type(e).__name__}: {str(e).strip().splitlines()[0]}", flush=True)
    best, tried, counted = dict.fromkeys(trainers, math.inf), 0, 0
    end = time.monotonic() + limit
    while counted < passes and (tried == 0 or time.monotonic() < end):
        before, watch = probe(), Watch()
        took = {v: timed(trainer, 1) for v, trainer in trainers.items()}
        tried += 1
        if watch.others() <= OTHERS and min(before, probe()) >= QUIET * probe.best:
            counted += 1
            best = {v: min(best[v], took[v]) for v in best}
    print(f"  best step of {counted} counted passes of {tried}: " + ", ".join(f"{v} {1e3 * t:.1f} ms" for v, t in best.items() if counted), flush=True)
    return best if counted else {}


def fastest(setup, weights, probe, passes, limit):
    """Returns PyTorch's fastest way in fp32 and in any precision, or None: all layouts
    eager, and the best of them compiled."""
    c = setup["config"]
    lengths = {len(s["Tokens"]) for s in setup["data"]}
    layouts = MOE_LAYOUTS if c["first_k_dense_replace"] < c["num_hidden_layers"] else EVEN_LAYOUTS if len(lengths) == 1 else DENSE_LAYOUTS
    found = {}
    for precision in ("fp32", "bf16"):
        eager = best_steps(setup, weights, [Variant(l, "eager", precision) for l in layouts], probe, passes, limit)
        if not eager:
            return None
        finalists = sorted(eager, key=eager.get)[:FINALISTS]
        found |= eager | best_steps(setup, weights, [v._replace(way="compile") for v in finalists], probe, passes, limit)
    single = {v: t for v, t in found.items() if v.precision == "fp32"}
    return min(single, key=single.get), min(found, key=found.get)


def peak(setup_file, weights_file, variant):
    """Most memory that PyTorch has resident over a few steps, in MiB, in a process of its own."""
    out = subprocess.run([sys.executable, __file__, "--peak", json.dumps([setup_file, weights_file, *variant])], stdout=subprocess.PIPE, check=True)
    return float(out.stdout.split()[-1])


def measure_peak(spec):
    setup_file, weights_file, *variant = json.loads(spec)
    torch.set_num_threads(THREADS)
    torch._dynamo.config.recompile_limit = 64
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


class Round(typing.NamedTuple):
    rates: dict  # tokens/s
    probe: float  # the lowest
    others: float  # share of the cores

    def counts(self, probe):
        return self.probe >= QUIET * probe.best and self.others <= OTHERS


def compare_speed(sides, pids, probe, rounds, seconds, limit):
    """Alternates blocks of about so many seconds of each side, probing the machine around
    each. A side does so many steps and returns tokens a second. Returns Rounds."""
    steps = {}
    for name, side in sides.items():
        began = time.monotonic()
        side(3)
        steps[name] = max(2, round(seconds / ((time.monotonic() - began) / 3)))
    found, end = [], time.monotonic() + limit
    while sum(r.counts(probe) for r in found) < rounds and time.monotonic() < end:
        probes, watch, rates = [probe()], Watch(*pids), {}
        for name, side in sides.items():
            time.sleep(SETTLE)
            rates[name] = side(steps[name])
            probes.append(probe())
        found.append(Round(rates, min(probes), watch.others()))
        print(f"  round {len(found):2}: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
              + f" tokens/s, probes at least {min(probes) / 1e9:.0f} GFLOP/s, others {found[-1].others:.1%}{'' if found[-1].counts(probe) else ', not counted'}", flush=True)
    return found


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


def ratio(counted, ours, theirs):
    found = [r.rates[ours] / r.rates[theirs] for r in counted]
    return round(statistics.median(found), 3), [round(min(found), 3), round(max(found), 3)]


class Bench:
    def __init__(self, args):
        self.args = args
        self.rounds, self.seconds, self.limit = (5, 1.0, 60) if args.quick else (9, 2.0, 180)
        self.passes = (5, 15) if args.quick else (15, 60)
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
        chosen = fastest(setup, weights, self.probe, *self.passes)
        text = f"{name}: {setup['params'] / 1e6:.2f} M parameters, {setup['active_params'] / 1e6:.2f} M active, kernel {setup['kernel']}, losses differ by {worst:.1e} at most over {STUDENTS[name]} steps"
        if not chosen:
            self.lines.append(text + "; not timed: the machine was too busy to find PyTorch's fastest way")
            return

        def their_side(trainer):
            return lambda steps: trainer.batch.tokens * steps / timed(trainer, steps)

        ours = {p: Ours(self.args.binary, self.again(os.path.dirname(files[0])), name, p) for p in OUR_PRECISIONS[setup["kernel"] in BF16_KERNELS]}
        sides = {f"ours {p}": side.rate for p, side in ours.items()}
        for v in dict.fromkeys(chosen):
            sides[str(v)] = their_side(Trainer(setup, weights, v.layout, v.way, v.precision))
        found = compare_speed(sides, [side.process.pid for side in ours.values()], self.probe, self.rounds, self.seconds, self.limit)
        peaks = [side.peak() for side in ours.values()]
        for side in ours.values():
            side.close()
        counted = [r for r in found if r.counts(self.probe)]
        text += f"; {len(counted)} of {len(found)} rounds counted"
        if not counted:
            self.lines.append(text + ": no figure, the machine was busy throughout")
            return
        if len(counted) < self.rounds:
            text += f" (too busy for {self.rounds})"
        median = {side: statistics.median(r.rates[side] for r in counted) for side in sides}
        text += "; tokens/s: " + ", ".join(f"{side} {rate:.0f}" for side, rate in median.items())
        single, best = map(str, chosen)
        our_best = max((side for side in sides if side.startswith("ours ")), key=median.get)
        for figure, mine, theirs in ((f"{name}_fp32", "ours fp32", single), (f"{name}_best", our_best, best)):
            self.figures[figure], self.spread[figure] = ratio(counted, mine, theirs)
            text += f"; {figure} {self.figures[figure]} {self.spread[figure]}"
        flops = setup["flops"] / sum(len(s["Tokens"]) - 1 for s in setup["data"]) * median["ours fp32"]
        self.figures[f"{name}_sgemm_share"] = round(flops / self.probe.best, 3)
        text += f"; {flops / 1e9:.0f} useful GFLOP/s, {flops / self.probe.best:.0%} of the best {self.probe.name} product"
        theirs = min(peak(*files, v) for v in dict.fromkeys(chosen))
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
    p.add_argument("--record", metavar="FILE", help=argparse.SUPPRESS)
    p.add_argument("--binary", help=argparse.SUPPRESS)
    p.add_argument("--work", help=argparse.SUPPRESS)
    p.add_argument("--peak", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.peak:
        return measure_peak(args.peak)
    torch.manual_seed(1)
    torch.set_num_threads(THREADS)
    torch._dynamo.config.recompile_limit = 64  # Muon meets many shapes
    first = f"{machine()}; torch {version('torch')}, {THREADS} threads on both sides; load average at the start {load_average()}"
    print(first)
    bench = Bench(args)
    for name in args.only or STUDENTS:
        bench.student(name)
    bench.report(first)
    sys.exit(1 if bench.wrong else 0)


if __name__ == "__main__":
    main()
