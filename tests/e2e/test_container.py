"""Pods whose permissions come from EKS Pod Identity's agent or ECS's, through the relay."""

import json

import pytest

from agents import NOBODY, Ecs, PodIdentity, World, checked, next_key_of, relay_at, served, troubles
from harness import environment, spawn
from identities import Issuer

AUDIENCE = "pods.eks.amazonaws.com"
SUBJECT = "system:serviceaccount:shop:payments"


@pytest.fixture(scope="module")
def world(module_aws):
    return World(module_aws)


@pytest.fixture
def jwt_file(tmp_path):
    """A pod's token as EKS mounts it, and who signs others."""

    file = tmp_path / "eks-pod-identity-token"
    file.write_text(Issuer().service_account("shop", "payments", audience=AUDIENCE))
    return file


def profile(agent, token_file=None, path="/v1/credentials", **more):
    given = {"token_file": str(token_file)} if token_file else {}
    return {"source": {"container": {"uri": agent.address + path, **given}}, **more}


def identity(world, name):
    return f"arn:aws:sts::{world.aws.spoke_account}:assumed-role/{name}/"


def test_pod_identity_serves_a_pod_and_is_the_base_of_a_chain(binary, world, jwt_file, tmp_path):
    with PodIdentity(world, {SUBJECT}) as agent:
        hop = {"role_arn": world.target, "duration": "15m"}
        profiles = {"direct": profile(agent, jwt_file), "hopped": profile(agent, jwt_file, chain=[hop])}
        with relay_at(binary, tmp_path / "relay", world.aws, profiles, secrets=[jwt_file.read_text()]) as relay:
            relay.ready()
            document = served(relay, "direct")
            assert document["AccessKeyId"] == agent.document["AccessKeyId"]
            assert document["Expiration"] == agent.document["Expiration"]
            assert document["AccountId"] == world.aws.spoke_account
            assert relay.called_as("direct", tmp_path).startswith(identity(world, "pod"))
            assert relay.called_as("hopped", tmp_path).startswith(identity(world, "target"))
            said, _ = checked(relay)
            assert identity(world, "pod") in said["direct"]
            assert identity(world, "target") in said["hopped"]
            metrics = relay.ask_admin("/metrics")[2]
            labels = 'profile="direct",upstream="container",operation="credentials",result="success"'
            assert f"credential_relay_upstream_calls_total{{{labels}}}" in metrics


def test_what_the_agent_renews_is_served_with_the_token_that_is_then_in_the_file(binary, world, jwt_file, tmp_path):
    with PodIdentity(world, {SUBJECT}, seconds=30) as agent:
        secrets = [jwt_file.read_text()]
        with relay_at(binary, tmp_path / "relay", world.aws, {"pod": profile(agent, jwt_file)}, secrets) as relay:
            first = served(relay, "pod")["AccessKeyId"]
            # The next token is another account's, so the old one is of no use any more.
            agent.document = world.document(3600)
            agent.associated = {"system:serviceaccount:shop:renewed"}
            renewed = Issuer().service_account("shop", "renewed", audience=AUDIENCE)
            relay.known_secrets.append(renewed)
            jwt_file.write_text(renewed + "\n")
            key, statuses = next_key_of(relay, "pod", first)
            assert statuses == {200}
            assert key == agent.document["AccessKeyId"]


def test_ecs_and_its_relatives_by_the_standard_variables(binary, world, tmp_path):
    token = "Basic of-the-task-and-secret"
    with Ecs(world, token) as agent:
        variables = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.address + "/v2/credentials/task",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
            # A proxy would read the token.
            "HTTP_PROXY": "http://127.0.0.1:9",
            "http_proxy": "http://127.0.0.1:9",
            "NO_PROXY": "",
            "no_proxy": "",
        }
        profiles = {"task": {"source": {"container": {}}}, "other": profile(agent, path="/v2/credentials/other")}
        with relay_at(binary, tmp_path / "relay", world.aws, profiles, [token], **variables) as relay:
            assert served(relay, "task")["RoleArn"] == world.pod
            assert relay.called_as("task", tmp_path).startswith(identity(world, "pod"))
            # A URL of the operator's own is not shown the platform's token.
            assert "HTTP 401" in troubles(relay, ["other"])["other"]["reason"]


