"""Compiles the image's binary once more, somewhere else, and compares: the same bytes must come out.

The first binary is the one that the tests have compiled already. The second one is compiled from a copy of what the image is made
of, in another folder, by another home, time zone and umask, into another target folder, and with Zig's own cache empty. What
was compiled there is also what the SBOM must name, no crate more and none less.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import images

# What .dockerignore lets through.
CONTEXT = ("Cargo.toml", "Cargo.lock", "deploy/image", "relay", "listener")
MACHINE = images.MACHINES[images.ARCHITECTURE]


def copy_sources(into):
    for name in CONTEXT:
        source, copy = images.ROOT / name, into / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy)
        else:
            shutil.copy(source, copy)


def other_surroundings(folder):
    """Variables under which little is as it was. The crates that were fetched are the same, by another path."""

    home = Path.home()
    cargo = Path(os.environ.get("CARGO_HOME", home / ".cargo"))
    (folder / "home" / "cargo").mkdir(parents=True)
    for name in ("registry", "config.toml", "config"):
        if (cargo / name).exists():
            (folder / "home" / "cargo" / name).symlink_to(cargo / name)
    return {
        "HOME": str(folder / "home"),
        "CARGO_HOME": str(folder / "home" / "cargo"),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
        "CARGO_TARGET_DIR": str(folder / "made"),
        "ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"),
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "C",
    }


def compiled(folder):
    """The crates that were compiled for the image, as their files are called."""

    deps = folder / "made" / f"{MACHINE}-unknown-linux-musl" / "release" / "deps"
    return {path.name.removeprefix("lib").rsplit("-", 1)[0] for path in deps.glob("lib*.rlib")}


def named():
    """The crates that the SBOM says are in the binary, as their files are called."""

    given = {**os.environ, "TARGETARCH": images.ARCHITECTURE}
    told = subprocess.run([images.ROOT / "deploy/image/sbom"], env=given, stdout=subprocess.PIPE, check=True).stdout
    document = json.loads(told)
    parts = [document["metadata"]["component"], *document["components"]]
    crates = {(part["name"], part["version"]) for part in parts if part["purl"].startswith("pkg:cargo/") and "scope" not in part}
    return {library(package) for package in packages() if (package["name"], package["version"]) in crates}


def packages():
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    told = subprocess.run(command, cwd=images.ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout
    return json.loads(told)["packages"]


def library(package):
    (name,) = (target["name"] for target in package["targets"] if {"lib", "rlib"} & set(target["kind"]))
    return name.replace("-", "_")


def where(first, second):
    """Where two binaries differ, for whoever must find out why."""

    at = next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
    return f"{len(first)} and {len(second)} bytes, other from {at:#x} on: {first[at : at + 40]!r} and {second[at : at + 40]!r}"


def main():
    with tempfile.TemporaryDirectory(prefix="credential-relay-again-") as temporary:
        folder = Path(temporary).resolve()
        images.compile_relay(folder / "first")
        began = time.monotonic()
        copy_sources(folder / "a" / "copy")
        os.umask(0o077)
        images.compile_relay(folder / "second", root=folder / "a" / "copy", **other_surroundings(folder))
        took = time.monotonic() - began
        first, second = ((folder / each / "credential-relay").read_bytes() for each in ("first", "second"))
        in_build, in_sbom = compiled(folder), named()
    for binary in (first, second):
        print(hashlib.sha256(binary).hexdigest(), len(binary), "bytes")
    if first != second:
        sys.exit(f"not reproducible: {where(first, second)}")
    if in_build != in_sbom:
        sys.exit(f"compiled and not in the SBOM: {in_build - in_sbom}; in the SBOM and not compiled: {in_sbom - in_build}")
    print(f"reproducible: compiled again in {took:.0f} s, byte by byte the same; the SBOM names its {len(in_build)} crates")


if __name__ == "__main__":
    main()
