"""What the benches share that set a training step beside PyTorch's: our side in a process
of its own, a probe of the machine, and blocks of steps of both sides in turn. bench/train's
README says how and why."""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
import typing

import numpy
import torch

THREADS = 2
BF16_KERNELS = ("avx512bf16", "amx")  # ours with which bfloat16 is faster
QUIET = 0.85  # of the best probe: below, a measurement does not count
OTHERS = 0.03  # of all cores' time: used by others above it, a measurement does not count
PROBE = 2048  # rows and columns
SUSTAINED = 1.0  # seconds of products whose median is a candidate for the best probe
AGAIN = 5  # rounds between two such candidates
GLANCE = 0.2  # seconds of products around each measurement
SETTLE = 0.05  # seconds for threads to stop spinning


class Ours:
    """Our engine, in a process of its own that rests between blocks."""

    def __init__(self, *command, kernel=None):
        env = dict(os.environ, RETORT_KERNEL=kernel) if kernel else None
        self.process = subprocess.Popen([*command, "-threads", str(THREADS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)

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

    size = PROBE

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


def best_steps(variants, make, probe, passes, limit):
    """Returns the best step in seconds of what make makes of each variant, of several of
    which only those on a quiet machine count, if there are any: threads that wait for a
    busy core would else choose. A variant that fails is said and left out."""
    trainers = {}

    def does(v, what):
        """What it returns, or None if it fails; a step may still compile something."""
        try:
            return what()
        except Exception as e:
            print(f"  {v}: does not run: {type(e).__name__}: {str(e).strip().splitlines()[0]}", flush=True)
            trainers.pop(v, None)

    def start(v):
        trainers[v] = make(v)
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


