"""Write the node tests that the onnx package brings: python nodetests.py FOLDER

For each case NAME.onnx, the model, and NAME.json: its inputs and outputs as lists of {name, dtype, shape, data}, with ONNX's
number of the type and the elements, little endian, in base64. dtype is 0 for what is no tensor: a sequence, an optional.
"""
import base64, json, os, sys, warnings

warnings.filterwarnings("ignore")  # the cases overflow and divide by zero on purpose
import numpy, onnx
from onnx.backend.test.case.node import collect_testcases


def described(info, value):
    entry = {"name": info.name, "dtype": 0, "shape": [], "data": ""}
    if isinstance(value, onnx.TensorProto):
        value = onnx.numpy_helper.to_array(value)
    if info.type.HasField("tensor_type") and not isinstance(value, list) and value is not None:
        value = numpy.asarray(value)
        entry["shape"] = list(value.shape)
        if value.dtype.kind in "?biufc" or value.dtype.name == "bfloat16":
            entry["dtype"] = info.type.tensor_type.elem_type
            entry["data"] = base64.b64encode(numpy.ascontiguousarray(value).tobytes()).decode()
    return entry


def main(folder):
    os.makedirs(folder, exist_ok=True)
    for case in collect_testcases(None):
        path = os.path.join(folder, case.name)
        onnx.save(case.model, path + ".onnx")
        (inputs, outputs), graph = case.data_sets[0], case.model.graph
        sides = {"inputs": list(map(described, graph.input, inputs)), "outputs": list(map(described, graph.output, outputs))}
        with open(path + ".json", "w") as f:
            json.dump(sides, f)


main(sys.argv[1])
