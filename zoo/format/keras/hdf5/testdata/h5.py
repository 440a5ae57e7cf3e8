"""The oracle of the tests: h5py writes files and says what is in files.

    h5.py write FOLDER         # files of many kinds into FOLDER, their contents as FILE.txt beside each
    h5.py refused FOLDER       # files that the reader has to refuse
    h5.py seeds FOLDER         # small files of all structures that are read but not written
    h5.py edit FILE            # adds to a file, and takes from it
    h5.py dump FILE ...        # FILE.txt beside each
"""

import hashlib
import json
import pathlib
import sys

import h5py
import numpy as np

VERSIONS = [("earliest", None, False), ("v108", ("v108", "v108"), False), ("v108", ("v108", "v108"), True), ("latest", "latest", False)]


def kind(dtype):
    text = h5py.check_string_dtype(dtype)
    if text and text.length is None:
        return "text"
    if h5py.check_enum_dtype(dtype):
        return "enum" + dtype.str
    return dtype.str


def elements(array, dtype):
    if kind(dtype) == "text":
        return json.dumps([e if isinstance(e, str) else e.decode("utf-8", "surrogateescape") for e in np.ravel(array)], ensure_ascii=False)
    raw = np.asarray(array).tobytes()
    return raw.hex() if len(raw) <= 64 else hashlib.sha256(raw).hexdigest()


def line(path, shape, dtype, read):
    if shape is None:
        return f"{path} {kind(dtype)} null"
    return f"{path} {kind(dtype)} {json.dumps(list(shape), separators=(',', ':'))} {elements(read(), dtype)}"


def attribute(o, name):
    a = h5py.h5a.open(o.id, name.encode())
    if a.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        return line(f"{o.name}@{name}", None, a.dtype, None)

    def read():
        if kind(a.dtype) == "text":
            return o.attrs[name]
        array = np.empty(a.shape, a.dtype)
        a.read(array)
        return array

    return line(f"{o.name}@{name}", a.shape, a.dtype, read)


def walk(o):
    yield from (attribute(o, name) for name in sorted(o.attrs))
    links = h5py.h5o.get_info(o.id).rc
    if links > 1:
        yield f"{o.name} has {links} links"
    if isinstance(o, h5py.Dataset):
        yield line(o.name, o.shape, o.dtype, lambda: o[()])
        return
    yield f"{o.name} group"
    for name in o:
        yield from walk(o[name])


def dump(path):
    with h5py.File(path) as file:
        pathlib.Path(f"{path}.txt").write_text("\n".join(sorted(walk(file))) + "\n")


def types(f):
    rng = np.random.default_rng(1)
    for code in "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 V2 V5 S7".split():
        for order in "<>":
            dtype = np.dtype(order + code)
            array = np.frombuffer(rng.bytes(12 * dtype.itemsize), dtype).reshape(3, 4)
            if code[0] == "S":
                array = np.array([b"a", b"bcdefgh", b"", b"x y"], dtype)
            f[f"{order}{code}"] = array
            f[f"{order}{code}"].attrs["array"] = array
            f.attrs[f"{order}{code}"] = array.flat[0]
    f["scalar"] = np.int64(-7)
    f["bool"] = np.array([True, False, True])
    f["enum"] = np.array([1, 5], h5py.enum_dtype({"one": 1, "five": 5}, "i4"))
    f["empty"] = np.zeros((0, 3), "f4")
    f["null"] = h5py.Empty("f4")
    f["texts"] = np.array(["a", "", "ü" * 100], dtype=object)
    f["text"] = "one"
    f["fixed"] = np.array([b"ab", b"c"])
    f["spaces"] = f["fixed"]
    for name, padding in (("nullterm", h5py.h5t.STR_NULLTERM), ("spacepad", h5py.h5t.STR_SPACEPAD)):
        t = h5py.h5t.C_S1.copy()
        t.set_size(6)
        t.set_strpad(padding)
        a = h5py.h5a.create(f.id, name.encode(), t, h5py.h5s.create_simple((2,)))
        a.write(np.array([b"abcdef", b"ghijkl"], "S6"))  # h5py does not show what fills up
    f.attrs["bool"] = True
    f.attrs["bools"] = np.array([True, False])
    f.attrs["enum"] = np.array([1, 5], h5py.enum_dtype({"one": 1, "five": 5}, "i4"))
    f.attrs["null"] = h5py.Empty("S3")
    f.attrs["nulltext"] = h5py.Empty(h5py.string_dtype())
    f.attrs["floats"] = np.array([])
    f.attrs["text"] = "häß"
    f.attrs["bytes"] = b"bytes"
    f.attrs["none"] = ""
    f.attrs["texts"] = np.array([["x", "yy"], ["", "zzz"]], dtype=object)
    f.attrs["list"] = [b"conv", b"bn"]
    f.attrs["layer_names"] = np.array([b"conv2d_1", b"batch_normalization_1"])
    f.attrs["nämé"] = np.float32(1.5)


