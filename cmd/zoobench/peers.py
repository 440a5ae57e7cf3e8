"""The processor time that a folder of ONNX models takes for the models below a directory, reading and writing included.

    python peers.py NAME ZOO

Prints {"Seconds": ..., "Models": ...}: of the models that it could do. Imports and one model to warm up are not counted.
"""

import json
import os
import pathlib
import sys
import tempfile
import time

NAME, ZOO = sys.argv[1:]


def onnxsim(source, target):
    import onnx
    import onnxsim as peer
    made, ok = peer.simplify(onnx.load(source))
    assert ok
    onnx.save(made, target)


def onnxslim(source, target):
    import onnx
    import onnxslim as peer
    onnx.save(peer.slim(source), target)


def runtime(source, target):
    import onnxruntime as peer
    options = peer.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = peer.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = target
    peer.InferenceSession(source, options, providers=["CPUExecutionProvider"])


run = {"onnxsim": onnxsim, "onnxslim": onnxslim, "ONNX Runtime offline": runtime}[NAME]
out, sys.stdout = sys.stdout, sys.stderr  # they print
seconds = done = 0
with tempfile.TemporaryDirectory() as folder:
    target = os.path.join(folder, "out.onnx")
    sources = sorted(str(p) for p in pathlib.Path(ZOO).rglob("*.onnx"))
    for k, source in enumerate(sources[:1] + sources):
        started = time.process_time()
        try:
            run(source, target)
        except Exception:
            continue
        if k > 0:
            seconds, done = seconds + time.process_time() - started, done + 1
json.dump({"Seconds": seconds, "Models": done}, out)
