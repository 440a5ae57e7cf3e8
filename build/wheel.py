"""A wheel that holds the program, as pip installs it: wheel.py VERSION PROGRAM WITH_BUCKETS PLATFORM LICENCES FOLDER.

The programs go where the environment's scripts are, python -m zoofold runs the first, and onnxruntime is installed with it,
which predictions need. WITH_BUCKETS is the program with the drivers of buckets. The same programs make the same bytes: files
are as old as SOURCE_DATE_EPOCH, and sorted.
"""

import base64
import hashlib
import os
import sys
import time
import zipfile

SUMMARY = "Folds batch normalisation and other per-channel maps of trained networks into the weights beside them, and proves it"

INIT = '''"""zoofold folds per-channel maps of trained networks into their weights. It is a program: zoofold help says how it is called."""

import os
import sysconfig


def find_zoofold_bin():
    """The path of the program, in the environment or for the user alone."""
    name = "zoofold" + (sysconfig.get_config_var("EXE") or "")
    user = "nt_user" if os.name == "nt" else "osx_framework_user" if sysconfig.get_config_var("PYTHONFRAMEWORK") else "posix_user"
    for folder in (sysconfig.get_path("scripts"), sysconfig.get_path("scripts", scheme=user)):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    raise FileNotFoundError(name + " is not where pip installs programs: install zoofold again")
'''

MAIN = '''import os
import subprocess
import sys

from zoofold import find_zoofold_bin

program = find_zoofold_bin()
if os.name == "nt":
    sys.exit(subprocess.run([program, *sys.argv[1:]]).returncode)
os.execv(program, [program, *sys.argv[1:]])
'''


def main(version, program, buckets, platform, licences, folder):
    info = f"zoofold-{version}.dist-info"
    suffix = ".exe" if platform.startswith("win") else ""
    tags = "".join(f"Tag: py3-none-{p}\n" for p in platform.split("."))
    files = {
        "zoofold/__init__.py": INIT.encode(),
        "zoofold/__main__.py": MAIN.encode(),
        f"zoofold-{version}.data/scripts/zoofold{suffix}": open(program, "rb").read(),
        f"zoofold-{version}.data/scripts/zoofold-buckets{suffix}": open(buckets, "rb").read(),
        f"{info}/METADATA": (
            f"Metadata-Version: 2.3\nName: zoofold\nVersion: {version}\nSummary: {SUMMARY}\nHome-page: https://github.com/zoofold/zoofold\n"
            "License: Apache-2.0\nRequires-Python: >=3.9\nRequires-Dist: onnxruntime\nDescription-Content-Type: text/markdown\n\n"
            + open("README.md", encoding="utf-8").read()
        ).encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: zoofold\nRoot-Is-Purelib: false\n{tags}".encode(),
        f"{info}/licenses/LICENSE": open("LICENSE", "rb").read(),
        f"{info}/licenses/LICENSES": open(licences, "rb").read(),
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n" for path, data in sorted(files.items())
    )
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    when = time.gmtime(max(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), 315532800))[:6]  # ZIP files begin in 1980
    path = os.path.join(folder, f"zoofold-{version}-py3-none-{platform}.whl")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for at, data in sorted(files.items(), key=lambda f: (f[0].startswith(info), f[0])):  # the metadata last, as the format asks
            entry = zipfile.ZipInfo(at, when)
            entry.external_attr = (0o100755 if "/scripts/" in at else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            out.writestr(entry, data)
    print(path)


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