def layouts(f):
    rng = np.random.default_rng(2)
    array = rng.normal(size=(13, 7, 5)).astype("f4")
    f["contiguous"] = array
    f.create_dataset("never", (3, 2), "i4", fillvalue=7)
    f.create_dataset("zeros", (3, 2), "f8")
    compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    compact.set_layout(h5py.h5d.COMPACT)
    d = h5py.h5d.create(f.id, b"compact", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((13, 7)), compact)
    d.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(array[:, :, 0]))
    if f.libver[0] not in ("earliest", "v108"):  # chunks are found in other ways there
        return
    for name, options in {
        "plain": {},
        "gzip": {"compression": "gzip"},
        "shuffle": {"compression": "gzip", "shuffle": True},
        "fletcher": {"fletcher32": True},
        "all": {"compression": 9, "shuffle": True, "fletcher32": True},
    }.items():
        for chunks in ((4, 3, 2), (13, 7, 5), (1, 7, 5), (5, 1, 5)):
            f.create_dataset(f"{name}{chunks[0]}", data=array, chunks=chunks, **options)
    f.create_dataset("vector", data=np.arange(1000, dtype="i2"), chunks=(64,), compression=1)
    f.create_dataset("odd", data=np.frombuffer(rng.bytes(33), "u1"), chunks=(11,), fletcher32=True)
    f.create_dataset("ones", data=np.full(40, 255, "u1"), chunks=(8,), fletcher32=True)
    f.create_dataset("zeroed", data=np.zeros((100, 100)), chunks=(10, 10), compression=1, fletcher32=True)
    d = f.create_dataset("sparse", (10, 10), "i4", chunks=(3, 3), fillvalue=-1)
    d[4:6, 4:8] = 5
    d = f.create_dataset("resized", data=np.arange(12).reshape(3, 4), maxshape=(None, 4), chunks=(8, 4))
    d.resize((5, 4))
    f.create_dataset("many", data=np.arange(40000, dtype="u4").reshape(200, 200), chunks=(4, 3))
    f.create_dataset("texts", data=[f"text {k}" for k in range(50)], chunks=(7,), compression=1)


def tree(f):
    g = f
    for k in range(30):
        g = g.create_group(f"level{k}")
        g.attrs["depth"] = k
    for k in range(3000):
        f[f"wide/{k}"] = np.int32(k)
    for k in range(300):
        f.create_group(f"groups/{k:x}")
    f["wide/nämé"] = 1
    for k in range(3000):
        f["long/" + f"{k} " * 50] = f["wide/0"]
    f["twice"] = f["wide/7"]
    f["groups/again"] = f["level0/level1"]
    f.create_group("none")


def attributes(f):
    f.attrs["model_config"] = json.dumps({"layers": ["conv"] * 300000}).encode()
    f.attrs["weight_names"] = np.array([b"kernel%06d" % k for k in range(4500)])
    f.attrs["text"] = np.array(["name %d" % k for k in range(3000)], dtype=object)
    for k in range(100):
        f.attrs[f"number {k}"] = k
    d = f.create_dataset("d", data=1.0)
    for k in range(3):
        d.attrs[f"few {k}"] = k
def large(f):  # attributes as only newer files have them
    f.attrs["large"] = np.arange(30000, dtype="i8")
    f.attrs["medium"] = np.arange(1000, dtype="i8")
    f.attrs["small"] = 1


def edited(f):
    for k in range(50):
        f[f"old {k}"] = k
        f.attrs[f"old {k}"] = "x" * k
    for k in range(0, 50, 2):
        del f[f"old {k}"]
        del f.attrs[f"old {k}"]
    for k in range(20):
        f[f"new {k}"] = k
        f.attrs[f"new {k}"] = "y" * k
        f["old 1"].attrs[f"later {k}"] = k
    f["new 3"].attrs.modify("a", 1)


