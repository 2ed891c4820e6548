"""Pods whose permissions are those of the node, from EC2's metadata service, through the relay."""

import pytest

from agents import NOBODY, NODE_ROLE, Metadata, World, checked, next_key_of, relay_at, served, troubles
from harness import wait_for


@pytest.fixture(scope="module")
def world(module_aws):
    return World(module_aws)


def profile(service, **more):
    return {"source": {"imds": {"endpoint": service.address}}, **more}


def identity(world, name):
    return f"arn:aws:sts::{world.aws.spoke_account}:assumed-role/{name}/"


def test_the_node_serves_a_pod_and_is_the_base_of_a_chain(binary, world, tmp_path):
    with Metadata(world) as service:
        profiles = {"direct": profile(service), "hopped": profile(service, chain=[{"role_arn": world.target}])}
        with relay_at(binary, tmp_path / "relay", world.aws, profiles) as relay:
            relay.ready()
            document = served(relay, "direct")
            assert document["AccessKeyId"] == service.document["AccessKeyId"]
            assert document["Expiration"] == service.document["Expiration"]
            assert relay.called_as("direct", tmp_path).startswith(identity(world, "pod"))
            assert relay.called_as("hopped", tmp_path).startswith(identity(world, "target"))
            said, _ = checked(relay)
            assert identity(world, "pod") in said["direct"]
            assert identity(world, "target") in said["hopped"]
            metrics = relay.ask_admin("/metrics")[2]
            for operation in ("token", "role", "credentials"):
                labels = f'profile="direct",upstream="imds",operation="{operation}",result="success"'
                assert f"credential_relay_upstream_calls_total{{{labels}}} 1" in metrics
            relay.known_secrets += service.tokens


def test_the_service_renews_and_its_tokens_die(binary, world, tmp_path):
    with Metadata(world, seconds=30) as service:
        with relay_at(binary, tmp_path / "relay", world.aws, {"node": profile(service)}) as relay:
            first = served(relay, "node")["AccessKeyId"]
            relay.known_secrets += service.tokens
            # The instance was stopped and started: no token of before is good.
            service.tokens.clear()
            service.renew()
            _, statuses = next_key_of(relay, "node", first)
            assert statuses == {200}
            assert len(service.puts()) == 2
            relay.known_secrets += service.tokens


def test_what_has_ended_is_not_served_and_what_is_valid_is(binary, world, tmp_path):
    with Metadata(world, seconds=45) as service:
        with relay_at(binary, tmp_path / "relay", world.aws, {"node": profile(service)}) as relay:
            first = served(relay, "node")
            service.mode = "degraded"
            trouble = troubles(relay, ["node"])["node"]
            assert trouble["cause"] == "transient"
            assert "degraded: the metadata service still hands out credentials" in trouble["reason"]
            assert served(relay, "node") == first
            relay.known_secrets += service.tokens
            wait_for(lambda: relay.ask_for("node")[0] == 503, "nothing is served past its end")


MODES = {
    "hop-limit": ("unreachable", "never answered", "hop limit", "--http-put-response-hop-limit 2"),
    "disabled": ("denied", "the metadata service is disabled", "metadata options", "--http-endpoint enabled"),
    "no-profile": ("not_configured", "no instance profile is attached", "instance profile", "associate-iam-instance-profile"),
    "untrusted": ("denied", f"EC2 may not assume the role {NODE_ROLE}", "instance profile", "ec2.amazonaws.com"),
    "degraded": ("transient", "degraded: ", "metadata service", "static stability"),
    "unreachable": ("unreachable", "refused", "address", "NetworkPolicy"),
}


def test_each_failure_is_explained_and_nothing_is_served(binary, world, tmp_path):
    services = {mode: Metadata(world) for mode in MODES if mode != "unreachable"}
    for mode, service in services.items():
        service.mode = mode
    profiles = {mode: profile(services.get(mode, NOBODY)) for mode in MODES}
    try:
        with relay_at(binary, tmp_path / "relay", world.aws, profiles) as relay:
            found = troubles(relay, MODES)
            said, output = checked(relay)
            for name, (cause, reason, layer, fix) in MODES.items():
                assert found[name]["cause"] == cause, found[name]
                assert reason in found[name]["reason"], found[name]
                assert "FAILED at source imds" in said[name] and reason in said[name], output
                assert f"layer: {layer}\n" in said[name] and fix in said[name], output
                assert relay.ask_for(name)[0] in (403, 503)
            relay.known_secrets += [token for service in services.values() for token in service.tokens]
    finally:
        for service in services.values():
            service.__exit__()
