#!/usr/bin/env python3
"""Builds the Python package `millstream`: a wheel with the compiled extension and program, and the modules in host/python.

    scripts/wheel.py PROGRAM EXTENSION DIR

PROGRAM is the built `millstream`, EXTENSION `libmillstream_python.so`, DIR the directory for the wheel. Prints the path of the wheel.
maturin is not used: it would build the extension's libraries a second time, with features that differ from the program's.
"""

import base64
import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "host" / "python" / "millstream"
# A fixed timestamp, the oldest that zip supports, so that the same build produces the same wheel.
TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def version() -> str:
    workspace = (ROOT / "Cargo.toml").read_text(encoding="utf-8").split("[workspace.package]")[1]
    return re.search(r'^version = "([^"]+)"', workspace, re.MULTILINE).group(1)


def machine_of(file: Path) -> str:
    """The architecture of an ELF file."""
    if platform.system() != "Linux":
        return platform.machine()
    head = file.read_bytes()[:20]
    machines = {62: "x86_64", 183: "aarch64"}
    return machines.get(int.from_bytes(head[18:20], "little")) or sys.exit(f"wheel: {file} is for an unsupported architecture")


def tool(name: str, file: Path) -> str:
    """The name of a binutils program for the architecture of the file."""
    machine = machine_of(file)
    return name if machine == platform.machine() else f"{machine}-linux-gnu-{name}"


def stripped(file: Path, to: Path) -> bytes:
    subprocess.run([tool("strip", file), "-o", to, file], check=True)
    return to.read_bytes()


def tag_of(files: list[Path]) -> str:
    """The platform tag (PEP 600): the newest glibc version that the files need. Fails if they need libraries that a platform may lack."""
    machine = machine_of(files[0])
    if platform.system() != "Linux":
        return f"cp311-abi3-{platform.system().lower()}_{machine}"
    newest, allowed = (2, 17), {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
    for file in files:
        headers = subprocess.run([tool("objdump", file), "-p", file], check=True, capture_output=True, text=True).stdout
        others = set(re.findall(r"NEEDED +(\S+)", headers)) - allowed
        if others:
            sys.exit(f"wheel: {file} needs {', '.join(sorted(others))}, which other machines may lack")
        versions = ((int(major), int(minor)) for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", headers))
        newest = max(newest, *versions)
    return f"cp311-abi3-manylinux_{newest[0]}_{newest[1]}_{machine}"


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    program, extension, directory = (Path(argument) for argument in sys.argv[1:])
    name = f"millstream-{version()}"
    tag = tag_of([program, extension])
    info = f"{name}.dist-info"
    files: dict[str, bytes] = {}
    for source in sorted(SOURCES.iterdir()):
        if source.suffix in (".py", ".pyi", ".typed"):
            files[f"millstream/{source.name}"] = source.read_bytes()
    with tempfile.TemporaryDirectory() as scratch:
        files["millstream/_native.abi3.so"] = stripped(extension, Path(scratch, "extension"))
        files["millstream/bin/millstream"] = stripped(program, Path(scratch, "program"))
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: millstream\nVersion: {version()}\n"
        "Summary: A stream processor whose user code is WebAssembly: its plugins and jobs in Python\n"
        "License: Apache-2.0\nRequires-Python: >=3.11\nDescription-Content-Type: text/markdown\n\n"
    ).encode() + (ROOT / "docs" / "how-to" / "use-plugins-in-python.md").read_bytes()
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: millstream ({version()})\nRoot-Is-Purelib: false\nTag: {tag}\n"
    ).encode()
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nmillstream = millstream._program:main\n"
    files[f"{info}/licenses/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    record = []
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record.append(f"{path},sha256={digest},{len(content)}")
    files[f"{info}/RECORD"] = ("\n".join([*record, f"{info}/RECORD,,"]) + "\n").encode()
    directory.mkdir(parents=True, exist_ok=True)
    wheel = directory / f"{name}-{tag}.whl"
    part = wheel.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=int(os.environ.get("WHEEL_LEVEL", "6"))) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, TIMESTAMP)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if path.startswith("millstream/bin/") else 0o100644) << 16
            archive.writestr(entry, content)
    part.replace(wheel)
    print(wheel)


if __name__ == "__main__":
    main()
