"""The real Vault itself: each kind of AWS credential, each login, and that its journal and its faults tell the truth."""

import http.client

import pytest

from identities import Authority, Issuer, TokenReviews, signed_caller_identity
from moto_server import policy, trust
from vault_server import VaultServer, token_digest

READ_IDENTITY = policy(Action="sts:GetCallerIdentity", Resource="*")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with VaultServer(tmp_path_factory.mktemp("vault"), rollback_period="1s") as started:
        yield started


@pytest.fixture
def vault(server):
    server.clear()
    yield server
    for kind in ("mounts", "auth"):
        for path, mount in server.api("GET", f"sys/{kind}")["data"].items():
            if mount["type"] not in ("system", "identity", "cubbyhole", "token", "ns_system", "ns_identity"):
                server.api("DELETE", f"sys/{kind}/{path}")
    server.clear()


def identity(aws, data):
    keys = (data["access_key"], data["secret_key"], data.get("session_token"))
    return aws.client("sts", *keys).get_caller_identity()["Arn"]


def test_each_kind_of_aws_credential(vault, calm_aws):
    arn = vault.mount_aws(calm_aws)
    iam = calm_aws.client("iam", **calm_aws.operator)
    role = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=trust(arn))["Role"]["Arn"]
    iam.put_role_policy(RoleName="reader", PolicyName="reads", PolicyDocument=READ_IDENTITY)
    iam.create_user(UserName="fixed")
    iam.put_user_policy(UserName="fixed", PolicyName="reads", PolicyDocument=READ_IDENTITY)

    vault.aws_role("user", "iam_user", policy_document=READ_IDENTITY)
    vault.aws_role("assumed", "assumed_role", role_arns=[role])
    vault.aws_role("federated", "federation_token", policy_document=READ_IDENTITY)
    vault.aws_role("session", "session_token")
    vault.api("POST", "aws/static-roles/fixed", {"username": "fixed", "rotation_period": "60s"})

    user = vault.api("POST", "aws/creds/user")
    assert user["renewable"] and user["data"]["session_token"] is None
    assert ":user/vault-" in identity(calm_aws, user["data"])

    assumed = vault.api("POST", "aws/creds/assumed", {"ttl": "900s"})
    assert not assumed["renewable"] and 800 < assumed["data"]["ttl"] <= 3600
    assert ":assumed-role/reader/vault-" in identity(calm_aws, assumed["data"])

    federated = vault.api("POST", "aws/creds/federated")["data"]
    assert federated["session_token"] == federated["security_token"]
    assert ":federated-user/vault-" in identity(calm_aws, federated)
    session = vault.api("POST", "aws/creds/session")["data"]
    assert identity(calm_aws, session) == arn

    fixed = vault.api("GET", "aws/static-creds/fixed")
    assert fixed["lease_id"] == "" and fixed["data"]["expiration"]
    assert identity(calm_aws, fixed["data"]).endswith(":user/fixed")

    renewed = vault.api("PUT", "sys/leases/renew", {"lease_id": user["lease_id"], "increment": 60})
    assert renewed["lease_id"] == user["lease_id"]
    vault.api("PUT", "sys/leases/revoke", {"lease_id": user["lease_id"], "sync": True})
    assert not [made for made in iam.list_users()["Users"] if made["UserName"].startswith("vault-token-")]


def test_each_login(vault, calm_aws):
    issuer = Issuer()
    reviews = TokenReviews(issuer)
    try:
        vault.policy("reader", {"aws/creds/app": ["update"]})
        granted = {"token_policies": ["reader"], "token_ttl": "60s"}

        vault.mount_kubernetes(reviews)
        bound = {"bound_service_account_names": ["app"], "bound_service_account_namespaces": ["payments"]}
        vault.api("POST", "auth/kubernetes/role/app", {**bound, "audience": "vault", **granted})
        token = issuer.service_account("payments", "app")
        assert "reader" in vault.login("kubernetes", {"role": "app", "jwt": token})["policies"]
        assert reviews.seen == ["system:serviceaccount:payments:app"]
    finally:
        reviews.stop()

    vault.mount_jwt(issuer)
    jwt_role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], **granted}
    vault.api("POST", "auth/jwt/role/app", jwt_role)
    assert "reader" in vault.login("jwt", {"role": "app", "jwt": issuer.sign("app")})["policies"]

    vault.enable_auth("approle")
    vault.api("POST", "auth/approle/role/app", granted)
    role_id = vault.api("GET", "auth/approle/role/app/role-id")["data"]["role_id"]
    wrapped = vault.api("POST", "auth/approle/role/app/secret-id", {}, headers={"X-Vault-Wrap-TTL": "60s"})["wrap_info"]
    assert wrapped["creation_path"] == "auth/approle/role/app/secret-id"
    secret_id = vault.api("POST", "sys/wrapping/unwrap", token=wrapped["token"])["data"]["secret_id"]
    assert "reader" in vault.login("approle", {"role_id": role_id, "secret_id": secret_id})["policies"]

    vault.mount_aws_auth(calm_aws)
    base = f"arn:aws:iam::{calm_aws.hub_account}:user/base"
    aws_role = {"auth_type": "iam", "bound_iam_principal_arn": [base], "resolve_aws_unique_ids": False, **granted}
    vault.api("POST", "auth/aws/role/app", aws_role)
    login = vault.login("aws", signed_caller_identity(calm_aws, "app", calm_aws.base))
    assert "reader" in login["policies"] and login["metadata"]["account_id"] == calm_aws.hub_account

    vault.enable_auth("userpass")
    vault.api("POST", "auth/userpass/users/app", {"password": "correct horse", **granted})
    assert "reader" in vault.login("userpass", {"password": "correct horse"}, path="login/app")["policies"]


