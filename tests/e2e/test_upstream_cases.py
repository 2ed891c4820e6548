"""The embedded STS passes the same cases as moto: `cargo test` runs them against the one, this against the other."""

import os
import subprocess
from pathlib import Path


def test_moto_passes_the_cases_of_the_embedded_sts(calm_aws):
    ran = subprocess.run(
        ["cargo", "test", "--locked", "--test", "upstream_moto"],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "MOTO": calm_aws.described},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-8000:]
    assert "2 passed" in ran.stdout
