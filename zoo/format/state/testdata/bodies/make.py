"""Makes graph.onnx, a graph with a branch and a function, and both.ckpt, two state dicts of it: needs onnx and torch."""
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

draw = np.random.RandomState(1)
OPSET = helper.make_opsetid("", 17)


def parameters(k, inputs, kernel):
    shapes = {f"conv{k}.weight": (4, inputs, kernel, kernel), f"conv{k}.bias": (4,)}
    shapes |= {f"bn{k}.{part}": (4,) for part in ("weight", "bias", "running_mean", "running_var")}
    return {n: (draw.rand(*s) + (0.5 if n.endswith("_var") else -0.5)).astype(np.float32) for n, s in shapes.items()}


def conv_norm(k, x, y, **attrs):
    norm = [f"bn{k}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    return [helper.make_node("Conv", [x, f"conv{k}.weight", f"conv{k}.bias"], [y + "_conv"], name=f"node_conv{k}", **attrs),
            helper.make_node("BatchNormalization", [y + "_conv", *norm], [y], name=f"node_bn{k}", epsilon=1e-3)], norm


def value(name, kind=TensorProto.FLOAT, shape=(1, 4, 8, 8)):
    return helper.make_tensor_value_info(name, kind, shape)


state = parameters(1, 3, 3) | parameters(2, 4, 1) | parameters(3, 4, 1)
then = helper.make_graph(conv_norm(2, "a", "then")[0], "then", [], [value("then")])
other = helper.make_graph([helper.make_node("Relu", ["a"], ["else"], name="node_relu")], "else", [], [value("else")])
block = helper.make_function("local", "Block", ["x", "w", "b", "g", "h", "m", "v"], ["y"], [
    helper.make_node("Conv", ["x", "w", "b"], ["c"]),
    helper.make_node("BatchNormalization", ["c", "g", "h", "m", "v"], ["y"], epsilon=1e-3)], [OPSET])
nodes = conv_norm(1, "x", "a", pads=[1, 1, 1, 1])[0] + [
    helper.make_node("If", ["cond"], ["i"], name="node_if", then_branch=then, else_branch=other),
    helper.make_node("Block", ["i", "conv3.weight", "conv3.bias", *conv_norm(3, "i", "y")[1]], ["y"], domain="local", name="node_block")]
graph = helper.make_graph(nodes, "graph", [value("x", shape=(1, 3, 8, 8)), value("cond", TensorProto.BOOL, ())], [value("y")],
                          [numpy_helper.from_array(a, n) for n, a in state.items()])
model = helper.make_model(graph, functions=[block], opset_imports=[OPSET, helper.make_opsetid("local", 1)], ir_version=9)
onnx.checker.check_model(model)
onnx.save(model, "graph.onnx")
torch.save({name: {n: torch.from_numpy(a * np.float32(scale)) for n, a in state.items()} for name, scale in (("model", 1.1), ("ema", 0.9))}, "both.ckpt")
