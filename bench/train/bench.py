"""Trains the same student with our engine and with PyTorch eager, compares the losses
step by step, and then the speed in alternating blocks. Called by ./run; see README.md."""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
import typing
from importlib.metadata import version

import torch
from safetensors.torch import load_file

from student import Trainer

THREADS = 2
TOLERANCE = 1e-4  # of losses
QUIET = 0.85  # of the best probe: below, a measurement does not count
OTHERS = 0.03  # of all cores' time: used by others above it, a measurement does not count
PROBE = 2048  # rows and columns
SETTLE = 0.05  # seconds for the other side's threads to stop spinning

# Figure: preset, optimiser, steps over which losses must agree. A mixture's router
# turns rounding into another choice of experts, sooner or later.
CASES = {
    "quickstart_eager": ("tiny-dense", "muon", 20),
    "quickstart_adamw_eager": ("tiny-dense", "adamw", 20),
    "moe_eager": ("tiny-moe", "muon", 10),
}
DENSE_LAYOUTS = ("padded", "padded+wide", "packed", "packed+wide", "packed+mask", "packed+mask+wide")
MOE_LAYOUTS = ("packed", "packed+wide")  # experts are given no padding


class Ours:
    """Our engine, in a process of its own that rests between blocks."""

    def __init__(self, binary, work, preset, optimizer):
        self.process = subprocess.Popen([binary, "-preset", preset, "-optimizer", optimizer, "-threads", str(THREADS), "-dir", work],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def block(self, steps):
        try:
            print(steps, file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            sys.exit(f"our side ended with {self.process.wait()}")
        return json.loads(line)

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
        self.best = 0.0
        for _ in range(5):
            self()

    def __call__(self):
        began = time.perf_counter()
        torch.mm(self.a, self.a, out=self.out)
        rate = 2 * PROBE**3 / (time.perf_counter() - began)
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


def fastest_layout(setup, weights, layouts, probe, passes, limit):
    """Returns the layout in which PyTorch is fastest here, by its best step of several
    passes over all layouts, of which only those on a quiet machine count: threads that wait
    for a busy core would else choose. None if there was no such pass."""
    trainers = {layout: Trainer(setup, weights, layout) for layout in layouts}
    for trainer in trainers.values():
        timed(trainer, 1)
    best, tried, counted = dict.fromkeys(layouts, math.inf), 0, 0
    end = time.monotonic() + limit
    while counted < passes and (tried == 0 or time.monotonic() < end):
        before, watch = probe(), Watch()
        took = {layout: timed(trainer, 1) for layout, trainer in trainers.items()}
        tried += 1
        if watch.others() <= OTHERS and min(before, probe()) >= QUIET * probe.best:
            counted += 1
            best = {layout: min(best[layout], took[layout]) for layout in layouts}
    print(f"  PyTorch's best step by layout, {counted} of {tried} passes counted: "
          + ", ".join(f"{k} {1e3 * v:.1f} ms" for k, v in best.items() if counted), flush=True)
    return min(best, key=best.get) if counted else None


def compare_losses(ours, trainer, steps):
    """Does the first steps on both sides and returns the largest difference of losses.
    Theirs on one thread: it is not timed, and would take minutes on a busy machine."""
    block = ours.block(steps)
    worst = 0.0
    torch.set_num_threads(1)
    for i, (loss, norm) in enumerate(zip(block["losses"], block["norms"])):
        theirs, their_norm = trainer.step()
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
    ours: float  # tokens/s
    theirs: float
    probe: float  # the lowest of three
    others: float  # share of the cores

    def counts(self, probe):
        return self.probe >= QUIET * probe.best and self.others <= OTHERS


def compare_speed(ours, trainer, probe, name, rounds, seconds, limit):
    """Alternates blocks of about so many seconds, probing the machine around each. Returns
    a Round for each."""
    tokens = trainer.batch.tokens
    ours_steps = max(2, round(seconds / (ours.block(3)["seconds"] / 3)))
    their_steps = max(2, round(seconds / (timed(trainer, 3) / 3)))
    found, end = [], time.monotonic() + limit
    while sum(r.counts(probe) for r in found) < rounds and time.monotonic() < end:
        before, watch = probe(), Watch(ours.process.pid)
        time.sleep(SETTLE)
        block = ours.block(ours_steps)
        our_rate = block["tokens"] / block["seconds"]
        between = probe()
        time.sleep(SETTLE)
        their_rate = tokens * their_steps / timed(trainer, their_steps)
        others, after = watch.others(), probe()
        found.append(Round(our_rate, their_rate, min(before, between, after), others))
        print(f"  round {len(found):2}: ours {our_rate:7.0f} tokens/s, theirs {their_rate:7.0f}, ratio {our_rate / their_rate:5.2f}, "
              f"probes {before / 1e9:.0f} {between / 1e9:.0f} {after / 1e9:.0f} GFLOP/s, others {others:.1%}", flush=True)
    return found


def machine():
    name, flags = platform.processor(), ""
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
            if line.startswith("flags"):
                flags = " ".join(f for f in line.split() if f in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile"))
                break
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores, {flags}"


def load_average():
    return " ".join(f"{x:.2f}" for x in os.getloadavg())


def main():
    p = argparse.ArgumentParser(prog="bench/train/run")
    p.add_argument("--quick", action="store_true", help="fewer and shorter blocks")
    p.add_argument("--only", choices=CASES, action="append", help="this figure alone (may be repeated)")
    p.add_argument("--losses", action="store_true", help="compare losses alone, and time nothing")
    p.add_argument("--record", metavar="FILE", help=argparse.SUPPRESS)
    p.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    p.add_argument("--work", required=True, help=argparse.SUPPRESS)
    args = p.parse_args()
    rounds, seconds, limit = (5, 1.0, 40) if args.quick else (9, 2.0, 120)

    torch.manual_seed(1)
    torch.set_num_threads(THREADS)
    lines = [f"{machine()}; torch {version('torch')}, eager, fp32, {THREADS} threads on both sides; load average at the start {load_average()}"]
    print(lines[0])
    figures, spread, wrong = {}, {}, []
    results, details, fastest = {}, {}, {}
    probe = None if args.losses else Probe()
    for name in args.only or CASES:
        preset, optimizer, steps = CASES[name]
        print(f"{name}: {preset}, {optimizer}", flush=True)
        ours = Ours(args.binary, args.work, preset, optimizer)
        ours.block(1)  # by now the files are there
        ours.close()
        with open(os.path.join(args.work, "setup.json")) as f:
            setup = json.load(f)
        weights = load_file(os.path.join(args.work, "weights.safetensors"))
        layouts = DENSE_LAYOUTS if preset == "tiny-dense" else MOE_LAYOUTS
        if not args.losses and preset not in fastest:
            fastest[preset] = fastest_layout(setup, weights, layouts, probe, *((5, 15) if args.quick else (15, 60)))
        layout = fastest.get(preset) or layouts[0]

        trainer = Trainer(setup, weights, layout)
        ours = Ours(args.binary, args.work, preset, optimizer)
        worst = compare_losses(ours, trainer, steps)
        if worst > TOLERANCE:
            wrong.append(name)
        elif args.losses:
            pass
        elif not fastest[preset]:
            print("  not timed: the machine was too busy to find PyTorch's fastest layout")
        else:
            results[name] = compare_speed(ours, trainer, probe, name, rounds, seconds, limit)
            details[name] = f"{trainer.batch.tokens} tokens in {trainer.batch.count} sequences, kernel {setup['kernel']}, theirs {layout}, losses differ by {worst:.1e} at most over {steps} steps"
        ours.close()

    for name, found in results.items():
        counted = [r for r in found if r.counts(probe)]
        text = f"{name}: {details[name]}; {len(counted)} of {len(found)} rounds counted"
        if counted:
            ratios = [r.ours / r.theirs for r in counted]
            figures[name] = round(statistics.median(ratios), 3)
            spread[name] = [round(min(ratios), 3), round(max(ratios), 3)]
            text += (f"; ours {statistics.median(r.ours for r in counted):.0f} tokens/s, theirs {statistics.median(r.theirs for r in counted):.0f}; "
                     f"ratio {figures[name]} {spread[name]}")
        if len(counted) < rounds:
            text += f"; the machine was too busy for {rounds}" if counted else ": no figure, the machine was busy throughout"
        lines.append(text)
    lines.append(f"best probe {probe.best / 1e9:.0f} GFLOP/s; load average at the end {load_average()}" if probe else "nothing was timed")
    print("\n".join(lines[1:]))
    if args.record and figures:
        with open(args.record, "a") as f:
            f.write("\n## train\n\n" + "".join(f"- {line}\n" for line in lines))
    for name in wrong:
        print(f"{name}: the two sides do not compute the same step; nothing was timed", file=sys.stderr)
    print(json.dumps({"bench": "train", "figures": figures, "spread": spread}), flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
