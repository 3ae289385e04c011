"""Reads datasets and ledger archives with pandas and DuckDB and compares the two.

    bench/parity/data PATH...

A path is a Parquet file or a directory that holds some, such as a dataset's or a
workspace's ledger. Where a passport.json lies beside the files, its number of
examples is compared too.
"""

import json
import sys
from pathlib import Path

import duckdb
import pandas as pd

failures = []


def plain(v):
    """Brings a cell to a form in which equal values of both readers are equal."""
    if v is pd.NaT:
        return None
    if hasattr(v, "tolist"):
        v = v.tolist()
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()}
    if isinstance(v, (list, tuple)):
        return [plain(x) for x in v]
    if isinstance(v, (bytes, bytearray, memoryview)):
        return bytes(v)
    if isinstance(v, pd.Timestamp):  # DuckDB's Python values have microseconds
        v = v.floor("us").to_pydatetime(warn=False)
    return None if v is None or v is pd.NA or (isinstance(v, float) and v != v) else v


def compare(path):
    frame = pd.read_parquet(path)
    table = duckdb.sql(f"SELECT * FROM read_parquet('{str(path).replace(chr(39), chr(39) * 2)}')")
    rows = table.fetchall()
    wrong = []
    if list(frame.columns) != table.columns:
        wrong.append(f"columns {list(frame.columns)} and {table.columns}")
    elif len(frame) != len(rows):
        wrong.append(f"{len(frame)} and {len(rows)} rows")
    else:
        for i, name in enumerate(frame.columns):
            ours, theirs = [plain(v) for v in frame[name].tolist()], [plain(r[i]) for r in rows]
            if ours != theirs:
                at = next(k for k, (a, b) in enumerate(zip(ours, theirs)) if a != b)
                wrong.append(f"column {name}, row {at}: {ours[at]!r:.80} and {theirs[at]!r:.80}")
    print(f"{'FAIL' if wrong else 'ok':4} {path}: {len(frame)} rows, {len(frame.columns)} columns")
    for w in wrong:
        print(f"     pandas and DuckDB read {w}")
    if wrong:
        failures.append(str(path))
    return len(frame)


def main(paths):
    total = files = 0
    for path in map(Path, paths):
        found = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        if not found:
            print(f"FAIL {path}: there are no Parquet files")
            failures.append(str(path))
        counts = {f: compare(f) for f in found}
        files, total = files + len(found), total + sum(counts.values())
        for directory in sorted({f.parent for f in found}):
            passport = directory / "passport.json"
            if passport.exists():
                said = json.loads(passport.read_text())["examples"]
                have = sum(n for f, n in counts.items() if f.parent == directory)
                if said != have:
                    print(f"FAIL {passport}: says {said} examples, the files have {have}")
                    failures.append(str(passport))
    print(json.dumps({"bench": "parity-data", "figures": {"files": files, "rows": total, "failures": len(failures)}, "spread": {}}))
    return 1 if failures or not files else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