def test_each_broken_input_is_explained_and_nothing_is_served(binary, world, jwt_file, tmp_path):
    issuer = Issuer()
    empty, expired, stranger, text, other = (tmp_path / name for name in ("empty", "expired", "stranger", "text", "other"))
    empty.write_text("\n")
    expired.write_text(issuer.service_account("shop", "payments", audience=AUDIENCE, seconds=-60))
    stranger.write_text(issuer.service_account("shop", "stranger", audience=AUDIENCE))
    other.write_text(issuer.service_account("shop", "payments", audience="sts.amazonaws.com"))
    text.write_text("this is no JWT but a secret all the same".replace(" ", "-"))
    with PodIdentity(world, {SUBJECT}) as agent:
        mode = lambda name: profile(agent, jwt_file, path=f"/v1/credentials/{name}")
        # Of each: the profile, its failure's class, words of its reason, the layer that is advised about, words of the advice.
        broken = {
            "missing": (profile(agent, tmp_path / "none"), "transient", "none: it cannot be read", "token file", "mount"),
            "empty": (profile(agent, empty), "transient", "it is empty (1 bytes", "token file", "mount"),
            "expired": (profile(agent, expired), "stale_caller", "token is expired", "token", "clock"),
            "audience": (profile(agent, other), "stale_caller", "InvalidTokenException", "token", AUDIENCE),
            "no-jwt": (profile(agent, text), "stale_caller", "cannot be parsed", "token", "EKS mounts"),
            "tokenless": (profile(agent), "stale_caller", "cannot be empty", "token", "EKS mounts"),
            "stranger": (profile(agent, stranger), "denied", "ResourceNotFound", "association", "create-pod-identity-association"),
            "untrusted": (mode("untrusted"), "denied", "AccessDenied", "association", "pods.eks.amazonaws.com"),
            "elsewhere": (profile(agent, jwt_file, path="/v2"), "denied", "404 page not found", "address", "path"),
            "unreachable": (profile(NOBODY, jwt_file), "unreachable", "refused", "address", "169.254.170.23"),
            "silent": (mode("silent"), "unreachable", "no answer within 10 s", "agent", "logs daemonset"),
            "garbled": (mode("garbled"), "transient", "not a credentials document", "agent", "URI"),
            "ended": (mode("ended"), "transient", "ended at 2001-01-01T00:00:00Z", "agent", "clock"),
            "moved": (mode("moved"), "misconfigured", "redirects are not followed", "address", "own URL"),
            "throttled": (mode("throttled"), "throttled", "HTTP 429: Too Many Requests", "agent", "it heals"),
        }
        profiles = {name: given for name, (given, *_) in broken.items()}
        secrets = [file.read_text() for file in (jwt_file, expired, stranger, text, other)]
        with relay_at(binary, tmp_path / "relay", world.aws, profiles, secrets) as relay:
            found = troubles(relay, broken)
            said, output = checked(relay)
            for name, (_, cause, reason, layer, fix) in broken.items():
                assert found[name]["cause"] == cause, found[name]
                assert found[name]["stage"] == "source container", found[name]
                assert reason in found[name]["reason"], found[name]
                assert "FAILED at source container" in said[name] and reason in said[name], output
                assert f"layer: {layer}\n" in said[name] and fix in said[name], output
                assert relay.ask_for(name)[0] in (403, 503)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_the_relay_is_not_its_own_agent(binary, tmp_path, host):
    config = tmp_path / "relay.yaml"
    listen = "[::1]:9531" if host == "[::1]" else "127.0.0.1:9531"
    uri = f"http://{host}:9531/v1/credentials/payments"
    for source, variables in [({"uri": uri}, {}), ({}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri})]:
        profiles = {"payments": {"source": {"container": source}}}
        config.write_text(json.dumps({"endpoint": {"listen": listen}, "profiles": profiles}))
        given = environment(tmp_path, **variables)
        with open(tmp_path / "said", "w+") as said:
            process = spawn([binary, "check", "--config", config], given, stdout=said, stderr=said)
            assert process.wait(20) != 0
            said.seek(0)
            assert "it leads to the relay itself" in (text := said.read()), text
