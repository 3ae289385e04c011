"""Reads one generated ShareGPT file with our importer and with Python's json.loads, in
turn. Called by ./run; see README.md."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

OTHERS = 0.05  # of all cores' time: used by others above it, a round does not count

PEER = """
import json, sys, time
began = time.perf_counter()
rows = 0
with open(sys.argv[1], {mode}) as f:
    for line in f:
        json.loads(line)
        rows += 1
print(json.dumps({{"seconds": time.perf_counter() - began, "rows": rows}}))
"""
MODES = {"text": '"r", encoding="utf-8"', "bytes": '"rb"'}

CHECK = """
import json, sys
rows = chars = 0
with open(sys.argv[1], "rb") as f:
    for line in f:
        turns = json.loads(line)["conversations"]
        rows += 1
        chars += sum(len(t["value"].encode()) for t in turns)
print(json.dumps({"rows": rows, "chars": chars}))
"""


def child(argv, **env):
    """Runs a process to its end: what it printed, and its peak resident size in MB."""
    p = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, **env})
    out = p.stdout.read()
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        sys.exit(f"bench/import: {argv[0]} ended with {p.returncode}")
    found = json.loads(out)
    found["rss_mb"] = usage.ru_maxrss / 1024
    found["cpu"] = usage.ru_utime + usage.ru_stime
    return found


def ticks():
    """Time of all cores that was used, in seconds; None where the system does not say."""
    try:
        with open("/proc/stat") as f:
            v = [int(x) for x in f.readline().split()[1:9]]
    except OSError:
        return None
    return (sum(v) - v[3] - v[4]) / os.sysconf("SC_CLK_TCK")


class Watch:
    """The share of all cores' time that other processes used."""

    def __init__(self):
        self.used, self.began = ticks(), time.monotonic()

    def others(self, own):
        if self.used is None:
            return 0.0
        return max(0.0, ticks() - self.used - own) / (time.monotonic() - self.began) / os.cpu_count()


def spread(values):
    return [round(min(values), 3), round(max(values), 3)]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--binary", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--quick", action="store_true", help="a quarter of the file and three rounds")
    p.add_argument("--record", metavar="FILE")
    args = p.parse_args()
    size = 250_000_000 if args.quick else 1_000_000_000
    wanted, limit = (3, 60) if args.quick else (5, 240)

    lines, array = os.path.join(args.work, "sharegpt.jsonl"), os.path.join(args.work, "sharegpt.json")
    for path, extra in ((lines, []), (array, ["-array"])):
        subprocess.run([args.binary, "-generate", str(size), *extra, path], check=True)
    sizes = {path: os.path.getsize(path) for path in (lines, array)}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load average at the start {' '.join(f'{x:.2f}' for x in os.getloadavg())}"
    print(f"{machine}\n{sizes[lines] / 1e6:.0f} MB of JSON lines, {sizes[array] / 1e6:.0f} MB of a JSON array", flush=True)

    # Both sides must find the same before anything is timed, and both files are in memory after it.
    check, ours, both = child([sys.executable, "-c", CHECK, lines]), child([args.binary, lines]), child([args.binary, array])
    for name, found in (("lines", ours), ("array", both)):
        if (found["rows"], found["kept"], found["chars"]) != (check["rows"], check["rows"], check["chars"]):
            sys.exit(f"bench/import: we found {found} in the {name}, Python {check}")
    print(f"{check['rows']} rows and {check['chars']} bytes of text on both sides; identity claims {ours['leaks']}", flush=True)
    tried = {m: min(child([sys.executable, "-c", PEER.format(mode=MODES[m]), lines])["seconds"] for _ in range(2)) for m in MODES}
    mode = min(tried, key=tried.get)
    print("json.loads: " + ", ".join(f"{m} {sizes[lines] / s / 1e6:.0f} MB/s" for m, s in tried.items()) + f"; the better one is measured: {mode}", flush=True)

    rounds, began = [], time.monotonic()
    while len([r for r in rounds if r["counts"]]) < wanted and time.monotonic() - began < limit:
        watch = Watch()
        one = {"lines": child([args.binary, lines]), "peer": child([sys.executable, "-c", PEER.format(mode=MODES[mode]), lines]),
               "array": child([args.binary, array]), "core": child([args.binary, lines], GOMAXPROCS="1")}
        others = watch.others(sum(x["cpu"] for x in one.values()))
        r = {k: sizes[array if k == "array" else lines] / x["seconds"] / 1e6 for k, x in one.items()}
        r |= {"ratio": r["lines"] / r["peer"], "ratio_one_core": r["core"] / r["peer"], "rss": max(one[k]["rss_mb"] for k in ("lines", "array", "core")),
              "counts": others <= OTHERS}
        rounds.append(r)
        print(f"  round {len(rounds)}: lines {r['lines']:.0f} MB/s, array {r['array']:.0f}, on one core {r['core']:.0f}, json.loads {r['peer']:.0f}; "
              f"ratio {r['ratio']:.2f}, one core {r['ratio_one_core']:.2f}; {r['rss']:.0f} MB resident; others {others:.1%}", flush=True)

    counted = [r for r in rounds if r["counts"]]
    busy = not counted
    counted = counted or rounds
    names = {"mb_per_s": "lines", "mb_per_s_array": "array", "mb_per_s_one_core": "core", "mb_per_s_json_loads": "peer",
             "ratio": "ratio", "ratio_one_core": "ratio_one_core"}
    figures = {k: round(statistics.median(r[v] for r in counted), 3) for k, v in names.items()}
    spreads = {k: spread([r[v] for r in counted]) for k, v in names.items()}
    figures["rss_mb"], spreads["rss_mb"] = round(max(r["rss"] for r in rounds), 1), spread([r["rss"] for r in rounds])
    note = "other processes worked during every round, all are shown" if busy else f"{len(counted)} of {len(rounds)} rounds counted"
    print(note)
    if args.record:
        with open(args.record, "a") as f:
            print(f"\n## import\n\n- {machine}\n- {sizes[lines] / 1e6:.0f} MB, {check['rows']} rows; {note}", file=f)
            for k in figures:
                print(f"- {k} {figures[k]} [{spreads[k][0]}, {spreads[k][1]}]", file=f)
    print(json.dumps({"bench": "import", "figures": figures, "spread": spreads}))


main()
