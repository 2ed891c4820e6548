"""The image's binary for arm64, on a machine of another kind: what it is, and that it serves. RELAY_BIN runs it by QEMU.

No part of `make test`: `make arm64` names this file, and with it others' tests that need nothing but such a relay.
"""

import json
import subprocess

from harness import Relay
from test_image import IMAGE_LIMIT, needs_nothing, package

KEYS = {
    "Version": 1,
    "AccessKeyId": "ASIAEXAMPLEOFATEST00",
    "SecretAccessKey": "of-a-test-and-of-nothing-else",
    "SessionToken": "a-session-token-of-a-test",
    "Expiration": "2099-01-01T00:00:00Z",
}


def ran(binary, *words):
    return subprocess.run([binary, *words], capture_output=True, text=True, check=True, timeout=60).stdout


def test_it_is_made_for_arm64_and_needs_nothing(binary):
    files = binary.parent
    assert "AArch64" in needs_nothing(files / "credential-relay")
    sizes = {path.name: path.stat().st_size for path in files.iterdir() if path.is_file() and path != binary}
    print(sizes)
    assert sum(sizes.values()) <= IMAGE_LIMIT


def test_it_says_what_it_is(binary):
    assert ran(binary, "--version").split() == ["credential-relay", package()["version"]]


def test_it_serves_and_its_health_check_runs(binary, calm_aws, tmp_path):
    base = tmp_path / "session.json"
    base.write_text(json.dumps(KEYS))
    profiles = {"payments": {"source": {"file": {"path": str(base)}}}}
    relay = Relay(binary, tmp_path, calm_aws, profiles, secrets=[KEYS["SecretAccessKey"], KEYS["SessionToken"]])
    try:
        relay.ready()
        relay.said("check", exit_code=0)
        relay.said("healthcheck", exit_code=0)
        status, _, body = relay.ask_for("payments")
        assert status == 200
        served = json.loads(body)
        given = {"Version": 1, "SessionToken": served["Token"], **{name: served[name] for name in served if name in KEYS}}
        assert given == KEYS
        assert relay.ask("/v1/credentials/payments", Authorization="of-nobody")[0] == 401
    finally:
        exit_code, _ = relay.stop()
    assert exit_code == 0, relay.log()[-4000:]
    assert relay.leaks() == []
