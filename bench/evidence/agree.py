"""Has the Python verifier judge every pack of a directory; prints how many it judged as Go did."""
import json, os, sys

sys.path.insert(0, sys.argv[2])
import evidence_verify

agree, differ = 0, []
for line in open(os.path.join(sys.argv[1], "index.jsonl")):
    x = json.loads(line)
    try:
        evidence_verify.verify(open(os.path.join(sys.argv[1], x["file"]), "rb").read(), x["key"])
        ok, why = True, ""
    except evidence_verify.Failure as e:
        ok, why = False, str(e)
    if ok == x["good"]:
        agree += 1
    else:
        differ.append((x["file"], why))
for d in differ[:10]:
    print(*d, file=sys.stderr)
print(json.dumps({"agree": agree, "differ": len(differ)}))
