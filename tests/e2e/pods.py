"""Tests in a network of their own, as a pod has it: its loopback is the address of the metadata service too."""

import inspect
import os
import subprocess
import sys

INSIDE = "CREDENTIAL_RELAY_TEST_POD"
METADATA_SERVICE = "169.254.169.254"


def in_a_pod(test):
    """Runs the test again by itself, in network and mount namespaces that end with it, and fails if it fails there."""

    if INSIDE in os.environ:
        return test

    def outside():
        here = f"{inspect.getfile(test)}::{test.__name__}"
        rootless = [] if os.geteuid() == 0 else ["--map-root-user"]
        setup = f'ip link set lo up && ip addr add {METADATA_SERVICE}/32 dev lo && exec "$@"'
        command = ["unshare", "--net", "--mount", *rootless, "sh", "-euc", setup, "sh"]
        command += [sys.executable, "-m", "pytest", "-q", "--no-header", here]
        ran = subprocess.run(
            command,
            env={**os.environ, INSIDE: "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert ran.returncode == 0 and "1 passed" in ran.stdout, ran.stdout[-8000:]

    outside.__name__, outside.__doc__ = test.__name__, test.__doc__
    return outside
