"""What the end-to-end tests and the clients' tests begin with."""

import os
import signal
from pathlib import Path

import pytest


def begin_run(target):
    """Before pytest collects: `target` is what a user runs them by."""

    # SIGTERM ends the run as ^C does: with the fixtures' own endings, so that no server outlives it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    binary = os.environ.get("RELAY_BIN", "")
    if not os.access(binary, os.X_OK) or not Path(binary).is_file():
        raise pytest.UsageError(f"RELAY_BIN ({binary!r}) is not a program: run `{target}`, or build the relay and name it")
