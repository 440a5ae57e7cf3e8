"""The table of docs/modern.md, of a run's report.json and of what the judge printed about it.

    python3 build/modern.py REPORT JUDGED > docs/modern.md
"""

import json
import re
import sys

models = {m["path"]: m for m in json.load(open(sys.argv[1]))["models"]}
judged = open(sys.argv[2]).read().splitlines()
lines = [re.match(r"(\S+)\s+(\S+\.onnx)\s+off by (\S+), jitter (\S+), latency x (\S+)", line) for line in judged]
rows = [m.groups() for m in lines if m]
before, after = (sum(models[path][key] for _, path, *_ in rows) for key in ("before", "after"))
proven = sum(all(models[path][c]["status"] == "passed" for c in ("parity", "algebra", "predictions")) for _, path, *_ in rows)
print(f"""# Modern architectures

{len(rows)} architectures of timm, one of each kind, exported to ONNX by torch with random weights and statistics and their normalisations unfolded, folded by zoofold and held against the originals by ONNX Runtime from Python: `make modern` (it needs the conformance kit beside the checkout, and installs torch).

- {judged[-1]}
- {proven} of {len(rows)} proven by all three checks; {before:,} → {after:,} per-channel nodes. What remains is mostly part of what runtimes run as one operator (Gelu, layer normalisation), or would leave as much work.

Latency is the processor time of one thread, folded ÷ original, the median of 41 interleaved runs, ONNX Runtime's own optimisations on; a ratio above 1.03 is measured three more times. Differences are relative to the output's largest value.

| model | nodes | latency | difference | jitter | verdict |
|---|---:|---:|---:|---:|---|""")
for verdict, path, off, jitter, latency in rows:
    m = models[path]
    print(f"| {path.removesuffix('.onnx')} | {m['before']} → {m['after']} | {latency} | {off} | {jitter} | {verdict} |")
