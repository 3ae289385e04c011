#!/usr/bin/env python3
"""A second verifier of Retort's evidence packs: python3 evidence_verify.py PACK PUBLIC_KEY
It needs the standard library alone, follows evidence-pack.md and exposure-log.md, and shares no code with Retort. It exits with
0 if the pack holds and with 7 if it does not, naming the part. It checks what a stamp is about and its time; the authority's own
signature is checked with `openssl ts -verify`. The bootstrap power and the words of the report are not computed anew."""
import base64, calendar, hashlib, json, math, statistics, struct, sys, time
PARTS = "keys.json terms.json frame.json log.jsonl heads.json coins.jsonl scores.jsonl identity.json results.json report.html".split()
class Failure(Exception):
    """What does not hold, after the name of its part."""
def need(ok, part, what):
    if not ok: raise Failure(f"{part}: {what}")
def sha(b):
    return hashlib.sha256(b).digest()
def digest(name, *parts):  # of parts, each with its length before it
    return sha(b"".join(struct.pack(">Q", len(p)) + p for p in (name.encode(), *parts)))
def encode(v):
    s = json.dumps(v, ensure_ascii=False, separators=(",", ":"))
    return s.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").encode()

# Ed25519, RFC 8032.
Q = 2**255 - 19
D = -121665 * pow(121666, Q - 2, Q) % Q
L = 2**252 + 27742317777372353535851937790883648493
def add(p, q):
    a, b, c, d = (p[1] - p[0]) * (q[1] - q[0]), (p[1] + p[0]) * (q[1] + q[0]), 2 * p[3] * q[3] * D, 2 * p[2] * q[2]
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % Q, g * h % Q, f * g % Q, e * h % Q
def mul(n, p):
    r = (0, 1, 1, 0)
    while n:
        r, p, n = add(r, p) if n & 1 else r, add(p, p), n >> 1
    return r
