"""IRSA, and any OIDC issuer: the relay exchanges a token in a file for a role's session, up to a call of boto3."""

import json

import pytest

import moto_web_identity as oidc
from harness import Relay, two_hops, wait_for
from identities import Issuer
from vault_world import container_client, served

NOWHERE = "http://127.0.0.1:9"
NOBODY = "arn:aws:iam::111122223333:role/hub"  # an account without the OIDC provider


class Pod:
    """What a pod with a service account has: a token file, here one for each case, and relays that read them."""

    def __init__(self, binary, folder, aws):
        self.folder, self.aws = folder, aws
        self._binary = binary
        self._issuer = Issuer(oidc.ISSUER)
        self.secrets = []
        self._relays = []

    def jwt(self, subject=oidc.SUBJECT, audience=oidc.AUDIENCE, seconds=600):
        token = self._issuer.sign(subject, audience, seconds)
        self.secrets.append(token)
        return token

    def file(self, text, name="token"):
        path = self.folder / name
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(path)
        return str(path)

    def relay(self, profiles, **more):
        folder = self.folder / f"relay-{len(self._relays)}"
        folder.mkdir()
        # The list itself: tokens that are made later are searched for too.
        started = Relay(self._binary, folder, self.aws, profiles, arguments=("--drain", "0"), **more)
        started.known_secrets = self.secrets
        self._relays.append(started)
        return started

    def stop(self):
        for relay in self._relays:
            relay.ends_well()
            assert relay.leaks() == []
            for text in [relay.log(), *relay.heard]:
                assert "eyJ" not in text, "a part of a JWT"


@pytest.fixture
def pod(binary, tmp_path, module_aws):
    made = Pod(binary, tmp_path, module_aws)
    yield made
    made.stop()


def source(aws, token_file, **more):
    return {"source": {"web_identity": {"role_arn": aws.irsa_role_arn, "token_file": token_file, **more}}}


def hub(aws):
    return two_hops(aws, aws.spoke_role_arn, aws.external_id)[:1]


def test_boto3_calls_as_the_role_with_one_hop_and_across_accounts(pod, module_aws):
    aws = module_aws
    file = pod.file(pod.jwt() + "\n")
    relay = pod.relay(
        {
            "alone": source(aws, file, session_name="of-{profile}", duration="2h"),
            "hub": {**source(aws, file), "chain": hub(aws)},
            "spoke": {**source(aws, file), "chain": two_hops(aws, aws.spoke_role_arn, aws.external_id)},
        }
    ).ready()
    for profile, identity in {
        "alone": f"arn:aws:sts::{oidc.ACCOUNT}:assumed-role/irsa/of-alone",
        "hub": f"arn:aws:sts::{aws.hub_account}:assumed-role/hub/hub-hub",
        "spoke": f"arn:aws:sts::{aws.spoke_account}:assumed-role/spoke/",
    }.items():
        found = container_client(relay, profile, f"irsa-{profile}").get_caller_identity()["Arn"]
        assert found.startswith(identity), found
        assert identity in relay.said("check", "--connect")
        document = served(relay, profile)
        assert document["AccountId"] == found.split(":")[4]
    asked = aws.journal("issued", role_arn=aws.irsa_role_arn)
    assert 7200 in {entry["asked_seconds"] for entry in asked}
    calls = [entry for entry in aws.journal("request") if entry["action"].endswith(f":{oidc.ACTION}")]
    assert {entry["access_key_id"] for entry in calls} == {None}, "it needs no credentials"


def test_the_sdks_variables_and_no_file_at_all(pod, module_aws):
    variables = {
        "CREDENTIAL_RELAY_SOURCE": "web_identity",
        "AWS_ROLE_ARN": module_aws.irsa_role_arn,
        "AWS_WEB_IDENTITY_TOKEN_FILE": pod.file(pod.jwt()),
        "AWS_ROLE_SESSION_NAME": "from-the-variable",
    }
    relay = pod.relay({"payments": {}}, variables=variables, file=False).ready()
    identity = container_client(relay, "payments", "irsa-variables").get_caller_identity()["Arn"]
    assert identity == f"arn:aws:sts::{oidc.ACCOUNT}:assumed-role/irsa/from-the-variable"

    chained = {**variables, "CREDENTIAL_RELAY_ROLE_ARN": f"{module_aws.hub_role_arn},{module_aws.spoke_role_arn}"}
    chained["CREDENTIAL_RELAY_EXTERNAL_ID"] = module_aws.external_id
    relay = pod.relay({"payments": {}}, variables=chained, file=False).ready()
    identity = container_client(relay, "payments", "irsa-chained").get_caller_identity()["Arn"]
    assert identity.startswith(f"arn:aws:sts::{module_aws.spoke_account}:assumed-role/spoke/")