def test_a_login_by_certificate(tmp_path):
    authority = Authority(tmp_path)
    certificate = authority.issue("server", server=True)
    with VaultServer(tmp_path, tls=certificate) as vault:
        vault.enable_auth("cert")
        trusted = {"certificate": authority.authority.read_text(), "allowed_common_names": ["app"]}
        vault.api("POST", "auth/cert/certs/app", {**trusted, "token_policies": ["reader"]})
        login = vault.login("cert", {"name": "app"}, client=authority.issue("app"))
        assert "reader" in login["policies"]
        status, _, said = vault.call("POST", "auth/cert/login", {"name": "app"}, client=authority.issue("other"))
        assert (status, said["errors"]) == (400, ["failed to match all constraints for this login certificate"])


def test_the_journal_has_each_request_once(vault):
    child = vault.api("POST", "auth/token/create", {"policies": ["default"], "ttl": "60s"})["auth"]["client_token"]
    vault.api("GET", "auth/token/lookup-self", token=child)
    vault.call("POST", "aws/creds/none", {}, token=child, namespace="team")
    vault.call("GET", "sys/health")
    seen = [(entry["method"], entry["path"], entry["status"]) for entry in vault.journal()]
    assert seen == [
        ("GET", "/v1/auth/token/lookup-self", 200),
        ("POST", "/v1/aws/creds/none", 403),
        ("GET", "/v1/sys/health", 200),
    ]
    (denied,) = vault.journal("/v1/aws/", token=token_digest(child))
    assert denied["namespace"] == "team"
    assert len(vault.journal(token=token_digest(child))) == 2
    vault.clear()
    assert vault.journal() == []


def test_faults_come_before_vault(vault):
    path = "/v1/sys/health"
    vault.fault(path, "status", status=429, body={"errors": ["slow down"]}, headers={"Retry-After": "7"}, times=1)
    status, headers, said = vault.call("GET", "sys/health")
    assert (status, headers["Retry-After"], said) == (429, "7", {"errors": ["slow down"]})

    vault.fault(path, "redirect", location="http://127.0.0.1:9", times=1)
    status, headers, _ = vault.call("GET", "sys/health?standbyok=true")
    assert (status, headers["Location"]) == (307, "http://127.0.0.1:9/v1/sys/health?standbyok=true")

    vault.fault(path, "delay", delay_ms=1, times=1)
    assert vault.call("GET", "sys/health")[0] == 200

    vault.fault(path, "close", times=1)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        vault.call("GET", "sys/health")
    vault.fault(path, "truncate", times=1)
    with pytest.raises(http.client.IncompleteRead):
        vault.call("GET", "sys/health")

    # The token is made, though its maker never hears of it.
    before = len(vault.api("LIST", "auth/token/accessors")["data"]["keys"])
    vault.fault("/v1/auth/token/create", "close", after=True, times=1)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        vault.api("POST", "auth/token/create", {"ttl": "60s"})
    assert len(vault.api("LIST", "auth/token/accessors")["data"]["keys"]) == before + 1

    kinds = [entry.get("fault") for entry in vault.journal(path)]
    assert kinds == ["status", "redirect", "delay", "close", "truncate"]
    assert vault.call("GET", "sys/health")[0] == 200


def test_sealing_and_losing_everything(tmp_path):
    with VaultServer(tmp_path, root_token="root") as vault:
        vault.enable_auth("userpass")
        address = vault.address
        vault.seal()
        status, _, said = vault.call("GET", "sys/auth", token="")
        assert (status, said) == (503, {"errors": ["Vault is sealed"]})
        vault.unseal()
        assert "userpass/" in vault.api("GET", "sys/auth")["data"]
        vault.restart()
        assert vault.address == address and vault.root_token == "root"
        assert "userpass/" not in vault.api("GET", "sys/auth")["data"]


def test_rate_limits_tell_when_to_come_back(vault):
    vault.api("POST", "sys/quotas/config", {"enable_rate_limit_response_headers": True})
    vault.api("POST", "sys/quotas/rate-limit/slow", {"path": "sys/wrapping/lookup", "rate": 1, "interval": "60s"})
    try:
        answers = [vault.call("POST", "sys/wrapping/lookup", {"token": "none"}) for _ in range(3)]
    finally:
        vault.api("DELETE", "sys/quotas/rate-limit/slow")
    status, headers, _ = answers[-1]
    assert status == 429 and int(headers["Retry-After"]) > 0
