"""Service accounts of a real API server: logins to a real Vault that has it judge them, and roles of STS.

What `check --connect` says of a refusal is compared with vault_failures.txt, where test_vault_explained.py wrote it down
with a stand-in for the API server: what the stand-in leads to, the real one leads to.
"""

import pytest

import moto_web_identity as oidc
from harness import Relay, wait_for
from moto_server import role
from test_vault_explained import Checks, Material, read
from vault_relay import PROFILES, ROLE, Scene, reader
from vault_world import VaultWorld, container_client

APP = ("payments", "app")
REVIEWER = ("vault", "reviewer")
AUDIENCE = ["vault"]
BRIEF = {"token_ttl": "6s", "token_max_ttl": "6s"}  # of Vault's tokens, so that the relay logs in again and again


class Cluster:
    """What Vault is told of the API server, and the service accounts of a Scene."""

    def __init__(self, kube):
        self.kube = kube
        self.address, self.authority = kube.address, kube.authority
        for namespace in ("payments", "other", "vault"):
            kube.namespace(namespace)
        for account in (APP, REVIEWER, ("payments", "other"), ("other", "app"), ("vault", "dismissed")):
            kube.service_account(*account)
        kube.bind("system:auth-delegator", *REVIEWER)
        self.reviewer = kube.token(*REVIEWER)

    def service_account(self, namespace, name):
        return self.kube.token(namespace, name, AUDIENCE)


@pytest.fixture(scope="module")
def cluster(kube):
    return Cluster(kube)


@pytest.fixture(scope="module")
def world(aws, cluster, tmp_path_factory):
    made = VaultWorld(tmp_path_factory.mktemp("vault"), aws)
    made.vault.reviewed_by(cluster)
    made.secrets.append(cluster.reviewer)
    reader(aws)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def refused(binary, world, tmp_path_factory):
    """Runs `check --connect` with a token for each kind of vault_failures.txt that it must be told as."""

    checks = Checks(binary, world, tmp_path_factory.mktemp("checks"))
    material = Material(world, tmp_path_factory.mktemp("material"))
    files = {"audience": "k1", "service-account": "k2", "namespace": "k3", "role": "k4", "expired": "k5", "denied": "k9"}

    def run(vault_role="app", **tokens):
        profiles = {}
        for kind, token in tokens.items():
            kind = kind.replace("_", "-")
            profiles[f"kubernetes-{kind}"] = read(material.kubernetes(files[kind], token, vault_role))
        checks.run(profiles)

    return run


@pytest.fixture
def scene(world, cluster, binary, tmp_path):
    """A relay whose profiles log in by the real API server. It must say nothing secret, and serve nothing too long."""

    started = []
    world.vault.clear()

    def start(name, **token):
        made = Scene(world.vault, world.aws, name, tmp_path / name, **token).furnish(cluster)
        authority = str(world.authority.authority)
        started.append(made.start(binary, cluster, vault={"ca_cert": authority}))
        return made

    yield start
    for each in started:
        each.stop()


def test_boto3_calls_as_a_service_account_that_vault_knows(scene, world):
    known = scene("known").ready()
    arn = container_client(known.relay, "session", "e2e-kubernetes").get_caller_identity()["Arn"]
    assert f":assumed-role/{ROLE}/" in arn
    (login,) = world.vault.journal(known.login)
    assert login["status"] == 200


def test_service_accounts_that_the_role_is_not_for(kube, refused):
    refused(
        audience=kube.token(*APP, ["other"]),
        service_account=kube.token("payments", "other", AUDIENCE),
        namespace=kube.token("other", "app", AUDIENCE),
        expired=kube.expired_token(*APP, AUDIENCE),
    )
    # The token that every pod has unless told otherwise is for the API server.
    refused(audience=kube.token(*APP))
    refused("none", role=kube.token(*APP, AUDIENCE))


