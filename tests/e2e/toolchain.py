"""Where the end-to-end tests' parts are kept, and how each is built.

Everything goes to ${CREDENTIAL_RELAY_CACHE:-~/.cache/credential-relay}/e2e, nothing into the checkout. A part's folder is
named after a hash of what it is built from (its pins, its sources, its compiler), so a warm run builds nothing and two
checkouts never mix. The standard library alone is used: this runs before there is a virtual environment.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import musl

HERE = Path(__file__).resolve().parent
VAULT = HERE.parent / "vault"
ANYWHERE = HERE.parent / "rolesanywhere"
KUBE = HERE.parent / "kube"
OWN_MUSL = f"musl-{os.uname().machine}"


class Failed(Exception):
    """A part that could not be built, with the output of the command that failed."""


def cache():
    chosen = os.environ.get("CREDENTIAL_RELAY_CACHE")
    return Path(chosen).resolve() if chosen else Path.home() / ".cache" / "credential-relay"


def run(*command, cwd=None, **environment):
    ran = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if ran.returncode != 0:
        words = " ".join(str(word) for word in command)
        raise Failed(f"{words}\nended with {ran.returncode}:\n{ran.stdout[-6000:]}")
    return ran.stdout


class Part:
    """One thing to build: its inputs decide its folder, `build(folder)` fills it."""

    def __init__(self, name, inputs, version, build):
        self.name = name
        self._inputs = inputs
        self._version = version
        self._build = build
        self._folder = None

    @property
    def folder(self):
        if self._folder is None:
            digest = hashlib.sha256(run(*self._version).encode())
            for path in self._inputs:
                digest.update(b"\0" + path.name.encode() + b"\0" + path.read_bytes())
            self._folder = cache() / "e2e" / f"{self.name}-{digest.hexdigest()[:16]}"
        return self._folder

    @property
    def complete(self):
        return (self.folder / ".complete").exists()

    def ensure(self):
        """Builds it if it isn't there. Returns the seconds that it took, 0 if it was there."""

        if self.complete:
            return 0
        began = time.monotonic()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with open(self.folder.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.complete:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir()
                self._build(self.folder)
                (self.folder / ".complete").touch()
        return time.monotonic() - began


def build_python(folder):
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "-r", HERE / "requirements.txt")
    run(folder / "bin" / "python", "-m", "pip", "check")


def build_server(source, program, package=".", **variables):
    """A program of thousands of packages, minutes at first: nothing else on the machine should wait for it."""

    written = " ".join(f"-X {name}={value}" for name, value in variables.items())
    flags = ("-buildvcs=false", "-trimpath", "-ldflags", f"-s -w {written}")
    run(
        *("nice", "go", "build", *flags, "-o", program, package),
        cwd=source,
        CGO_ENABLED="0",
        GOFLAGS="-mod=readonly",
        GOTOOLCHAIN="local",
    )


def build_vault(folder):
    build_server(VAULT, folder / "vault")


def pinned(module):
    return re.search(rf"^\s*{re.escape(module)} (v\S+)", (KUBE / "go.mod").read_text(), re.MULTILINE)[1]


def build_kube(folder):
    # Its own build writes the version in; without one it calls itself v0.0.0-master.
    version = {"k8s.io/component-base/version.gitVersion": pinned("k8s.io/kubernetes")}
    build_server(KUBE, folder / "kube", **version)


# Where each Helm keeps the Kubernetes that it renders for when it asks none: its own build writes that in, else it is 1.20.
HELM_KUBERNETES = {
    3: ("pkg/chartutil", "pkg/lint/rules"),
    4: ("pkg/chart/common", "pkg/chart/v2/lint/rules", "internal/version"),
}


def build_helm(folder):
    """Helm's own commands, out of the API server's module: what both are made of is compiled once."""

    major, minor = pinned("k8s.io/kubernetes").removeprefix("v").split(".")[:2]
    for helm, packages in HELM_KUBERNETES.items():
        module = f"helm.sh/helm/v{helm}"
        variables = {f"{module}/internal/version.version": pinned(module)}
        for package in packages:
            prefix = "kubeClientVersion" if package == "internal/version" else "k8sVersion"
            variables |= {f"{module}/{package}.{prefix}Major": major, f"{module}/{package}.{prefix}Minor": minor}
        build_server(KUBE, folder / f"helm{helm}", f"{module}/cmd/helm", **variables)


def build_anywhere(folder):
    # The helper's ways to keys in hardware are written in C.
    run(
        *("go", "test", "-c", "-buildvcs=false", "-trimpath", "-o", folder / "helper", "."),
        cwd=ANYWHERE,
        CGO_ENABLED="1",
        GOFLAGS="-mod=readonly",
        GOTOOLCHAIN="local",
    )


PARTS = {
    part.name: part
    for part in (
        Part(
            "python",
            [HERE / "requirements.txt"],
            [sys.executable, "-c", "import sys; print(sys.version, sys.base_prefix)"],
            build_python,
        ),
        Part(
            "vault",
            [VAULT / name for name in ("go.mod", "go.sum", "main.go", "core.go", "front.go")],
            ["go", "version"],
            build_vault,
        ),
        Part(
            "kube",
            [KUBE / name for name in ("go.mod", "go.sum", "main.go")],
            ["go", "version"],
            build_kube,
        ),
        Part(
            "helm",
            [KUBE / name for name in ("go.mod", "go.sum")],
            ["go", "version"],
            build_helm,
        ),
        Part(
            "rolesanywhere",
            [ANYWHERE / name for name in ("go.mod", "go.sum", "helper_test.go")],
            ["go", "version"],
            build_anywhere,
        ),
        Part(
            "zig",
            [musl.IMAGE / "requirements.txt"],
            [sys.executable, "-c", "import sys; print(sys.version, sys.base_prefix)"],
            lambda folder: musl.build_zig(folder, run),
        ),
        Part("auditable", [musl.IMAGE / "auditable"], ["rustc", "-vV"], lambda folder: run(musl.IMAGE / "auditable", folder)),
        *(
            Part(
                f"musl-{machine}",
                [HERE / "musl.py"],
                ["rustc", "-vV"],
                lambda folder, machine=machine: musl.build_library(folder, machine, run),
            )
            for machine in ("x86_64", "aarch64")
        ),
    )
}


def ensure(whose, parts):
    """Builds what is not there, and says so. Returns the exit code: 1 if a part cannot be built."""

    for part in parts:
        try:
            took = part.ensure()
        except (Failed, LookupError, OSError) as failure:
            print(f"{whose}: {part.name}: {failure}", file=sys.stderr)
            return 1
        print(f"{whose}: {part.name}: " + (f"built in {took:.0f} s" if took else "ready"), file=sys.stderr)
    return 0


def built(name):
    part = PARTS[name]
    if not part.complete:
        raise Failed(f"{name} is not built: run tests/e2e/prepare")
    return part.folder


def client_command(name):
    """How to run a client of tests/clients: its words, and its own variables."""

    from catalogue import client

    return client(name).run_with()


def main():
    if sys.argv[1:] == ["--python"]:
        print(PARTS["python"].folder / "bin" / "python")
        return 0
    if sys.argv[1:] == ["--vault"]:
        PARTS["vault"].ensure()
        print(PARTS["vault"].folder / "vault")
        return 0
    # Another machine's library only where it is asked for.
    wanted = sys.argv[1:] or [name for name in PARTS if not name.startswith("musl-") or name == OWN_MUSL]
    return ensure("e2e", [PARTS[name] for name in wanted if name != "vault" or not os.environ.get("VAULT_BIN")])


if __name__ == "__main__":
    sys.exit(main())
