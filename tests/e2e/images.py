"""The images that the tests run: the relay's own, by the Dockerfile that users have, and one for applications.

Run as a program it compiles what the first one is made of, which takes minutes the first time: the tests then find it done.
With an architecture and a folder it leaves that there, beside `emulated`, a program that runs the binary by QEMU.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import containers
import toolchain

ROOT = Path(__file__).resolve().parents[2]
# Machines, by what images call them.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
(ARCHITECTURE,) = (name for name, machine in MACHINES.items() if machine == os.uname().machine)
LABELS = {"VERSION": "1.2.3-test", "REVISION": 40 * "1", "SOURCE": "https://example.com/relay"}


def files(folder):
    """Compiles the relay, and gives an image with what its image is made of."""

    context = folder / "files"
    compile_relay(context / "files")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY files /files\n")
    return containers.build("files", context)


def compile_relay(folder, architecture=ARCHITECTURE, root=ROOT, **surroundings):
    """Compiles the relay by the image's own script, and lays out in a folder what the image is made of. `surroundings` are
    variables that stand in the place of the tests' own.
    """

    tools = [str(toolchain.built(name) / "bin") for name in ("zig", "auditable")]
    given = {
        **os.environ,
        "PATH": ":".join([*tools, os.environ["PATH"]]),
        "TARGETARCH": architecture,
        "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR", str(toolchain.cache() / "target")),
        "ZIG_GLOBAL_CACHE_DIR": str(toolchain.cache() / "e2e" / "zig"),
        "MUSL_RUSTFLAGS": f"--sysroot={toolchain.built(f'musl-{MACHINES[architecture]}')}",
        **surroundings,
    }
    command = [root / "deploy" / "image" / "compile", folder]
    ran = subprocess.run(command, cwd=root, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-6000:]


def relay(folder, files):
    """The context and the options that build the last stage of the Dockerfile."""

    arguments = {"BINARY": files, "TARGETARCH": ARCHITECTURE, **LABELS}
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    context = folder / "nothing"
    context.mkdir()
    # What the image is made by is a part of what it is.
    shutil.copy(ROOT / "Dockerfile", context)
    return context, *words


def application(folder):
    """An image that has nothing but an application, and the folders of the machine that its Python is in."""

    context = folder / "application"
    context.mkdir()
    shutil.copy(Path(__file__).parent / "clients" / "pod" / "app.py", context)
    python = toolchain.built("python")
    folders = [path for path in ("/usr", "/lib", "/lib64") if os.path.isdir(path)]
    folders += [path for path in (sys.base_prefix, str(python)) if not path.startswith("/usr/")]
    variables = {"PATH": f"{python}/bin", "APP_MACHINE": ":".join(folders), "PYTHONDONTWRITEBYTECODE": "1"}
    (context / "Dockerfile").write_text(
        "FROM scratch\nCOPY app.py /app.py\n"
        + "".join(f"ENV {name}={value}\n" for name, value in variables.items())
        + 'ENTRYPOINT ["python", "/app.py"]\n'
    )
    return containers.build("application", context), folders


def main():
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as nowhere:
        architecture, folder = sys.argv[1:] or (ARCHITECTURE, nowhere)
        compile_relay(Path(folder).resolve(), architecture)
        emulate(Path(folder).resolve(), MACHINES[architecture])
    print(f"e2e: the image's binary: ready in {time.monotonic() - began:.0f} s", file=sys.stderr)


def emulate(folder, machine):
    emulated = folder / "emulated"
    emulated.write_text(f'#!/bin/sh\nexec qemu-{machine}-static "{folder}/credential-relay" "$@"\n')
    emulated.chmod(0o755)


if __name__ == "__main__":
    main()
