"""Run Caffe nets in OpenCV's dnn and compare: what this program read of a net, exported as ONNX and run by ONNX Runtime, with
the original; and the folded net with the original. Reads a JSON list of cases from standard input:

    {"original": PROTOTXT, "weights": CAFFEMODEL, "onnx": PATH or "", "folded": PROTOTXT or "", "foldedWeights": CAFFEMODEL}

and writes one JSON object for each: {"onnx": {output: difference}, "folded": {output: difference}, "jitter": number,
"error": text}. Differences are relative to the output's largest value; jitter is the original's own answer to inputs that
were moved by one unit in the last place. Layers of forks that OpenCV does not know are written with numpy here. Needs numpy,
opencv-python-headless, onnxruntime.
"""
import json, re, sys
import cv2
import numpy as np


class Fork:
    """A layer of a fork, as OpenCV calls it: its parameters are texts, its weights arrays."""

    def __init__(self, params, blobs):
        self.params, self.blobs = params, [b.ravel()[None, :, None, None] for b in blobs]

    def getMemoryShapes(self, inputs):
        return [inputs[0]]

    def forward(self, inputs):
        if self.params.get("bn_mode") == "INFERENCE":  # SegNet's
            scale, shift = self.blobs
            return [scale * inputs[0] + shift]
        slope, bias, mean, variance = self.blobs
        return [slope * (inputs[0] - mean) / np.sqrt(variance + np.float32(self.params.get("eps", 1e-5))) + bias]


class SENetsAxpy:
    """a·x + y, as SENet's layers/axpy_layer.cpp has it: OpenCV's importer makes a·y + x of an Axpy."""

    def __init__(self, params, blobs):
        pass

    def getMemoryShapes(self, inputs):
        return [inputs[1]]

    def forward(self, inputs):
        a, x, y = inputs
        return [a.reshape(a.shape[:2] + (1,) * (x.ndim - 2)) * x + y]


forks = {name: type(name, (Fork,), {}) for name in ("BN", "SyncBN", "CuDNNBatchNorm")} | {"SENetsAxpy": SENetsAxpy}  # OpenCV keeps no reference
for name, fork in forks.items():
    cv2.dnn_registerLayer(name, fork)


def layers(text):
    """(name, [tops], bottoms) of the top-level layers of phase TEST, by a scan of their braces."""
    text = re.sub(r"#.*", "", text)
    for m in re.finditer(r"\blayers?\s*\{", text):
        depth, i = 1, m.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[i], 0)
            i += 1
        block = text[m.end() : i - 1]
        if re.search(r"phase:\s*TRAIN", block):
            continue
        get = lambda key: re.findall(rf"""\b{key}:\s*["']([^"']*)["']""", block)
        names = get("name")
        yield names[0] if names else "", get("top"), get("bottom")


class Caffe:
    def __init__(self, prototxt, caffemodel):
        text = open(prototxt, encoding="utf-8").read().replace("'Axpy'", "'SENetsAxpy'")
        self.net = cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8), np.fromfile(caffemodel, np.uint8))
        self.net.enableFusion(False)
        self.net.enableWinograd(False)
        self.writer, read = {}, set()
        for name, tops, bottoms in layers(text):
            read |= {b for b in bottoms if b not in tops}
            for k, t in enumerate(tops):
                self.writer[t] = self.writer[t + "@" + name] = (name, k)
        self.outputs = [t for t in self.writer if "@" not in t and t not in read]
        self.inputs = re.findall(r"""^input:\s*["']([^"']*)["']""", text, re.M) + [
            t for name, tops, bottoms in layers(text) if not bottoms for t in tops]

    def run(self, feeds, outputs):
        for name, x in feeds.items():
            self.net.setInput(x, name)
        known = set(self.net.getLayerNames())
        name = lambda o: n if (n := self.writer[o][0]) in known else o.partition("@")[0]  # OpenCV calls some by their tops
        wanted = sorted({name(o) for o in outputs})
        got = dict(zip(wanted, self.net.forwardAndRetrieve(wanted)))
        return {o: np.array(got[name(o)][self.writer[o][1]]) for o in outputs}


def difference(a, b):
    if a.size != b.size:
        return f"{a.shape} and {b.shape}"
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return 0.0 if np.array_equal(a, b, equal_nan=True) else "not finite"
    return float(np.abs(a - b).max() / (np.abs(a).max() + 1e-30)) if a.size else 0.0


def compare(case):
    rng = np.random.default_rng(5)
    original = Caffe(case["original"], case["weights"])
    feeds = {k: rng.standard_normal(v).astype(np.float32) for k, v in case["inputs"].items()}
    moved = {k: np.nextafter(v, np.where(rng.random(v.shape) < 0.5, -np.inf, np.inf).astype(np.float32)) for k, v in feeds.items()}
    outputs = [o for o in original.outputs if o not in feeds]
    want = original.run(feeds, outputs)
    again = original.run(moved, outputs)
    result = {"jitter": max([d for o in outputs if isinstance(d := difference(want[o], again[o]), float)] or [0.0]), "onnx": {}, "folded": {}}
    if case.get("onnx"):
        import onnxruntime as ort

        session = ort.InferenceSession(case["onnx"], providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs() if "int64" not in o.type]
        got = dict(zip(names, session.run(names, {i.name: feeds[i.name] for i in session.get_inputs()})))
        more = original.run(feeds, names)
        result["onnx"] = {o: difference(more[o], got[o]) for o in names}
    if case.get("folded"):
        folded = Caffe(case["folded"], case["foldedWeights"])
        outputs += [o for o in result["onnx"] if o not in outputs and o in folded.writer and "@" not in o]
        got, want = folded.run(feeds, outputs), original.run(feeds, outputs)
        result["folded"] = {o: difference(want[o], got[o]) for o in outputs}
    return result


for case in json.load(sys.stdin):
    try:
        result = compare(case)
    except Exception as e:
        result = {"error": f"{type(e).__name__}: {e}".strip().replace("\n", " ")}
    print(json.dumps(result), flush=True)
