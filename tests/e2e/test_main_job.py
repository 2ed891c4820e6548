"""The main job: six SDKs, with nothing but the standard variables, sign calls across rotations and never see a failure.

What happened is read from the test AWS's journal, not from what the relay or the clients say of themselves.
"""

import time

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from harness import SESSION_SECONDS, Clients

KEYS = 4
CLIENTS = ["awscli", "boto3", "go", "java", "javascript", "rust"]


def test_every_sdk_signs_through_rotations_without_a_failed_call(aws, start_relay, tmp_path):
    began = time.time()
    relay = start_relay(aws).ready()
    clients = Clients(relay, "payments", tmp_path)
    clients.wait(seconds=100)
    took = time.time() - began

    assert sorted(clients.keys) == CLIENTS
    spoke_keys = {entry["access_key_id"] for entry in aws.journal("issued", role_arn=aws.spoke_role_arn)}
    expiries = aws.expiries()
    for name, printed in clients.keys.items():
        calls = aws.calls_by(f"e2e-{name}")
        used = {call["access_key_id"] for call in calls}
        assert len(used) >= KEYS, f"{name} used {len(used)} keys in {len(calls)} calls"
        assert used == set(printed), f"{name} says that it used {printed}, the journal {used}"
        assert used <= spoke_keys, f"{name} used a key that is not of the spoke role"
        assert {call["action"] for call in calls} == {"sts:GetCallerIdentity"}
        assert [call for call in calls if call["status"] != 200] == [], f"{name} had a call refused"
        late = [call for call in calls if call["at"] >= expiries[call["access_key_id"]]]
        assert late == [], f"{name} used a key that had expired"
        prefix = f"arn:aws:sts::{aws.spoke_account}:assumed-role/spoke/"
        assert clients.identities[name].startswith(prefix), f"{name} is {clients.identities[name]}"

    # One session of each role per rotation, however many requests: a rotation is due after 0.4 of a lifetime at the earliest.
    rotations = took / (0.4 * (SESSION_SECONDS - 1)) + 1
    for role in (aws.hub_role_arn, aws.spoke_role_arn):
        issued = [entry for entry in aws.journal("issued", role_arn=role) if entry["at"] >= began]
        assert len(issued) <= rotations, f"{len(issued)} sessions of {role} in {took:.0f} s"

    assert relay.ask_admin("/readyz")[0] == 200
    assert relay.ask_admin("/livez")[0] == 200
    status, kind, text = relay.ask_admin("/metrics")
    assert status == 200
    parse = parse_openmetrics if "openmetrics" in kind else parse_text
    assert [family for family in parse(text) if family.samples], text

    exit_code, seconds = relay.stop()
    assert exit_code == 0, f"SIGTERM: ended with {exit_code} in {seconds:.1f} s"
