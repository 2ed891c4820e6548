"""The SDKs' own order: what is configured is used, and trouble with it never ends in another identity."""

import pytest

from agents import Ecs, Metadata, World, checked, relay_at, served, troubles

TOKEN = "Bearer of-the-task-and-secret"


@pytest.fixture(scope="module")
def world(module_aws):
    return World(module_aws)


@pytest.fixture
def ways(world):
    with Ecs(world, TOKEN) as agent, Metadata(world) as service:
        yield agent, service


AUTO = {"auto": {"source": {"auto": {}}}}


def node(service):
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": service.address}


def task(agent, path="/v2/credentials/task"):
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": agent.address + path, "AWS_CONTAINER_AUTHORIZATION_TOKEN": TOKEN}


def test_the_first_way_that_is_configured_is_used_and_told(binary, world, ways, tmp_path):
    agent, service = ways
    with relay_at(binary, tmp_path / "relay", world.aws, AUTO, [TOKEN], **task(agent), **node(service)) as relay:
        assert served(relay, "auto")["AccessKeyId"] == agent.document["AccessKeyId"]
        said, output = checked(relay)
        assert said["auto"].rstrip().endswith(", by container"), output
        assert f"else imds {service.address}" in output
    assert service.seen == []


def test_the_node_is_the_last(binary, world, ways, tmp_path):
    _, service = ways
    with relay_at(binary, tmp_path / "relay", world.aws, AUTO, **node(service)) as relay:
        assert served(relay, "auto")["AccessKeyId"] == service.document["AccessKeyId"]
        said, output = checked(relay)
        assert said["auto"].rstrip().endswith(", by imds"), output
        assert '"way":"imds"' in relay.log()
        relay.known_secrets += service.tokens


def test_trouble_with_the_way_that_is_meant_does_not_end_in_the_nodes_identity(binary, world, ways, tmp_path):
    agent, service = ways
    keys = {"AWS_ACCESS_KEY_ID": world.aws.base["access_key_id"]}
    token_file = {**task(agent), "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "none")}
    for name, variables, stage in [
        ("refused", task(agent, "/v2/credentials/other"), "source container"),
        ("no-file", token_file, "source container"),
        ("half-a-pair", keys, "source environment"),
    ]:
        with relay_at(binary, tmp_path / name, world.aws, AUTO, [TOKEN], **variables, **node(service)) as relay:
            assert troubles(relay, ["auto"])["auto"]["stage"] == stage
            assert relay.ask_for("auto")[0] in (403, 503)
            assert f"FAILED at {stage}" in checked(relay)[0]["auto"]
    assert service.seen == []
