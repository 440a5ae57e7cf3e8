"""Latency of torchvision models in eager PyTorch before and after their checkpoints are folded by preset.

    python3 build/eager.py ZOOFOLD FOLDER TABLE [MODEL ...]

FOLDER is one to work in, TABLE the file that the table is written to; without models all are measured. Weights and
statistics are random, from a fixed seed: speed does not depend on them. A model without normalisations has Identity in their
places and biases, as whoever loads the folded file writes it. One thread, one image of 224 x 224, original and folded in
turn, each the first one in every other round, medians of ROUNDS rounds after one to warm up. A folded model whose outputs
differ by more than 1e-4, relative to the largest one, ends the run.
"""

import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import torch
import torchvision
from torch import nn

MODELS = {
    "resnet18": "torchvision/resnet", "resnet50": "torchvision/resnet", "resnext50_32x4d": "torchvision/resnet",
    "mobilenet_v2": "torchvision/mobilenet_v2", "mobilenet_v3_large": "torchvision/mobilenet_v3",
    "efficientnet_b0": "torchvision/efficientnet", "efficientnet_v2_s": "torchvision/efficientnet_v2",
    "densenet121": "torchvision/densenet", "regnet_y_400mf": "torchvision/regnet", "googlenet": "torchvision/inception",
}
ROUNDS = 21


def network(name):
    torch.manual_seed(1)
    more = {"init_weights": True} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, **more).eval()
    with torch.no_grad():
        for m in norms(model).values():
            m.weight.uniform_(0.5, 1.5)
            m.bias.uniform_(-0.2, 0.2)
            m.running_mean.uniform_(-0.2, 0.2)
            m.running_var.uniform_(0.5, 1.5)
    return model


def norms(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}


def folded(name, state):
    """The model that has a folded state."""
    model = network(name)
    for key in norms(model):
        if key + ".running_var" not in state:
            parent, _, last = key.rpartition(".")
            setattr(model.get_submodule(parent), last, nn.Identity())
    own = dict(model.named_parameters())
    for key, value in state.items():
        if key.endswith(".bias") and key not in own:
            model.get_submodule(key.removesuffix(".bias")).bias = nn.Parameter(value)
    model.load_state_dict(state)
    return model


def machine():
    """What the figures were measured on."""
    try:
        found = [line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    except OSError:
        found = []
    return found[0] if found else platform.processor() or platform.machine()


def main():
    torch.set_num_threads(1)
    program, folder, table, names = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4:] or list(MODELS)
    rules = ""
    for name in names:
        preset, path = MODELS[name], folder / "zoo" / name
        path.mkdir(parents=True, exist_ok=True)
        torch.save(network(name).state_dict(), path / f"{name}.pth")
        rules += f"  - match: {name}/*.pth\n    state: {{preset: {preset}}}\n    verify: [parity, algebra]\n"
    (folder / "models.yaml").write_text(f"version: 1\nzoo: zoo\nout: out\nmodels:\n{rules}")
    subprocess.run([program, "-manifest", str(folder / "models.yaml"), "-quiet", "-force"], check=True)
    lines = [f"PyTorch {torch.__version__}, one thread of {machine()}, one image of 224 × 224, medians of {ROUNDS} rounds in turn:", "", "| model | normalisations | original, ms | folded, ms | ratio |", "|---|---:|---:|---:|---:|"]
    x = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        for name in names:
            state = torch.load(folder / "out" / name / f"{name}.pth", weights_only=True)
            before, after = network(name), folded(name, state)
            y, z = before(x), after(x)
            if not (y - z).abs().max() <= 1e-4 * y.abs().max():
                sys.exit(f"{name}: the folded model computes something else")
            times = ([], [])
            for k in range(ROUNDS + 1):
                for model, taken in sorted(zip((before, after), times), key=lambda pair: (pair[0] is after) == (k % 2 == 0)):
                    started = time.perf_counter()
                    model(x)
                    taken.append(time.perf_counter() - started)
            a, b = (1e3 * statistics.median(t[1:]) for t in times)
            lines.append(f"| {name} | {len(norms(before))} → {len(norms(after))} | {a:.1f} | {b:.1f} | {b / a:.2f} |")
            print(lines[-1], f"load {os.getloadavg()[0]:.1f}", flush=True)
    table.write_text("\n".join(lines) + "\n")


main()
