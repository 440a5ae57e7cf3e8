"""Compares zoofold with other folders of ONNX models on the same files: per-channel nodes left, and latency.

    python compare.py ZOOFOLD ZOO FOLDED [OUT.md]

ZOOFOLD is the program (it counts the nodes of every file alike), ZOO holds the originals, FOLDED what zoofold made of
them. The peers run in processes of their own, with a time limit. Latency: ONNX Runtime, one thread, its own optimisations
on as in production, all versions of a model interleaved, medians. A file whose outputs differ from the
original's by more than a percent is marked.
"""

import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort

ort.set_default_logger_severity(4)
PEERS = {
    "onnxsim": "import onnx, onnxsim; m, ok = onnxsim.simplify(onnx.load(A)); assert ok; onnx.save(m, B)",
    "onnxslim": "import onnx, onnxslim; onnx.save(onnxslim.slim(A), B)",
    "ORT offline": "import onnxruntime as o; s = o.SessionOptions(); s.log_severity_level = 4; "
                   "s.graph_optimization_level = o.GraphOptimizationLevel.ORT_ENABLE_BASIC; "
                   "s.optimized_model_filepath = B; o.InferenceSession(A, s, providers=['CPUExecutionProvider'])",
    "onnxscript": "import onnx; from onnxscript import ir, optimizer, rewriter; m = ir.load(A); optimizer.optimize(m); "
                  "ir.save(rewriter.rewrite(m), B)",
}
ROUNDS = 15


def count(zoofold, path):
    """The per-channel nodes of a file, as zoofold counts them; None if it cannot be read."""
    out = subprocess.run([zoofold, "plan", path], capture_output=True, text=True)
    found = re.search(r"(\d+) -> \d+ per-channel nodes", out.stdout)
    return int(found[1]) if found else None


def peer(code, source, target):
    script = f"A, B = {source!r}, {target!r}\n{code}"
    try:
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0 and os.path.exists(target)


def session(path):
    o = ort.SessionOptions()
    o.intra_op_num_threads = o.inter_op_num_threads = 1
    o.log_severity_level = 4
    return ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])


KINDS = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float16)": np.float16,
         "tensor(double)": np.float64, "tensor(bool)": np.bool_, "tensor(uint8)": np.uint8}


def feeds(s):
    """Random inputs of a size at which the model runs; free extents are tried, the first one is 1."""
    error = None
    for free in (320, 64, 160, 513, 576, 512, 256, 2):
        rng, out = np.random.default_rng(1), {}
        for i in s.get_inputs():
            shape = [d if isinstance(d, int) and d > 0 else (1 if k == 0 else free) for k, d in enumerate(i.shape)]
            kind = KINDS[i.type]
            if i.name == "sr":  # a sampling rate, as speech models have it
                out[i.name] = np.full(shape, 16000, kind)
                continue
            out[i.name] = (rng.standard_normal(shape) if np.issubdtype(kind, np.floating) else rng.integers(0, 2, shape)).astype(kind)
        try:
            s.run(None, out)
            return out
        except Exception as e:
            error = e
    raise error


def compare(zoofold, source, folded, folder):
    versions = {"original": source, "zoofold": folded}
    for name, code in PEERS.items():
        target = os.path.join(folder, name.replace(" ", "_") + ".onnx")
        versions[name] = target if peer(code, source, target) else None
    left = {name: count(zoofold, path) if path else None for name, path in versions.items()}
    sessions, wrong = {}, set()
    for name, path in versions.items():
        try:
            sessions[name] = session(path) if path else None
        except Exception:
            sessions[name] = None
            wrong.add(name)
    try:
        inputs = feeds(sessions["original"])
    except Exception:
        return left, wrong, {}
    want = sessions["original"].run(None, inputs)
    for name, s in sessions.items():
        try:
            got = s.run(None, inputs) if s else want
            if any(a.shape != b.shape or not np.allclose(a.astype("f8"), b.astype("f8"), rtol=1e-2, atol=1e-3 * (np.abs(a.astype("f8")).max() + 1e-30))
                   for a, b in zip(want, got)):
                wrong.add(name)
        except Exception:
            wrong.add(name)
            sessions[name] = None
    times = {name: [] for name, s in sessions.items() if s}
    for _ in range(ROUNDS):
        for name in times:
            started = time.perf_counter()
            sessions[name].run(None, inputs)
            times[name].append(time.perf_counter() - started)
    return left, wrong, {name: statistics.median(t[2:]) for name, t in times.items()}


def main():
    zoofold, zoo, folded = sys.argv[1:4]
    columns = ["original", *PEERS, "zoofold"]
    lines = ["| model | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    totals = dict.fromkeys(columns, 0)
    ratios = ["| model | original, ms | " + " | ".join(columns[1:]) + " |", "|---|---:|" + "---:|" * len(columns[1:])]
    for path in sorted(pathlib.Path(zoo).rglob("*.onnx")):
        before = count(zoofold, str(path))
        if not before:
            continue
        rel = path.relative_to(zoo)
        with tempfile.TemporaryDirectory() as folder:
            left, wrong, times = compare(zoofold, str(path), str(pathlib.Path(folded) / rel), folder)
        for name in columns:
            totals[name] += before if left[name] is None else left[name]
        show = lambda n: ("failed" if left[n] is None else str(left[n])) + (" (differs)" if n in wrong else "")
        lines.append(f"| {rel} | " + " | ".join(show(n) for n in columns) + " |")
        if times and left["zoofold"] != left["original"]:
            base = times["original"]
            ratios.append(f"| {rel} | {base * 1e3:.2f} | " + " | ".join(f"{times[n] / base:.2f}" if n in times else "failed" for n in columns[1:]) + " |")
        print(lines[-1], flush=True)
    lines.append("| all | " + " | ".join(str(totals[n]) for n in columns) + " |")
    text = "\n".join(["Per-channel nodes left:", "", *lines, "", "Latency, relative to the original:", "", *ratios, ""])
    print("\n" + text)
    if len(sys.argv) > 4:
        pathlib.Path(sys.argv[4]).write_text(text)


main()
