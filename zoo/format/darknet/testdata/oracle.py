"""Runs Darknet networks elsewhere: in OpenCV's dnn or in Darknet, and what zoofold reads of them in ONNX Runtime.

Reads lines of JSON {"original": [cfg, weights], "folded": [cfg, weights], "onnx": path, "darknet": program}. OpenCV runs the
networks unless a program built from darknet.c is named. Writes a line for each: {"read": the largest difference of the
ONNX model, "written": that of the folded network, both from the original and relative to each output's largest value,
"outputs": how many were compared}, or {"error": why they do not run}.
"""

import json
import os
import subprocess
import sys
import tempfile

import cv2
import numpy as np
import onnxruntime

ACTIVATIONS = ("relu", "swish", "mish", "logistic")  # OpenCV numbers these by the layer after


def layer(name):
    kind, _, number = name.rpartition("_")
    return int(number) - (kind in ACTIVATIONS)


def noise(cfg):
    size = {}
    for line in open(cfg, encoding="utf-8", errors="replace"):
        key, _, value = "".join(line.split()).partition("=")
        if key in ("channels", "height", "width"):
            size.setdefault(key, int(value))
    return np.random.default_rng(0).random((1, size["channels"], size["height"], size["width"]), dtype=np.float32)


def opencv(cfg, weights, inputs):
    """What nobody reads, by layer: heads by name, and what they read by the number of the layer before them."""
    net = cv2.dnn.readNetFromDarknet(cfg, weights)
    net.setInput(inputs)
    last = list(net.getUnconnectedOutLayersNames())
    names = last + [n for n in net.getLayerNames() if n.startswith("permute_")]
    outputs = {}
    for name, value in zip(names, net.forward(names)):
        value = np.asarray(value)
        if name.startswith("permute_"):
            outputs[layer(name) - 1] = value.reshape(value.shape).transpose(0, 3, 1, 2)
        elif name.startswith("yolo_") or name == "detection_out":
            outputs[name] = value
        else:
            outputs[layer(name)] = value
    return outputs


def darknet(program, cfg, weights, inputs):
    """What every layer hands on, by its number."""
    with tempfile.TemporaryDirectory() as folder:
        there, back = os.path.join(folder, "in"), os.path.join(folder, "out")
        inputs.astype("<f4").tofile(there)
        p = subprocess.run([program, cfg, weights, there, back], capture_output=True)
        if p.returncode:
            raise ValueError(f"exit {p.returncode}: {p.stderr[-200:]!r}")
        raw = open(back, "rb").read()
    outputs, at = {}, 0
    while at < len(raw):
        count = int(np.frombuffer(raw, "<i4", 1, at)[0])
        outputs[len(outputs)] = np.frombuffer(raw, "<f4", count, at + 4)
        at += 4 + 4 * count
    return outputs


def onnx(path, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    values = session.run(None, {session.get_inputs()[0].name: inputs})
    return {int(n.rpartition("_")[2]): v for n, v in zip(names, values) if "/" not in n}  # others no layer hands on


def difference(want, got):
    if set(want) != set(got):
        raise SystemExit(f"outputs {sorted(map(str, want))} and {sorted(map(str, got))}")
    worst = 0.0
    for name, a in want.items():
        if not np.isfinite(a).all():
            raise ValueError(f"output {name} is not finite")
        b = got[name].reshape(a.shape)
        worst = max(worst, float(np.abs(a.astype(np.float64) - b).max() / max(np.abs(a).max(), 1e-30)))
    return worst


def run(job):
    inputs, program = noise(job["original"][0]), job.get("darknet")
    if program:
        want, written = darknet(program, *job["original"], inputs), darknet(program, *job["folded"], inputs)
        got = onnx(job["onnx"], inputs)
        last = job["outputs"]
        return {
            "outputs": len(got) + len(last),
            "read": difference({k: want[k] for k in got}, got),
            "written": difference({k: want[k] for k in last}, {k: written[k] for k in last}),
        }
    want = opencv(*job["original"], inputs)
    return {
        "outputs": len(want),
        "read": difference({k: v for k, v in want.items() if isinstance(k, int)}, onnx(job["onnx"], inputs)),
        "written": difference(want, opencv(*job["folded"], inputs)),
    }


for line in sys.stdin:
    try:
        answer = run(json.loads(line))
    except (cv2.error, ValueError) as e:
        answer = {"error": str(e).splitlines()[0]}
    print(json.dumps(answer), flush=True)
