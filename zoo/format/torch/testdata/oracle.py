"""What PyTorch makes of programs: exports networks, and runs folded programs against the originals.

    oracle.py export FOLDER NAME…     timm architectures with random weights and statistics, from fixed seeds, as FOLDER/NAME.pt2
    oracle.py plain NAME PROGRAM      loads a folded program's state into the architecture without batch normalisations
    oracle.py judge                   for each line of standard input, a JSON list of two paths, a line of JSON about them
"""
import contextlib, io, json, logging, os, sys, warnings, zipfile

import torch

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
torch.set_num_threads(1)


def export(folder, names):
    import timm
    for name in names:
        model = timm.create_model(name, pretrained=False).eval()
        g = torch.Generator().manual_seed(1)
        normal = lambda like, mean, std: mean + std * torch.randn(like.shape, generator=g)
        for m in model.modules():
            if isinstance(m, torch.nn.modules.batchnorm._BatchNorm) and m.running_mean is not None:
                m.running_mean.copy_(normal(m.running_mean, 0, 0.1))
                m.running_var.copy_(torch.rand(m.running_var.shape, generator=g) + 0.5)
            if isinstance(m, (torch.nn.modules.batchnorm._BatchNorm, torch.nn.LayerNorm, torch.nn.GroupNorm)) and m.weight is not None:
                m.weight.data.copy_(normal(m.weight, 1, 0.35))
                m.bias.data.copy_(normal(m.bias, 0, 0.1))
        for key, p in model.named_parameters():
            p.requires_grad_(False)
            if p.ndim and any(word in key for word in ("gamma", "layer_scale", ".ls1", ".ls2", "skip_gain")):
                p.data.copy_(0.5 + torch.rand(p.shape, generator=g))
        size = model.default_cfg["input_size"][-1]
        size = size if model.default_cfg.get("fixed_input_size") else min(size, 128)
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            program = torch.export.export(model, (torch.rand(1, 3, size, size, generator=g),))
            torch.export.save(program, os.path.join(folder, name + ".pt2"))


def norms(path):
    """How many batch normalisations a program has."""
    with zipfile.ZipFile(path) as z:
        text = next(n for n in z.namelist() if n.endswith("models/model.json"))
        nodes = json.loads(z.read(text))["graph_module"]["graph"]["nodes"]
    return sum("batch_norm" in n["target"] for n in nodes)


def outputs(path, x=None):
    program = torch.export.load(path)
    if x is None and program.example_inputs:
        x = torch.rand(program.example_inputs[0][0].shape, generator=torch.Generator().manual_seed(0))
    elif x is None:
        x = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = program.module()(x.clone())
    return x, [y] if isinstance(y, torch.Tensor) else [v for v in y if isinstance(v, torch.Tensor)]


def judge(original, folded):
    x, want = outputs(original)
    _, got = outputs(folded, x)
    top = max(float(v.abs().max()) for v in want) + 1e-30
    off = max(float((v - w).abs().max()) for v, w in zip(want, got, strict=True)) / top
    return {"off": off, "before": norms(original), "after": norms(folded)}


def plain(name, path):
    """Prints how far the network without normalisations is from the program whose state it has."""
    import timm
    def strip(module):
        for key, m in module.named_children():
            if isinstance(m, torch.nn.BatchNorm2d):
                setattr(module, key, torch.nn.Identity())
            elif isinstance(m, torch.nn.Conv2d):
                setattr(module, key, torch.nn.Conv2d(m.in_channels, m.out_channels, m.kernel_size, m.stride, m.padding, m.dilation, m.groups, bias=True))
            else:
                strip(m)
    model = timm.create_model(name, pretrained=False).eval()
    strip(model)
    program = torch.export.load(path)
    model.load_state_dict(program.state_dict, strict=True)
    x, want = outputs(path)
    with torch.no_grad():
        print(float((model(x) - want[0]).abs().max() / want[0].abs().max()))


if __name__ == "__main__":
    if sys.argv[1] == "export":
        export(sys.argv[2], sys.argv[3:])
    elif sys.argv[1] == "plain":
        plain(*sys.argv[2:])
    else:
        for line in sys.stdin:
            try:
                answer = judge(*json.loads(line))
            except Exception as e:
                answer = {"error": f"{type(e).__name__}: {e}"}
            print(json.dumps(answer), flush=True)