def test_a_service_account_that_is_deleted_and_made_anew(kube, scene, refused):
    remade = scene("remade", **BRIEF).ready()
    old = kube.token(*APP, AUDIENCE)
    kube.delete_service_account(*APP)
    try:
        kube.forgets(old, AUDIENCE)
        refused(denied=old)
        for name in PROFILES:
            remade.trouble(name, "stale_caller", "the API server", "403: permission denied")
    finally:
        kube.service_account(*APP)
    # Of the same name, but it is another: what the old one was given stays worthless.
    refused(denied=old)
    heal(remade, kube.token(*APP, AUDIENCE))


def test_a_right_token_in_the_place_of_a_wrong_one(kube, scene, world):
    wrong = scene("wrong", **BRIEF).ready()
    wrong.file("jwt", kube.token("payments", "other", AUDIENCE))
    for name in PROFILES:
        said = wrong.trouble(name, "stale_caller", "is not for this pod's service account")
        assert said["trouble"]["stage"] == "source vault"
    heal(wrong, kube.token(*APP, AUDIENCE))


def heal(scene, token):
    """Puts a token into the relay's file, and waits until both profiles are well again."""

    scene.file("jwt", token)
    for name in PROFILES:
        scene.until(lambda name=name: scene.status(name)["trouble"] is None, f"{name} has healed")
        scene.served(name)


def test_reviewers_that_the_api_server_does_not_answer(kube, cluster, world, refused):
    good = kube.token(*APP, AUDIENCE)
    dismissed = ("vault", "dismissed")
    kube.bind("system:auth-delegator", *dismissed)
    reviewer = kube.token(*dismissed)
    kube.allows(reviewer)

    def judged_by(token):
        world.secrets.append(token)
        world.vault.reviewed_by(cluster, token_reviewer_jwt=token)
        refused(denied=good)

    try:
        world.vault.reviewed_by(cluster, token_reviewer_jwt=reviewer)
        world.vault.login("kubernetes", {"role": "app", "jwt": good})
        kube.unbind(*dismissed)
        kube.denies(reviewer)
        judged_by(reviewer)
        kube.delete_service_account(*dismissed)
        kube.forgets(reviewer)
        judged_by(reviewer)
        judged_by(kube.expired_token(*REVIEWER))
        judged_by(kube.token(*REVIEWER, AUDIENCE))
        # Vault outside of the cluster and without a reviewer asks with the pod's own token, which is for Vault alone.
        world.vault.reviewed_by(cluster, token_reviewer_jwt="")
        refused(denied=good)
    finally:
        world.vault.reviewed_by(cluster)
    world.vault.login("kubernetes", {"role": "app", "jwt": good})


def test_roles_of_sts_for_a_service_account(kube, cluster, aws, binary, tmp_path):
    """As with IRSA, from the API server's own tokens: the test AWS reads them, but does not look at their signature."""

    subject = "system:serviceaccount:payments:app"
    iam = aws.client("iam", **aws.operator)
    trusted = oidc.trust(oidc.provider(iam, kube.issuer), subject)
    arn = role(iam, "pods", trusted, Action="sts:GetCallerIdentity", Resource="*")

    def profile(name, *account, audience=oidc.AUDIENCE):
        token = kube.token(*account, [audience])
        tokens.append(token)
        (tmp_path / name).write_text(token)
        return {"source": {"web_identity": {"role_arn": arn, "token_file": str(tmp_path / name)}}}

    tokens = []
    profiles = {
        "right": profile("right", *APP),
        "other": profile("other", "payments", "other"),
        "audience": profile("audience", *APP, audience="vault"),
    }
    folder = tmp_path / "relay"
    folder.mkdir()
    relay = Relay(binary, folder, aws, profiles, secrets=tokens)
    try:
        wait_for(lambda: relay.ask_for("right")[0] == 200, lambda: f"the right one is served\n{relay.log()[-3000:]}")
        found = container_client(relay, "right", "e2e-pods").get_caller_identity()["Arn"]
        assert f"{aws.spoke_account}:assumed-role/pods/" in found
        told = relay.said("check", "--connect")
        assert "for subject system:serviceaccount:payments:other, audience sts.amazonaws.com" in told
        assert f"Incorrect token audience (the token is of issuer {kube.issuer}" in told
    finally:
        exit_code, _ = relay.stop()
    assert exit_code == 0, relay.log()[-4000:]
    assert relay.leaks() == []
