"""The commands beside `serve`, against a relay that runs."""

import json
import re

import toolchain
from harness import call_once, environment


def test_get_asks_the_relay_and_never_aws(calm_aws, start_relay):
    relay = start_relay(calm_aws).ready()
    served = json.loads(relay.ask_for("payments")[2])
    before = len(calm_aws.journal("request"))

    # Each waits 5 s for the relay: more at a time could be kept waiting by one another.
    for _ in range(10):
        asked = [relay.command("get", "payments", "--format", "process") for _ in range(10)]
        answers = [(process.communicate(timeout=60), process.returncode) for process in asked]
        for (output, errors), exit_code in answers:
            assert exit_code == 0, errors
            document = json.loads(output)
            assert document["Version"] == 1
            assert document["AccessKeyId"] == served["AccessKeyId"]
            assert document["SecretAccessKey"] == served["SecretAccessKey"]
            assert document["SessionToken"] == served["Token"]
            assert document["Expiration"] == served["Expiration"]
            relay.heard.append(errors)
    assert len(calm_aws.journal("request")) == before, "get called AWS"


def test_boto3_works_through_a_credential_process(calm_aws, start_relay, tmp_path):
    relay = start_relay(calm_aws).ready()
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "config").write_text(
        "[profile payments]\n"
        f'credential_process = "{relay.binary}" get payments --config "{relay.config}" --format process\n'
    )
    command, more = toolchain.client_command("boto3")
    given = environment(
        home,
        AWS_PROFILE="payments",
        AWS_DEFAULT_REGION=calm_aws.region,
        AWS_ENDPOINT_URL_STS=calm_aws.endpoint,
        AWS_SDK_UA_APP_ID="e2e-process",
        **more,
    )
    assert f"arn:aws:sts::{calm_aws.spoke_account}:assumed-role/spoke/" in call_once(command, given)["arn"]
    (call,) = calm_aws.calls_by("e2e-process")
    assert call["status"] == 200
    assert call["access_key_id"] == json.loads(relay.ask_for("payments")[2])["AccessKeyId"]


def test_check_connect_names_the_identity_that_apps_get(calm_aws, start_relay):
    relay = start_relay(calm_aws).ready()
    output = relay.said("check", "--connect", exit_code=0)
    assert re.search(rf"arn:aws:sts::{calm_aws.spoke_account}:assumed-role/spoke/\S+", output), output