def point(b):
    y, sign = int.from_bytes(b, "little") & (1 << 255) - 1, b[31] >> 7
    x2 = (y * y - 1) * pow(D * y * y + 1, Q - 2, Q) % Q
    x = pow(x2, (Q + 3) // 8, Q)
    if (x * x - x2) % Q:
        x = x * pow(2, (Q - 1) // 4, Q) % Q
    x = Q - x if x & 1 != sign else x
    return None if y >= Q or (x * x - x2) % Q or (x == 0 and sign) else (x, y, 1, x * y % Q)
BASE = point((4 * pow(5, Q - 2, Q) % Q).to_bytes(32, "little"))
def signed_by(public, message, sig):
    a, r, s = point(public), point(sig[:32]), int.from_bytes(sig[32:], "little")
    if len(sig) != 64 or a is None or r is None or s >= L: return False
    k = int.from_bytes(hashlib.sha512(sig[:32] + public + message).digest(), "little") % L
    p, q = mul(s, BASE), add(r, mul(k, a))
    return (p[0] * q[2] - q[0] * p[2]) % Q == 0 and (p[1] * q[2] - q[1] * p[2]) % Q == 0

# Signed notes, golang.org/x/mod/sumdb/note.
def parse_key(key):
    name, mark, raw = key.split("+", 2)
    raw = base64.b64decode(raw, validate=True)
    if raw[0] != 1 or len(raw) != 33 or sha((name + "\n").encode() + raw)[:4].hex() != mark: raise ValueError("no public key")
    return name, bytes.fromhex(mark), raw[1:]
def open_note(signed, keys, signatures=1):
    """The text of a note that carries just so many signatures, each by one of keys."""
    text, _, rest = signed.partition("\n\n")
    lines, left = rest.split("\n"), list(keys)
    if lines.pop() != "" or len(lines) != signatures: raise ValueError("it holds more than a text and its signatures")
    for line in lines:
        dash, name, b64 = line.split(" ")
        raw = base64.b64decode(b64, validate=True)
        if dash != "\u2014" or base64.b64encode(raw).decode() != b64: raise ValueError("a signature is not in its only form")
        by = [k for k in left if parse_key(k)[:2] == (name, raw[:4]) and signed_by(parse_key(k)[2], (text + "\n").encode(), raw[4:])]
        if not by: raise ValueError("no trusted key signed it")
        left.remove(by[0])
    return text + "\n"
def trusted(key, rotations):
    keys, pairs = {key} if parse_key(key) else set(), [r.split("\n")[1:3] for r in rotations]
    for r, (a, b) in zip(rotations, pairs):
        if open_note(r, [a, b], 2) != f"retort/key-rotation\n{a}\n{b}\n": raise ValueError("it is no rotation")
    for a, b in pairs * len(pairs):
        keys |= {a, b} if a in keys or b in keys else set()
    return keys
def unarchive(file):
    parts, at = [], 0
    while True:
        h = file[at:at + 512]
        need(len(file) - at >= 1024, "archive", "it ends before its end")
        if h[0] == 0:
            need(file[at:] == bytes(1024), "archive", "something follows its end")
            return parts
        name = h[:100].split(b"\0")[0]
        size = int(h[124:135], 8) if h[124:135].isdigit() else -1
        want = name.ljust(100, b"\0") + b"0000644\x000000000\x000000000\x00" + b"%011o\0" % max(size, 0) + b"00000000000\0"
        want = bytearray((want + b"        0").ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"))
        want[148:156] = b"%06o\0 " % sum(want)
        padded = (size + 511) // 512 * 512
        need(size >= 0 and bytes(want) == h and at + 512 + padded <= len(file), "archive", f"the header at byte {at}")
        need(not any(file[at + 512 + size:at + 512 + padded]), name.decode(), "something stands behind its end")
        parts.append((name.decode(), file[at + 512:at + 512 + size]))
        at += 512 + padded

# The Merkle tree of RFC 6962.
def root(hashes):
    while len(hashes) > 1:
        up = [sha(b"\1" + hashes[i] + hashes[i + 1]) for i in range(0, len(hashes) - 1, 2)]
        hashes = up + hashes[len(up) * 2:]
    return hashes[0] if hashes else sha(b"")
def included(h, index, size, path):
    last, path = size - 1, list(path)
    while last:
        if index & 1 or index < last:
            p = path.pop(0) if path else b""
            h = sha(b"\1" + p + h) if index & 1 else sha(b"\1" + h + p)
        index, last = index >> 1, last >> 1
    return None if path else h
def replay(raw):
    leaves, coins, of, closed = [], 0, {}, {}
    for i, b in enumerate(raw):
        l = json.loads(b)
        need(encode(l) == b and (l["kind"] == "log") == (i == 0), "log.jsonl", f"leaf {i}")
        if l["kind"] == "coin":
            coins, of[l["account"]] = coins + 1, of.get(l["account"], 0) + 1
            need(l["counter"] == coins and l["of"] == of[l["account"]], "log.jsonl", f"leaf {i}: the counters have a gap")
        elif l["kind"] == "arms":
            n = l["counter"]
            need(0 < n <= coins and n not in closed, "log.jsonl", f"leaf {i}: answers before their coin, or twice")
            need(("void" in l) != (len(l.get("arms", [])) == 2), "log.jsonl", f"leaf {i}")
            closed[n] = i
        leaves.append(l)
    return leaves
def stamp_time(der, note):
    """The time of an RFC 3161 response, in nanoseconds, if it is about the note."""
    at = der.find(bytes.fromhex("060b2a864886f70d0109100104")) + 13  # id-ct-TSTInfo
    need(at > 13 and sha(note) in der[at:at + 400], "heads.json", "the stamp is about something else")
    at = der.index(b"\x18", der.index(sha(note), at) + 32)  # genTime follows imprint and serial number
    while not der[at + 2:at + 16].isdigit():
        at = der.index(b"\x18", at + 1)
    text = der[at + 2:at + 2 + der[at + 1]].decode().rstrip("Z").split(".")
    return calendar.timegm(time.strptime(text[0], "%Y%m%d%H%M%S")) * 10**9 + int(float("0." + (text[1:] + ["0"])[0]) * 1e9)

# Statistics.
def sign_flip(sizes, observed):
    """log P(sum of signed sizes >= observed)."""
    sizes = [abs(a) for a in sizes if a]
    n, total = len(sizes), sum(sizes)
    if observed >= total or observed <= -total:
        return -math.inf if observed > total else 0.0 if observed <= -total else -n * math.log(2)
    theta, hi = 0.0, 64.0  # the tilt with which the observed sum is expected
    for _ in range(60):
        mid = (theta + hi) / 2
        theta, hi = (mid, hi) if sum(a * math.tanh(mid * a) for a in sizes) < observed else (theta, mid)
    mass, base = [1.0], 0
    for a in sizes:
        p = 1 / (1 + math.exp(-2 * theta * a))
        pad = [0.0] * a
        mass = [x * (1 - p) + y * p for x, y in zip(mass + pad, pad + mass)]
        i = next(i for i, m in enumerate(mass) if m > 1e-40)  # what is less counts for nothing
        j = next(j for j in range(len(mass), 0, -1) if mass[j - 1] > 1e-40)
        mass, base = mass[i:j], base + i
    over = ((2 * (base + i) - total - observed, m) for i, m in enumerate(mass))
    tail = sum(m * math.exp(-theta * x) for x, m in over if x >= 0)
    scale = sum(theta * a + math.log1p(math.exp(-2 * theta * a)) - math.log(2) for a in sizes)
    return min(0.0, scale - theta * observed + math.log(tail))
def residuals(y, rows, rounds):
    n, cols, w = len(y), [], [1.0] * len(y)
    for c in zip(*rows):
        rms = math.sqrt(sum(v * v for v in c) / n)
        cols += [[v / rms for v in c]] if rms else []
    for left in range(rounds, -1, -1):
        a = [[sum(t * u * v for t, u, v in zip(w, p, q)) / n + (1e-6 if p is q else 0) for q in cols] + [sum(t * u * v for t, u, v in zip(w, p, y)) / n] for p in cols]
        for i in range(len(a)):
            for j in set(range(len(a))) - {i}:
                a[j] = [u - a[j][i] / a[i][i] * v for u, v in zip(a[j], a[i])]
        beta = [row[-1] / row[i] for i, row in enumerate(a)]
        e = [v - sum(b * c[i] for b, c in zip(beta, cols)) for i, v in enumerate(y)]
        s = (1.4826 * statistics.median(map(abs, e)) if rounds else 0) or math.sqrt(sum(v * v for v in e) / n)
        if not left or not s: return e, s
        w = [min(1.0, 1.345 * s / abs(v)) if v else 1.0 for v in e]
def grid_scores(score, lines, suspect, reference):
    by, out, scale = {}, [0.0] * len(lines), [0.0] * len(lines)
    for i, l in enumerate(lines):
        by.setdefault(l["family"], []).append(i)
    rest, diff = sorted(i for g in by.values() if len(g) < score["least"] for i in g), lambda v: v[0] - v[1]
    for g in [by[f] for f in sorted(by) if len(by[f]) >= score["least"]] + ([rest] if rest else []):
        e, sd = residuals([diff(lines[i]["logprob"][suspect]) for i in g],
                          [[diff(lines[i]["logprob"][reference]) if reference else 0, diff(lines[i]["length"]), diff(lines[i]["tokens"])] for i in g], score.get("rounds", 0))
        for i, v in zip(g, e if sd else []):
            out[i], scale[i] = (score["clip"] * sd**(1 - 2 * score["power"]) * t for t in (max(-1, min(1, v / score["clip"] / sd)), 1))
    most = max(scale, default=0)
    return [v * score["grid"] / most if most else v for v in out]
def log_e(frame, raw, lines, coins, model, belongs):
    at, logs, square, n = {l["counter"]: i for i, l in enumerate(lines)}, [0.0] * len(frame["score"]["stakes"]), 0.0, 0
    for c in sorted(at, key=lambda c: sha(f"{sha(raw).hex()}:{c}".encode()).hex()):  # the frame's order
        d = lines[at[c]].get("match", {}).get(model)
        if d is None: break
        if belongs(coins[at[c]]):
            d, n = d[0] - d[1], n + 1
            square += d * d
            for i, stake in enumerate(frame["score"]["stakes"] if d else []):
                t = stake * abs(d) / math.sqrt(square / n)
                logs[i] += (0 if (d > 0) == (coins[at[c]]["live"] == 0) else -2 * t) + math.log(2) - math.log1p(math.exp(-2 * t))
    return max(logs) + math.log(sum(math.exp(v - max(logs)) for v in logs) / len(logs))
def check_log(parts, frame, keys):
    raw = parts["log.jsonl"].split(b"\n")[:-1]
    leaves, hashes, covering, stated, frames = replay(raw), [sha(b"\0" + b) for b in raw], 0, [], 0
    need(leaves[0]["key"][:16] == frame["log"], "log.jsonl", "it is not the frame's log")
    says = {"frame": f"retort/frame\n{sha(parts['frame.json']).hex()}\nretort/exposure/{frame['log']}\n{frame['size']}\n",
            "scores": f"retort/scores\n{sha(parts['frame.json']).hex()}\n{sha(parts['scores.jsonl']).hex()}\n"}
    for h in json.loads(parts["heads.json"]):
        text = open_note(h["note"], keys)
        when = stamp_time(base64.b64decode(h["stamp"]), h["note"].encode()) if h.get("stamp") else None
        frames += text.startswith("retort/frame\n")
        if h["what"] == "frame" and text.startswith("retort/frame\n") and text != says["frame"]: continue  # another suspect's
        if h["what"] in says:
            need(text == says[h["what"]], "heads.json", "it states something else")
            stated.append(h["what"])
            continue
        origin, size, top = text.split("\n")[:3]
        good = origin == "retort/exposure/" + frame["log"] and int(size) <= len(raw)
        need(good and root(hashes[:int(size)]) == base64.b64decode(top), "heads.json", "the log is not the one that was signed")
        if when is not None:
            need(all(l["time"] <= when + 600 * 10**9 for l in leaves[:int(size)]), "heads.json", "a leaf is younger than its stamp")
            covering = max(covering, int(size) if when <= frame["held"] else 0)
    need(stated == ["frame", "scores"], "heads.json", "frame and scores are not stated, in this order")
    need(json.loads(parts["results.json"])["examined"] == frames, "results.json", "how many frames were examined")
    need(covering >= frame["size"], "heads.json", "coins that were not stamped before the suspect was held")
    return leaves, hashes
def check_coins(parts, frame, full, leaves, hashes):
    size, coins = frame["size"], []
    arms = {l["counter"]: (i, l) for i, l in enumerate(leaves[:size]) if l["kind"] == "arms"}
    inside = [(i, l) for i, l in enumerate(leaves[:size]) if l["kind"] == "coin" and l["account"] in frame.get("accounts", [l["account"]])
              and frame.get("from", 0) <= l["time"] < (frame.get("to") or 1 << 63) and "void" not in arms.get(l["counter"], (0, {"void": 1}))[1]]
    opened, top = [json.loads(c) for c in parts["coins.jsonl"].split(b"\n")[:-1]], root(hashes[:size])
    need(len(opened) == len(inside), "coins.jsonl", "not every coin of the frame is opened, or others are")
    for (i, l), c in zip(inside, opened):
        j, a = arms[l["counter"]]
        seed, which = bytes.fromhex(c["seed"]), f"coin {l['counter']}"
        need((c["counter"], c["coin_index"], c["arms_index"]) == (l["counter"], i, j), "coins.jsonl", which)
        made = digest("retort commitment v1", seed, frame["log"].encode(), struct.pack(">QQ", l["counter"], l["of"]), l["account"].encode(), l["prompt"].encode())
        need(made.hex() == l["coin"], "coins.jsonl", which + ": its seed")
        for index, path in ((i, c["coin_path"]), (j, c["arms_path"])):
            need(included(hashes[index], index, size, map(base64.b64decode, path)) == top, "coins.jsonl", which + ": its leaves")
        if full:
            need(digest("retort prompt v1", seed, encode(c["messages"])).hex() == l["prompt"], "coins.jsonl", which + ": its prompt")
            said = [digest("retort arm v1", seed, bytes([n]), encode(x)).hex() for n, x in enumerate(c["arms"])]
            need(said == a["arms"], "coins.jsonl", which + ": its answers")
        coins.append({"account": l["account"], "time": l["time"], "live": digest("retort coin v1", seed)[0] & 1})
    return coins, inside
def check_figures(parts, frame, coins, inside):
    lines, r = [json.loads(l) for l in parts["scores.jsonl"].split(b"\n")[:-1]], json.loads(parts["results.json"])
    need([l["counter"] for l in lines] == [l["counter"] for _, l in inside], "scores.jsonl", "not every coin has its scores, or others have")
    kinds = {m["name"]: m["kind"] for m in [frame["suspect"]] + frame.get("controls", [])}
    for m, grid in r["grid"].items():
        exact = grid_scores(frame["score"], lines, m, frame.get("reference", {}).get("name"))
        need(len(grid) == len(coins) and all(abs(u - v) <= 0.5 + 1e-6 for u, v in zip(exact, grid)), "results.json", "the grid")
    span = {w["name"]: w for w in frame.get("windows", [])}
    inside_of = {"all": lambda s: lambda c: True, "account": lambda s: lambda c: c["account"] == s,
                 "campaign": lambda s: lambda c: c["account"] in frame["campaigns"][s], "window": lambda s: lambda c: span[s]["from"] <= c["time"] < span[s]["to"]}
    near = lambda a, b: abs(a - b) <= 1e-7 * max(1, abs(b))
    for o in r["outcomes"]:
        belongs = inside_of[o["scope"]](o["subject"])
        if kinds[o["model"]] == "text":
            need(near(o.get("log_e", 0), log_e(frame, parts["frame.json"], lines, coins, o["model"], belongs)), "results.json", o["subject"])
            continue
        mine = [(g, c) for g, c in zip(r["grid"][o["model"]], coins) if belongs(c)]
        total = sum(g * (1 - 2 * c["live"]) for g, c in mine)
        need(total == o.get("sum", 0) and near(o["log_p"], sign_flip([g for g, _ in mine], total)), "results.json", o["subject"])
    one = [o for o in r["outcomes"] if o["scope"] == "account"]
    e, n = frame["suspect"]["kind"] == "text", len(one)
    one.sort(key=lambda o: -o.get("log_e", 0) if e else o["log_p"])
    q = frame.get("fdr", 0)
    fits = [math.exp(min(o.get("log_e", 0), 700)) * k * q >= n if e else math.exp(o["log_p"]) <= q * k / n for k, o in enumerate(one, 1)]
    last = max((k for k, ok in enumerate(fits, 1) if ok), default=0)
    need([bool(o.get("named")) for o in one] == [k < last for k in range(n)], "results.json", "the accounts that are named")
    least, fixed = -math.inf, sorted((o for o in r["outcomes"] if o["scope"] in ("campaign", "window") and not e), key=lambda o: o["log_p"])
    for k, o in enumerate(fixed):
        least = max(least, min(0, o["log_p"] + math.log(len(fixed) - k)))
        need(near(o["log_p_adjusted"], least), "results.json", o["subject"])
    return r
def verify(file, key):
    listed = unarchive(file)
    need([n for n, _ in listed] == ["manifest.json", "manifest.note"] + PARTS, "archive", "its parts are not those of a pack")
    parts, current = dict(listed), "keys.json"
    try:
        keys = trusted(key, json.loads(parts["keys.json"]))
        current = "manifest.note"
        text, current = open_note(parts["manifest.note"].decode(), keys), "manifest.json"
        need(text == f"retort/evidence\n{sha(parts['manifest.json']).hex()}\n", current, "it is not the one that was signed")
        manifest = json.loads(parts["manifest.json"])
        need(manifest["retort_evidence"] == 1 and [f["name"] for f in manifest["files"]] == PARTS, current, "its version or parts")
        for f in manifest["files"]:
            need(sha(parts[f["name"]]).hex() == f["sha256"], f["name"], "it is not the one that was signed")
        current, frame = "log.jsonl or heads.json", json.loads(parts["frame.json"])
        leaves, hashes = check_log(parts, frame, keys)
        current = "coins.jsonl"
        coins, inside = check_coins(parts, frame, manifest["disclosure"] == "full", leaves, hashes)
        current = "scores.jsonl or results.json"
        return check_figures(parts, frame, coins, inside)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, AttributeError) as e:
        raise Failure(f"{current}: {e!r}") from e

if __name__ == "__main__":
    try:
        for f in verify(open(sys.argv[1], "rb").read(), sys.argv[2])["findings"]:
            print(f["what"], f.get("subject", ""), {k: f[k] for k in ("log_p", "log_e", "likelihood_ratio") if k in f})
    except Failure as e:
        print("does not verify:", e, file=sys.stderr)
        sys.exit(7)
