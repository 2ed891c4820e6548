"""A role that doesn't trust the relay: the app is told why, no other profile suffers, and a mended trust heals it."""

import json

from harness import two_hops, wait_for
from moto_server import trust


def test_a_denied_role_answers_403_until_its_trust_is_mended(aws, start_relay):
    relay = start_relay(aws, locked=two_hops(aws, aws.locked_role_arn, "not-the-external-id"))

    status, kind, body = wait_for(
        lambda: (answer := relay.ask_for("locked"))[0] != 503 and answer,
        lambda: f"the denial reaches the endpoint\n{relay.log()[-4000:]}",
    )
    assert (status, kind) == (403, "application/json"), body
    answer = json.loads(body)
    assert answer["code"] == answer["Code"] != ""
    assert answer["message"] == answer["Message"]
    assert "sts:AssumeRole" in answer["message"]

    wait_for(lambda: relay.ask_for("payments")[0] == 200, "the other profile is served")
    assert relay.ask_admin("/startupz")[0] == 503
    assert relay.ask_admin("/livez")[0] == 200

    aws.client("iam", **aws.operator).update_assume_role_policy(
        RoleName="locked", PolicyDocument=trust(aws.hub_role_arn, "not-the-external-id")
    )
    status, kind, body = wait_for(
        lambda: (answer := relay.ask_for("locked"))[0] == 200 and answer,
        lambda: f"the mended profile is served\n{relay.log()[-4000:]}",
    )
    assert kind == "application/json"
    key = json.loads(body)["AccessKeyId"]
    assert key in {entry["access_key_id"] for entry in aws.journal("issued", role_arn=aws.locked_role_arn)}
    relay.ready()