CONTENTS = {"types": types, "layouts": layouts, "tree": tree, "attributes": attributes, "large": large, "edited": edited}


def write(folder):
    for name, fill in CONTENTS.items():
        for version, libver, ordered in VERSIONS:
            if name == "large" and version == "earliest" or name in ("tree", "edited") and version == "latest":
                continue
            path = folder / f"{version}_{name}{'_ordered' * ordered}.h5"
            with h5py.File(path, "w", libver=libver, track_order=ordered) as f:
                fill(f)
            dump(path)


def refused(folder):
    def file(name, fill, **options):
        with h5py.File(folder / name, "w", **options) as f:
            fill(f)

    file("compound.h5", lambda f: f.create_dataset("x", data=np.zeros(3, "c8")))
    file("reference.h5", lambda f: f.attrs.create("x", f.ref, dtype=h5py.ref_dtype))
    file("lists.h5", lambda f: f.create_dataset("x", (2,), h5py.vlen_dtype("i4")))
    file("array.h5", lambda f: f.attrs.create("x", np.zeros(2), dtype=np.dtype(("f4", (2,)))))
    file("soft link.h5", lambda f: f.__setitem__("x", h5py.SoftLink("/y")))
    file("external link.h5", lambda f: f.__setitem__("x", h5py.ExternalLink("y.h5", "/y")), libver="latest")
    file("filter.h5", lambda f: f.create_dataset("x", data=np.zeros(100), compression="lzf"))
    file("chunk index.h5", lambda f: f.create_dataset("x", data=np.zeros(100), chunks=(10,)), libver="latest")
    file("named datatype.h5", lambda f: f.__setitem__("x", np.dtype("f4")))
    file("cycle.h5", lambda f: f.create_group("x").__setitem__("up", f))
    file("in itself.h5", lambda f: f.__setitem__("x", f["/"]))
    file("elsewhere.h5", lambda f: f.create_dataset("x", (4,), "f4", external=[("raw", 0, 16)]))

    file("shared type.h5", lambda f: (f.__setitem__("t", np.dtype("f4")), f.create_dataset("a", (3,), f["t"])))


def seeds(folder):
    def fill(f):
        array = np.arange(24, dtype="f4").reshape(4, 6)
        for k in range(9):
            f[f"g/{k}"] = f["g/0"] if k else 1.5
        d = f.create_dataset("all", data=array, chunks=(2, 4), compression=9, shuffle=True, fletcher32=True)
        f.create_dataset("sparse", (4, 6), "i2", chunks=(2, 4), fillvalue=-1)[:2] = 3
        f.create_dataset("never", (3,), "i4", fillvalue=7)
        f["texts"] = ["a", "bc"]
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        h5py.h5d.create(f.id, b"compact", h5py.h5t.STD_I8LE, h5py.h5s.create_simple((3,)), compact)
        for k in range(9):
            d.attrs[f"a{k}"] = ["x", "y"] if k == 1 else k
        f.attrs["enum"] = np.array([1, 5], h5py.enum_dtype({"one": 1, "five": 5}, "i4"))
        if f.libver[0] != "earliest":
            f.attrs["huge"] = np.zeros(600)
            for k in range(9):
                f.attrs[f"a{k}"] = np.int8(k)

    for name, libver, order in ("old", None, False), ("new", ("v108", "v108"), False), ("ordered", ("v108", "v108"), True):
        with h5py.File(folder / f"{name}.h5", "w", libver=libver, track_order=order) as f:
            fill(f)
        dump(folder / f"{name}.h5")


def edit(path):
    with h5py.File(path, "a") as f:
        for name in list(f)[::2]:
            del f[name]
        for k in range(1000):
            f[f"added {k}"] = np.arange(k % 7)
        for name in list(f.attrs)[::2]:
            del f.attrs[name]
        for k in range(30):
            f.attrs[f"added {k}"] = "text" * k
        f.create_dataset("compressed", data=np.arange(1000), compression=1)


def main():
    command, arguments = sys.argv[1], [pathlib.Path(a) for a in sys.argv[2:]]
    for path in arguments:
        {"write": write, "refused": refused, "seeds": seeds, "edit": edit, "dump": dump}[command](path)


main()
