"""The `datasets` library reads each exported file and writes it again.

    hf.py IN OUT FORMAT...      reads IN/FORMAT.jsonl, writes OUT/datasets.FORMAT.jsonl
    hf.py hash DATASET PAGE     prints what the Python on the format's page makes of
                                data.parquet, which must be the directory's name
"""
import os
import re
import sys
import tempfile


def round_trip(source, target, formats):
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        for name in formats:
            rows = datasets.load_dataset("json", data_files=f"{source}/{name}.jsonl", split="train", cache_dir=cache)
            rows.to_json(f"{target}/datasets.{name}.jsonl", force_ascii=False)
    print("datasets", datasets.__version__, file=sys.stderr)


def page_hash(dataset, page):
    code = re.search(r"```python\n(.*?)```", open(page, encoding="utf-8").read(), re.S).group(1)
    os.chdir(dataset)
    exec(compile(code, page, "exec"), {})


if sys.argv[1] == "hash":
    page_hash(sys.argv[2], os.path.abspath(sys.argv[3]))
else:
    round_trip(sys.argv[1], sys.argv[2], sys.argv[3:])
