"""Judges two runs with a real teacher: judge.py SUMMARY LORA_SUMMARY LEDGER QUESTIONS [RESULTS.md]"""

import json
import pathlib
import sys

summary = json.load(open(sys.argv[1]))
report = json.load(open(pathlib.Path(summary["report"]).with_name("report.json")))
page = open(summary["report"]).read()
lora = json.load(open(sys.argv[2]))
exchanges = [json.loads(line) for line in open(sys.argv[3])]
questions = int(sys.argv[4])
spend = report["spend"]
answers = [e for e in exchanges if e["outcome"] == "ok"]
answered = len({e["key"] for e in answers})
failures = []


def need(ok, what):
    print(f"{'ok  ' if ok else 'FAIL'} {what}")
    if not ok:
        failures.append(what)


need(answered == questions, f"every one of {questions} questions has its answer in the ledger: {answered}")
unreported = [e["id"] for e in answers if e["usage"]["source"] != "reported"]
need(not unreported, f"every answer's usage is reported {unreported}: {spend['reported']} exactly, {spend['output_tokens']} tokens out")
for e in exchanges:
    if e["outcome"] != "ok":
        print(f"     an attempt that was made again: {e['outcome']}, {e.get('error', '')}, charged at most {e['cost_usd']} dollars")
asked = sum(s["asked"] for s in report["sources"])
placed = sum(s["kept"] + sum((s.get("refused") or {}).values()) for s in report["sources"])
need(asked == placed, f"each prompt in one bucket: {asked} asked, {summary['dataset']['examples']} examples, refused {summary['refused']}")
need(summary["model"]["params"] > 0 and pathlib.Path(summary["model"]["path"]).exists(), f"a student of {summary['model']['params']} parameters")
measures = {e["family"]: e["measure"] for e in summary["eval"]}
need(measures["prompts.jsonl"] == "agreement with the teacher" and measures["gsm8k"] == "accuracy", f"measures are named: {measures}")
need("which is not how often either is right" in page, "the page says that agreement is not accuracy")
for e in summary["eval"]:
    print(f"     {e['family']}: student {e['student']:.3f}, teacher {e['teacher']:.3f}, n {e['n']}, {e['measure']}")
need(lora["dataset"]["hash"] == summary["dataset"]["hash"], "both students learn from the same dataset")
need(lora["ledger"]["exchanges"] == 0, f"the second run asked nothing again: {lora['ledger']['exchanges']} exchanges of its own")
base = next(b for b in lora["beside"] if b["name"] == "base")
for e in lora["eval"]:
    print(f"     {e['family']}: adapter {e['student']:.3f}, its base {base['shares'][e['family']]:.3f}, teacher {e['teacher']:.3f}, n {e['n']}, {e['measure']}")
rows = lora.get("taught", []) + lora["forgotten"]
for r in rows:
    print(f"     {r['what']}: {r['measure']} {r['student']:.3f}, its base {r['base']:.3f}, {r['change']:.3f} [{r['change_ci95'][0]:.3f}, {r['change_ci95'][1]:.3f}], n {r['n']}")
need(bool(lora.get("taught")) and bool(lora["forgotten"]), "the report tells what the adapter learned and forgot")
figures = {"answers": answered, "examples": summary["dataset"]["examples"], "seconds": round(sum(summary["seconds"].values()), 1)}
if len(sys.argv) > 5:
    with open(sys.argv[5], "a") as f:
        f.write(f"\n## real-teacher\n\nSmolLM2-135M-Instruct (Q4_1) behind llama.cpp: {figures}; " + "; ".join(
            f"{e['family']} student {e['student']:.3f} teacher {e['teacher']:.3f} (n {e['n']}, {e['measure']})" for e in summary["eval"]) + ". An adapter to SmolLM2 itself, from the same dataset: " + "; ".join(
            f"{e['family']} {e['student']:.3f}, base {base['shares'][e['family']]:.3f}" for e in lora["eval"]) + "; " + "; ".join(
            f"{r['what']} {r['student']:.3f}, base {r['base']:.3f} ({r['change']:.3f} [{r['change_ci95'][0]:.3f}, {r['change_ci95'][1]:.3f}])" for r in rows) + "\n")
print(json.dumps({"bench": "real-teacher", "figures": figures, "spread": {}}))
sys.exit(bool(failures))
