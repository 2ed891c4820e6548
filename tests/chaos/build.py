"""Builds what the chaos suite adds to the end-to-end tests' parts. The standard library alone is used: this runs before there
is a virtual environment.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "clients"), str(HERE.parent / "e2e")]

import catalogue  # noqa: E402
import toolchain  # noqa: E402


def build_clients(folder):
    flags = ("-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w")
    toolchain.run("nice", "go", "build", *flags, "-o", folder / "clients", ".", cwd=HERE / "client", CGO_ENABLED="0")


def build_clock(folder):
    toolchain.run("cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", folder / "wall.so", HERE / "wall.c", "-ldl")


CLIENTS = toolchain.Part("chaos-clients", sorted((HERE / "client").iterdir()), ["go", "version"], build_clients)
CLOCK = toolchain.Part("chaos-clock", [HERE / "wall.c"], ["cc", "--version"], build_clock)

if __name__ == "__main__":
    parts = [toolchain.PARTS["python"], toolchain.PARTS["vault"], catalogue.client("boto3").part, CLIENTS, CLOCK]
    sys.exit(toolchain.ensure("chaos", {part.name: part for part in parts}.values()))
