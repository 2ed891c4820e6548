"""Every login and every credential type of Vault, through the relay to calls that boto3 signs with what it serves."""

import json

import pytest

from vault_world import LOGINS, TYPES, VaultWorld, container_client, served

# Which types each login is tried with; every type is here with two logins or more.
MATRIX = {
    "kubernetes": TYPES,
    "approle": ["iam_user", "assumed_role"],
    "approle_wrapped": ["iam_user", "session_token"],
    "jwt": ["assumed_role", "federation_token"],
    "aws": ["iam_user", "static"],
    "cert": ["iam_user", "assumed_role"],
    "userpass": ["assumed_role", "session_token"],
    "token_file": ["federation_token", "static"],
    "token": ["iam_user", "assumed_role"],
}
# Where each one is seen to log in; with the other two there is no login.
MOUNTS = {"approle_wrapped": "approle", "token_file": None, "token": None}
USERS_KEYS = ("iam_user", "static")


@pytest.fixture(scope="module")
def world(module_aws, tmp_path_factory):
    made = VaultWorld(tmp_path_factory.mktemp("vault"), module_aws)
    yield made
    made.stop()


@pytest.fixture
def relays(world, binary, tmp_path):
    """Starts relays at an empty journal. Each must end well, and must have said nothing secret."""

    started = []

    def start(profiles, **more):
        world.vault.clear()
        started.append(world.relay(binary, tmp_path / f"relay-{len(started)}", profiles, **more))
        return started[-1].ready()

    yield start
    for relay in started:
        relay.ends_well()
        assert relay.leaks() == []


def assert_is(world, relay, profile, kind):
    client = container_client(relay, profile, f"e2e-{profile}")
    assert client.get_caller_identity()["Arn"].startswith(world.identities[kind]), profile
    (call,) = world.aws.calls_by(f"e2e-{profile}")
    assert (call["status"], call["access_key_id"]) == (200, served(relay, profile)["AccessKeyId"]), profile


def test_the_matrix_is_whole():
    assert set(MATRIX) == set(LOGINS)
    assert all(len(kinds) >= 2 for kinds in MATRIX.values())
    assert all(sum(kind in kinds for kinds in MATRIX.values()) >= 2 for kind in TYPES)


def test_every_login_and_every_type(world, relays):
    profiles = {}
    for login, kinds in MATRIX.items():
        auth = world.auth(login)
        for kind in kinds:
            profiles[f"{login}-{kind}"] = {
                "source": world.source(kind, auth),
                **({"get_session_token": {}} if kind in USERS_KEYS else {}),
            }
    relay = relays(profiles)

    for login, kinds in MATRIX.items():
        for kind in kinds:
            profile = f"{login}-{kind}"
            assert_is(world, relay, profile, kind)
            document = served(relay, profile)
            assert document["Token"] and document["Expiration"], profile

    # Profiles with one login share its token.
    logins = [mount for login in LOGINS if (mount := MOUNTS.get(login, login))]
    for mount in set(logins):
        seen = world.vault.journal(f"/v1/auth/{mount}/login")
        assert [entry["status"] for entry in seen] == [200] * logins.count(mount), mount
    asked = world.vault.journal("/v1/aws/")
    assert len(asked) == len(profiles) and {entry["status"] for entry in asked} == {200}
    assert len({entry["token"] for entry in asked}) == len(LOGINS)


def test_roles_are_assumed_from_every_type_that_may(world, relays):
    """A hop over a federation token is refused when the configuration is read: tests/config_cases."""

    auth, hop = world.auth("jwt"), [{"role_arn": world.team_arn}]
    kinds = [kind for kind in TYPES if kind != "federation_token"]
    relay = relays({f"hop-{kind}": {"source": world.source(kind, auth), "chain": hop} for kind in kinds})
    for kind in kinds:
        assert_is(world, relay, f"hop-{kind}", "team")
        document = served(relay, f"hop-{kind}")
        assert document["RoleArn"] == world.team_arn and document["Token"], kind


def test_keys_of_users_are_served_as_they_are_where_that_is_wanted(world, relays):
    auth, earlier = world.auth("kubernetes"), len(world.aws.journal("request"))
    relay = relays(
        {
            f"plain-{kind}": {"source": world.source(kind, auth), "serve_long_lived_keys": True}
            for kind in USERS_KEYS
        },
        propagation={"successes": 3, "settle": "1s"},
    )
    for kind in USERS_KEYS:
        profile = f"plain-{kind}"
        document = served(relay, profile)
        assert "Token" not in document and document["Expiration"]
        key = document["AccessKeyId"]
        # Tried out before they were served, and neither more often than was asked for nor again.
        tried = [call for call in world.aws.journal("request")[earlier:] if call["access_key_id"] == key]
        assert [(call["action"], call["status"]) for call in tried] == [("sts:GetCallerIdentity", 200)] * 3
        # boto3 fails on such keys from a container endpoint, and takes them from a credential_process.
        process = relay.command("get", profile, "--format", "process")
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        given = json.loads(output)
        assert (given["AccessKeyId"], given.get("SessionToken")) == (key, None)
        sts = world.aws.client("sts", given["AccessKeyId"], given["SecretAccessKey"])
        assert sts.get_caller_identity()["Arn"].startswith(world.identities[kind])


def test_keys_are_rotated_without_losing_the_old_before_the_new_work(world, relays):
    """A rotation that is asked for makes another user; the keys before are good until then and after."""

    relay = relays(
        {"user": {"source": world.source("iam_user", world.auth("userpass")), "serve_long_lived_keys": True}}
    )
    before = served(relay, "user")
    process = relay.command("rotate", "user")
    said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    after = served(relay, "user")
    assert before["AccessKeyId"] != after["AccessKeyId"]
    for document in (before, after):
        sts = world.aws.client("sts", document["AccessKeyId"], document["SecretAccessKey"])
        assert sts.get_caller_identity()["Arn"].startswith(world.identities["iam_user"])
    assert len(world.vault.journal("/v1/aws/creds/")) == 2
    assert len(world.vault.journal("/v1/auth/userpass/login")) == 1
