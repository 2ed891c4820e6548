"""Podman as the tests use it: an image store of their own below the cache, images that are built once, containers that end.

Debian's podman with runc and cgroupfs, as root: what runs on a machine without systemd and without a registry.
"""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import toolchain
from harness import end_with_parent, environment, wait_for

RUNTIME = ["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"]
# A label: the process of the test run.
OWNER = "credential-relay.test-run"
# The engine's own defaults are above what this machine may have.
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]


def podman(*words):
    """The command line of podman with the tests' own store."""

    store = toolchain.cache() / "e2e" / "containers"
    return ["podman", *RUNTIME, "--root", str(store), "--runroot", "/run/credential-relay-e2e", *map(str, words)]


def run(*words, check=True):
    """Runs podman to its end."""

    ran = subprocess.run(
        podman(*words), env=environment("/root"), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert not check or ran.returncode == 0, f"podman {' '.join(map(str, words))}: {ran.returncode}\n{ran.stderr[-4000:]}"
    return ran


def start(words, output):
    """`podman run` in the foreground: its process hands signals to the container, and ends with its exit code."""

    return subprocess.Popen(
        podman("run", "--label", f"{OWNER}={os.getpid()}", *LIMITS, *words),
        env=environment("/root"),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        preexec_fn=end_with_parent,
    )


def sweep():
    """Removes the containers of test runs that were killed: unlike all else that tests start, a container outlives that."""

    ask = ["ps", "--all", "--format", "json"]
    # Where one is removed as they are listed, the engine may fail.
    listed = wait_for(lambda: (ran := run(*ask, check=False)).returncode == 0 and ran, lambda: run(*ask).stdout, 30)
    for container in json.loads(listed.stdout or "[]"):
        owner = (container["Labels"] or {}).get(OWNER, "")
        if owner and not Path(f"/proc/{owner}").exists():
            run("rm", "--force", "--time", 0, container["Id"], check=False)


def inspect(image):
    """What the store says of an image."""

    (found,) = json.loads(run("image", "inspect", image).stdout)
    return found


def build(name, context, *options):
    """Builds an image. Its tag is of what it is made of, so a second time costs nothing, and other checkouts have their own."""

    context = Path(context)
    digest = hashlib.sha256(json.dumps(list(map(str, options))).encode())
    for path in sorted(context.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"\0{path.relative_to(context)}\0{path.lstat().st_mode}\0".encode() + content)
    image = f"localhost/{name}:{digest.hexdigest()[:16]}"
    if run("image", "exists", image, check=False).returncode != 0:
        build_anew(image, context, *options)
    return image


def build_anew(image, context, *options):
    run("build", "--pull=never", "--format", "docker", "--timestamp", 0, "--tag", image, *options, context)