def test_a_token_that_is_replaced_under_the_relay(binary, tmp_path, aws):
    """The test AWS's sessions last seconds here, so the file is read all the time."""

    pod = Pod(binary, tmp_path, aws)
    file = pod.file(pod.jwt())
    relay = pod.relay({"payments": source(aws, file)}).ready()

    def keys():
        return {entry["access_key_id"] for entry in aws.journal("issued", role_arn=aws.irsa_role_arn)}

    first = keys()
    pod.file(pod.jwt())
    wait_for(lambda: keys() - first, "a rotation with the next token")

    pod.file(pod.jwt(seconds=-30))
    trouble = wait_for(lambda: relay.status("payments")["trouble"], "the token's end is noticed")
    assert trouble["cause"] == "stale_caller", trouble
    assert "ExpiredTokenException" in trouble["reason"] and oidc.SUBJECT in trouble["reason"]
    code, _, body = wait_for(
        lambda: (answer := relay.ask_for("payments"))[0] != 200 and answer, "what was served has ended"
    )
    assert code == 503 and "ExpiredTokenException" in json.loads(body)["message"], body

    pod.file(pod.jwt())
    wait_for(lambda: relay.ask_for("payments")[0] == 200, lambda: f"it heals\n{relay.log()[-3000:]}")
    pod.stop()


def test_what_is_broken_is_told_with_what_would_be_right(pod, module_aws):
    aws = module_aws
    key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYOfSomebodyElse"
    pod.secrets.append(key)
    good = pod.file(pod.jwt())
    cases = {
        # What the endpoint answers, where to look, and words of the reason and of the fix.
        "missing": (source(aws, str(pod.folder / "nothing")), 503, "web identity token", "No such file", "mount"),
        "empty": (source(aws, pod.file("\n", "empty")), 503, "web identity token", "it is empty", "mount"),
        "garbled": (source(aws, pod.file(key, "garbled")), 503, "web identity token", "no JWT", "mount"),
        "expired": (
            source(aws, pod.file(pod.jwt(seconds=-60), "expired")),
            503,
            "web identity token",
            "400 ExpiredTokenException: Token expired",
            "subPath",
        ),
        "audience": (
            source(aws, pod.file(pod.jwt(audience="vault"), "audience")),
            503,
            "web identity token",
            "Incorrect token audience (the token is of issuer",
            "sts.amazonaws.com",
        ),
        "provider": (
            source(aws, good, role_arn=NOBODY),
            503,
            "OIDC provider",
            "No OpenIDConnect provider found",
            "create-open-id-connect-provider",
        ),
        "subject": (
            source(aws, pod.file(pod.jwt(subject="system:serviceaccount:shop:other"), "subject")),
            403,
            "trust policy",
            "for subject system:serviceaccount:shop:other, audience sts.amazonaws.com",
            "<issuer>:sub",
        ),
        "role": (
            source(aws, good, role_arn=f"{aws.irsa_role_arn}-not"),
            403,
            "trust policy",
            "403 AccessDenied: Not authorized",
            "must exist",
        ),
        "duration": (source(aws, good, duration="12h"), 403, "role", "MaxSessionDuration", "max-session-duration"),
        "nobody": (source(aws, good, endpoint=NOWHERE), 503, None, "Connection refused", "sts.endpoint"),
    }
    relay = pod.relay({"good": source(aws, good), **{name: case[0] for name, case in cases.items()}})
    wait_for(lambda: relay.ask_for("good")[0] == 200, "one that is right does not suffer")
    told = blocks(relay.said("check", "--connect"))
    for name, (_, code, layer, reason, fix) in cases.items():
        assert told[name].startswith(f"{name}: FAILED at source web_identity: "), told[name]
        assert reason in told[name] and fix in told[name], told[name]
        assert (f"layer: {layer}" in told[name]) == (layer is not None), told[name]
        trouble = wait_for(lambda: relay.status(name)["trouble"], f"{name} is in trouble")
        assert reason in trouble["reason"], trouble
        answer, _, body = wait_for(
            lambda: (found := relay.ask_for(name))[0] == code and found, lambda: f"{name}: {relay.ask_for(name)}"
        )
        assert answer == code and reason in json.loads(body)["message"], body


def blocks(text):
    """What `check --connect` says of each profile after the configuration was found right."""

    found, name = {}, None
    for line in text.partition("the configuration is right\n")[2].splitlines():
        if not line.startswith(" "):
            name = line.partition(":")[0]
        found[name] = found.get(name, "") + line + "\n"
    return found
