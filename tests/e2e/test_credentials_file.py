"""The credentials file: what a program sees that has nothing else, and that nothing stays in it."""

import re
import subprocess
import sys

from harness import SESSION_SECONDS, TestAws, environment, spawn, two_hops, wait_for

# As a program does that starts often: each session reads the file again.
READER = """
import sys, time
import boto3
keys, deadline = [], time.monotonic() + 60
while len(keys) < 3 and time.monotonic() < deadline:
    session = boto3.session.Session()
    key = session.get_credentials().access_key
    session.client("sts").get_caller_identity()
    if key not in keys:
        keys.append(key)
        print(session.get_credentials().method, key, flush=True)
    time.sleep(0.2)
sys.exit(0 if len(keys) == 3 else "too few keys")
"""


def with_file(aws, tmp_path, **more):
    path = tmp_path / "shared" / "credentials"
    path.parent.mkdir(exist_ok=True)
    base = {"source": {"file": {"path": str(tmp_path / "relay-0" / "base.json")}}}
    chain = two_hops(aws, aws.spoke_role_arn, aws.external_id)
    return path, {**base, "chain": chain, "credentials_file": {"path": str(path), **more}}


def test_boto3_reads_it_through_two_rotations_and_it_goes_with_the_relay(aws, start_relay, tmp_path):
    path, profile = with_file(aws, tmp_path)
    relay = start_relay(aws, filed=profile)
    wait_for(path.exists, lambda: f"the file is there\n{relay.log()[-4000:]}")
    assert path.stat().st_mode & 0o777 == 0o600
    home = tmp_path / "home"
    home.mkdir()
    given = environment(
        home,
        AWS_SHARED_CREDENTIALS_FILE=str(path),
        AWS_DEFAULT_REGION=aws.region,
        AWS_ENDPOINT_URL_STS=aws.endpoint,
        AWS_SDK_UA_APP_ID="e2e-file",
    )
    reader = spawn([sys.executable, "-c", READER], given, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = reader.communicate(timeout=90)
    assert reader.returncode == 0, errors + relay.log()[-4000:]
    assert {line.split()[0] for line in output.splitlines()} == {"shared-credentials-file"}
    calls = aws.calls_by("e2e-file")
    assert {call["status"] for call in calls} == {200}
    issued = {entry["access_key_id"] for entry in aws.journal("issued", role_arn=aws.spoke_role_arn)}
    assert {line.split()[1] for line in output.splitlines()} <= issued
    exit_code, _ = relay.stop()
    assert exit_code == 0
    assert list(path.parent.iterdir()) == []


def test_what_has_expired_is_taken_away(start_relay, tmp_path):
    folder = tmp_path / "aws"
    folder.mkdir()
    aws = TestAws(folder, SESSION_SECONDS)
    try:
        path, profile = with_file(aws, tmp_path, section="app")
        relay = start_relay(aws, filed=profile)
        wait_for(path.exists, lambda: f"the file is there\n{relay.log()[-4000:]}")
        assert re.search(r"^\[app\]$", path.read_text(), re.MULTILINE)
    finally:
        aws.stop()
    wait_for(lambda: not path.exists(), lambda: f"the file is gone\n{relay.log()[-4000:]}")
    assert relay.ask_for("filed")[0] == 503


def test_a_file_of_somebody_elses_is_kept(calm_aws, start_relay, tmp_path):
    path, profile = with_file(calm_aws, tmp_path)
    relay = start_relay(calm_aws, filed=profile)
    wait_for(path.exists, "the file is there")
    # Somebody puts a file of their own there while the relay runs.
    path.unlink()
    own = "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n"
    path.write_text(own)
    rotated = relay.command("rotate", "filed")
    assert rotated.wait(30) == 0, rotated.stderr.read()
    wait_for(lambda: "was not written by credential-relay" in relay.log(), "it is told")
    assert relay.stop()[0] == 0
    assert path.read_text() == own
