"""What `check --connect` says when Vault refuses: each failure is made for real, and told as vault_failures.txt has it.

What a real Vault cannot be brought to on demand (a standby's redirect, a proxy's page) is answered in front of it; what
the test AWS cannot, by an AWS that says the same to every call. UPDATE_GOLDEN=1 writes the file anew: look at the
difference. Ports, folders, ids and times stand there as words.
"""

import http.server
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from harness import environment
from identities import Authority, Issuer, TokenReviews
from moto_server import policy, role, trust, user
from servers import Listening
from vault_world import VaultWorld

GOLDEN = Path(__file__).resolve().parent / "vault_failures.txt"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
NOWHERE = "http://127.0.0.1:9"
EVERYTHING = {"*": ["create", "read", "update", "delete", "list", "sudo"]}
# What AWS says for what it is that it refuses: status, code, message.
AWS_ANSWERS = {
    "aws-throttled": (400, "Throttling", "Rate exceeded"),
    "aws-root-expired": (403, "ExpiredToken", "The security token included in the request is expired"),
    "aws-region-disabled": (403, "RegionDisabledException", "STS is not activated in this region"),
    "aws-policy-too-large": (400, "PackedPolicyTooLarge", "Packed size of policy consumes 120% of allotted space"),
    "aws-policy-malformed": (400, "MalformedPolicyDocument", "Syntax errors in policy."),
    "aws-role-maximum": (
        400,
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    ),
    "aws-role-chaining": (
        400,
        "ValidationError",
        "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
    ),
    "aws-limit": (409, "LimitExceeded", "Cannot exceed quota for UsersPerAccount: 5000"),
    "aws-fails": (503, "ServiceUnavailable", "Service is unavailable"),
    # What the engine's own keys hear where they are a role's session.
    "aws-session-denied": (403, "AccessDenied", "Cannot call GetSessionToken with session credentials"),
    "aws-organization-denies": (
        403,
        "AccessDenied",
        "User: arn:aws:iam::111122223333:user/vault is not authorized to perform: sts:AssumeRole on resource: "
        "arn:aws:iam::444455556666:role/reader with an explicit deny in a service control policy",
    ),
}


def golden():
    blocks = (GOLDEN.read_text() + "\n").split("\n\n")
    return {block.partition(":")[0]: block + "\n" for block in blocks if block}


class Answering(Listening):
    """A server on a port of its own; `answer(path, body)` gives (status, type, text)."""

    def __init__(self, answer, tls=None, client_authority=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                status, kind, text = answer(self.path, body)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        super().__init__(Handler, tls, client_authority)


def aws_that_refuses(path, body):
    """GetCallerIdentity works, so that Vault gets as far as the call that it is about."""

    if "GetCallerIdentity" in body:
        said = (
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::111122223333:user/vault</Arn>"
            "<UserId>U</UserId><Account>111122223333</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        )
        return 200, "text/xml", said
    status, code, message = AWS_ANSWERS[path.strip("/")]
    said = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        "<RequestId>11111111-2222-3333-4444-555555555555</RequestId></ErrorResponse>"
    )
    return status, "text/xml", said


@pytest.fixture(scope="module")
def world(module_aws, tmp_path_factory):
    made = VaultWorld(tmp_path_factory.mktemp("vault"), module_aws)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def refusing_aws():
    made = Answering(aws_that_refuses)
    yield made
    made.stop()


class Checks:
    """Runs of `check --connect`, and what they said of each profile."""

    def __init__(self, binary, world, folder):
        self.binary, self.world, self.folder = binary, world, folder
        self.told = {}
        self._runs = 0
        self._variables = world.variables()

    def run(self, profiles, variables=None, **vault):
        """One run; `profiles` gives each its `source.vault`. Every one has to fail."""

        self._runs += 1
        settings = {key: value for key, value in self.world.settings(**vault).items() if value is not None}
        aws = self.world.aws
        config = self.folder / f"{self._runs}.yaml"
        profile = {
            name: {"source": {"vault": source}, "serve_long_lived_keys": "static_role" in source}
            for name, source in profiles.items()
        }
        sts = {"region": aws.region, "endpoint": aws.endpoint}
        config.write_text(json.dumps({"sts": sts, "vault": settings, "profiles": profile}))
        given = environment(self.folder, **{**self._variables, **(variables or {})})
        command = [self.binary, "check", "--connect", "--config", config]
        done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=300)
        blocks = re.findall(r"^([a-z0-9-]+): (FAILED.*)\n    layer: (.*)\n    fix: (.*)$", done.stdout, re.MULTILINE)
        told = {name: rest for name, *rest in blocks}
        missing = set(profiles) - set(told)
        assert done.returncode and not missing, f"{sorted(missing)}\n{done.stdout}\n{done.stderr}"
        secrets = [secret for secret in self.world.secrets if secret in done.stdout + done.stderr]
        assert secrets == []
        blocks = {
            name: f"{name}: {self._normal(why)}\n    layer: {layer}\n    fix: {fix}\n"
            for name, (why, layer, fix) in told.items()
        }
        self.told |= blocks
        if not UPDATE:
            known = golden()
            assert blocks == {name: known.get(name) for name in blocks}

    def _normal(self, text):
        text = re.sub(r"(127\.0\.0\.1|localhost|vault\.invalid):(?!9\b)\d+", r"\1:<port>", text)
        text = re.sub(r"/\S*/material\d+/", "<folder>/", text)
        text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<uuid>", text)
        text = re.sub(r"(vault-[a-z0-9]+|reader-vault-aws)-[0-9a-f]{8}\b", r"\1-<id>", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>", text)
        return re.sub(r"\d+ (\(UNIX\)|seconds)|valid after \d+", lambda found: re.sub(r"\d+", "<n>", found[0]), text)


@pytest.fixture(scope="module")
def checks(binary, world, tmp_path_factory):
    return Checks(binary, world, tmp_path_factory.mktemp("checks"))


class Material:
    """Files with what is shown at a login."""

    def __init__(self, world, folder):
        self.world, self.folder = world, folder

    def file(self, name, content):
        path = self.folder / name
        path.write_text(content)
        path.chmod(0o600)
        if len(content) > 20:
            self.world.secrets.append(content)
        return str(path)

    def kubernetes(self, name, token, role="app", mount="kubernetes"):
        return {"kubernetes": {"mount": mount, "role": role, "token_file": self.file(name, token)}}

    def jwt(self, name, token, role="app", mount="jwt"):
        return {"jwt": {"mount": mount, "role": role, "token_file": self.file(name, token)}}

    def approle(self, name, role_id, secret_id, mount="approle"):
        return {"approle": {"mount": mount, "role_id": role_id, "secret_id_file": self.file(name, secret_id)}}

    def userpass(self, name, username, password, mount="userpass"):
        return {"userpass": {"mount": mount, "username": username, "password_file": self.file(name, password)}}


def read(auth, role="assumed_role", **more):
    return {"role": role, "auth": auth, **more}


@pytest.fixture(scope="module")
def material(world, tmp_path_factory):
    return Material(world, tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def operator(world, material):
    """A login whose token may do all."""

    world.vault.policy("everything", EVERYTHING)
    bound = {"bound_service_account_names": ["app"], "bound_service_account_namespaces": ["payments"]}
    role = {**bound, "audience": "vault", "token_policies": ["everything"]}
    world.vault.api("POST", "auth/kubernetes/role/operator", role)
    return material.kubernetes("operator", world.issuer.service_account("payments", "app"), "operator")


def test_logins_by_what_a_platform_gives(world, checks, material):
    vault, issuer = world.vault, world.issuer
    good = issuer.service_account("payments", "app")
    reviews = TokenReviews(issuer)
    reviews.status = 500
    vault.mount_kubernetes(reviews, "kubernetes-away")
    away = {"bound_service_account_names": ["*"], "bound_service_account_namespaces": ["*"]}
    vault.api("POST", "auth/kubernetes-away/role/app", away)
    vault.enable_auth("kubernetes", "kubernetes-new")
    vault.api("POST", "auth/kubernetes-new/role/app", away)

    service_account = issuer.service_account
    profiles = {
        "kubernetes-audience": material.kubernetes("k1", service_account("payments", "app", audience="other")),
        "kubernetes-service-account": material.kubernetes("k2", service_account("payments", "other")),
        "kubernetes-namespace": material.kubernetes("k3", service_account("other", "app")),
        "kubernetes-role": material.kubernetes("k4", good, role="none"),
        "kubernetes-expired": material.kubernetes("k5", service_account("payments", "app", seconds=-600)),
        # Vault allows for clocks that differ by a minute; the API server does not.
        "kubernetes-denied": material.kubernetes("k9", service_account("payments", "app", seconds=-5)),
        "kubernetes-api-server-away": material.kubernetes("k6", good, mount="kubernetes-away"),
        "kubernetes-unconfigured": material.kubernetes("k7", good, mount="kubernetes-new"),
        "kubernetes-not-mounted": material.kubernetes("k8", good, mount="kubernetes-none"),
    }

    jwt = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"]}
    vault.api("POST", "auth/jwt/role/claims", {**jwt, "bound_claims": {"team": "payments"}})
    vault.api("POST", "auth/jwt/role/subject", {**jwt, "bound_subject": "other"})
    vault.enable_auth("jwt", "jwt-new")
    profiles |= {
        "jwt-audience": material.jwt("j1", issuer.sign("app", audience="other")),
        "jwt-subject": material.jwt("j2", issuer.sign("app"), role="subject"),
        "jwt-issuer": material.jwt("j3", issuer.sign("app", iss="https://other.test")),
        "jwt-expired": material.jwt("j4", issuer.sign("app", seconds=-600)),
        "jwt-not-yet-valid": material.jwt("j5", issuer.sign("app", seconds=7200, nbf=4102444800)),
        "jwt-signature": material.jwt("j6", Issuer(issuer.name).sign("app")),
        "jwt-garbage": material.jwt("j7", "no-jwt"),
        "jwt-claim-missing": material.jwt("j8", issuer.sign("app"), role="claims"),
        "jwt-claim-wrong": material.jwt("j9", issuer.sign("app", team="other"), role="claims"),
        "jwt-role": material.jwt("j10", issuer.sign("app"), role="none"),
        "jwt-unconfigured": material.jwt("j11", issuer.sign("app"), mount="jwt-new"),
        "jwt-not-mounted": material.jwt("j12", issuer.sign("app"), mount="jwt-none"),
    }

    bound = {"auth_type": "iam", "bound_iam_principal_arn": ["arn:aws:iam::444455556666:user/other"]}
    vault.api("POST", "auth/aws/role/other", {**bound, "resolve_aws_unique_ids": False})
    vault.mount_aws_auth(world.aws, "aws-away")
    vault.api("POST", "auth/aws-away/config/client", {"sts_endpoint": NOWHERE, "max_retries": 0})
    vault.api("POST", "auth/aws-away/role/app", {**bound, "resolve_aws_unique_ids": False})
    unknown = {"Version": 1, "AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SecretAccessKey": "x" * 40}
    unknown = {"source": {"file": {"path": material.file("unknown-key", json.dumps(unknown))}}}
    aws = world.auth("aws")["aws"]
    profiles |= {
        "aws-login-role": {"aws": {**aws, "role": "none"}},
        "aws-login-principal": {"aws": {**aws, "role": "other"}},
        "aws-login-server-id": {"aws": {**aws, "server_id": "other"}},
        "aws-login-keys": {"aws": {**aws, **unknown}},
        "aws-login-sts-away": {"aws": {**aws, "mount": "aws-away"}},
        "aws-login-not-mounted": {"aws": {**aws, "mount": "aws-none"}},
        "cert-constraints": {"cert": {"name": "none"}},
        "cert-not-mounted": {"cert": {"mount": "cert-none"}},
    }
    try:
        checks.run({name: read(auth) for name, auth in profiles.items()})
    finally:
        reviews.stop()

    login = {"cert": {"name": "app"}}
    other = world.authority.issue("somebody")
    checks.run({"cert-name": read(login)}, client_cert=str(other.certificate), client_key=str(other.key))
    old = world.authority.issue("app-of-yesterday", seconds=-60)
    checks.run({"cert-expired": read(login)}, client_cert=str(old.certificate), client_key=str(old.key))


def test_logins_by_what_was_handed_out(world, checks, material):
    vault = world.vault
    for name, more in {
        "secrets": {},
        "locked": {},
        "near": {"secret_id_bound_cidrs": ["192.0.2.0/24"]},
        "once": {"token_num_uses": 1},
    }.items():
        vault.api("POST", f"auth/approle/role/{name}", {"token_policies": ["relay"], **more})

    def role_id(name):
        return vault.api("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]

    def secret_id(name):
        return vault.api("POST", f"auth/approle/role/{name}/secret-id", {})["data"]["secret_id"]

    for _ in range(6):
        vault.call("POST", "auth/approle/login", {"role_id": role_id("locked"), "secret_id": "wrong"})
    vault.api("POST", "auth/userpass/users/locked", {"password": "right"})
    vault.api("POST", "auth/userpass/users/near", {"password": "right", "token_bound_cidrs": ["192.0.2.0/24"]})
    for _ in range(6):
        vault.call("POST", "auth/userpass/login/locked", {"password": "wrong"})
    path = "auth/approle/role/secrets/secret-id"
    wrapped = vault.api("POST", path, {}, headers={"X-Vault-Wrap-TTL": "600s"})["wrap_info"]["token"]
    vault.api("POST", "sys/wrapping/unwrap", token=wrapped)
    elsewhere = vault.api("POST", "sys/wrapping/wrap", {"secret_id": "x"}, headers={"X-Vault-Wrap-TTL": "600s"})
    elsewhere = elsewhere["wrap_info"]["token"]

    def wrapping(name, token):
        given = {"file": material.file(name, token), "creation_path": path}
        return {"approle": {"role_id": role_id("secrets"), "wrapped_secret_id": given}}

    ended = vault.api("POST", "auth/token/create", {"policies": ["relay"], "ttl": "60s"})["auth"]["client_token"]
    vault.api("POST", "auth/token/revoke", {"token": ended})
    bare = {"policies": ["relay"], "no_default_policy": True}
    bare = vault.api("POST", "auth/token/create", bare)["auth"]["client_token"]
    profiles = {
        "approle-secret-wrong": material.approle("a1", role_id("secrets"), "wrong"),
        "approle-role-unknown": material.approle("a2", "11111111-2222-3333-4444-555555555555", secret_id("secrets")),
        "approle-secret-missing": {"approle": {"role_id": role_id("secrets")}},
        "approle-address": material.approle("a3", role_id("near"), secret_id("near")),
        "approle-locked": material.approle("a4", role_id("locked"), secret_id("locked")),
        "approle-not-mounted": material.approle("a5", role_id("secrets"), "wrong", mount="approle-none"),
        "token-uses": material.approle("a6", role_id("once"), secret_id("once")),
        "wrapping-spent": wrapping("w1", wrapped),
        "wrapping-elsewhere": wrapping("w2", elsewhere),
        "userpass-wrong": material.userpass("u1", "app", "wrong"),
        "userpass-locked": material.userpass("u2", "locked", "right"),
        "userpass-address": material.userpass("u3", "near", "right"),
        "userpass-not-mounted": material.userpass("u4", "app", "right", mount="userpass-none"),
        "given-token-unknown": {"token_file": {"path": material.file("t1", ended)}},
        "token-may-not-look": {"token_file": {"path": material.file("t2", bare)}},
    }
    checks.run({name: read(auth) for name, auth in profiles.items()})
    checks.run({"token-of-the-environment-unknown": read({"token": {}})}, {"VAULT_TOKEN": ended})


def test_reads(world, checks, material, operator, refusing_aws):
    vault, aws = world.vault, world.aws
    bound = {"bound_service_account_names": ["app"], "bound_service_account_namespaces": ["payments"]}
    vault.api("POST", "auth/kubernetes/role/powerless", {**bound, "audience": "vault"})
    good = world.issuer.service_account("payments", "app")
    powerless = material.kubernetes("powerless", good, "powerless")

    iam = aws.client("iam", **aws.operator)
    document = policy(Action="sts:GetCallerIdentity", Resource="*")
    closed = role(iam, "closed", trust("arn:aws:iam::444455556666:user/nobody"), Action="sts:*", Resource="*")
    open_ = role(iam, "open", trust("*"), Action="sts:*", Resource="*")
    vault.aws_role("two", "assumed_role", role_arns=[closed, open_])
    vault.aws_role("closed", "assumed_role", role_arns=[closed])
    vault.aws_role("no-policy", "iam_user", policy_arns=["arn:aws:iam::444455556666:policy/none"])
    vault.api("POST", "sys/mounts/kv", {"type": "kv"})

    def engine(mount, endpoint, **more):
        vault.mount_aws(aws, mount, iam_endpoint=endpoint, sts_endpoint=endpoint, max_retries=0, **more)
        vault.aws_role("user", "iam_user", mount, policy_document=document)
        vault.aws_role("assumed", "assumed_role", mount, role_arns=[open_])
        vault.aws_role("session", "session_token", mount)

    engine("aws-away", NOWHERE)
    engine("aws-brief", aws.endpoint)
    vault.api("POST", "sys/mounts/aws-brief/tune", {"max_lease_ttl": "10m", "default_lease_ttl": "10m"})
    engine("aws-stranger", aws.endpoint, access_key="AKIAIOSFODNN7EXAMPLE", secret_key="x" * 40)
    _, weak = user(iam, "weak", Action="sts:GetCallerIdentity", Resource="*")
    weak = {"access_key": weak["access_key_id"], "secret_key": weak["secret_access_key"]}
    engine("aws-weak", aws.endpoint, **weak)
    vault.aws_role("federated", "federation_token", "aws-weak", policy_document=document)
    for name in AWS_ANSWERS:
        engine(name, f"{refusing_aws.address}/{name}")

    roles = {"aws-policy-malformed": "user", "aws-limit": "user", "aws-session-denied": "session"}
    profiles = {name: read(operator, roles.get(name, "assumed"), mount=name) for name in AWS_ANSWERS} | {
        "policy-denies": read(powerless),
        "policy-denies-static": {"static_role": "static", "auth": powerless},
        "engine-missing": read(operator, "app", mount="team/aws"),
        "engine-missing-static": {"static_role": "app", "auth": operator, "mount": "team/aws"},
        "engine-missing-and-policy-denies": read(powerless, "app", mount="team/aws"),
        "engine-other": read(operator, "app", mount="sys"),
        "role-unknown": read(operator, "none"),
        "static-role-unknown": {"static_role": "none", "auth": operator},
        "role-arn-not-allowed": read(operator, "closed", role_arn=open_),
        "role-arn-missing": read(operator, "two"),
        "ttl-too-short": read(operator, "assumed", mount="aws-brief"),
        "aws-not-reached-or-refused": read(operator, "assumed", mount="aws-away"),
        "aws-not-reached": read(operator, "user", mount="aws-away"),
        "aws-root-unknown": read(operator, "user", mount="aws-stranger"),
        "aws-root-unknown-by-sts": read(operator, "assumed", mount="aws-stranger"),
        "aws-assume-role-denied": read(operator, "closed"),
        "aws-iam-denied": read(operator, "user", mount="aws-weak"),
        "aws-federation-denied": read(operator, "federated", mount="aws-weak"),
        "aws-no-such-entity": read(operator, "no-policy"),
    }
    checks.run(profiles)

    vault.api("POST", "sys/quotas/config", {"enable_rate_limit_response_headers": True})
    vault.api("POST", "sys/quotas/rate-limit/slow", {"path": "aws/creds/rare", "rate": 1, "interval": "60s"})
    try:
        vault.call("POST", "aws/creds/rare", {}, token="")
        checks.run({"quota-rate": read(operator, "rare")})
    finally:
        vault.api("DELETE", "sys/quotas/rate-limit/slow")


def test_what_stands_before_vault(world, checks, operator):
    vault = world.vault
    html = "<html><head><title>{0}</title></head>\r\n<body><center><h1>{0}</h1></center></body></html>"
    page = {
        "not-vaults-path": (404, "404 page not found\n"),
        "gateway-denies": (403, html.format("403 Forbidden")),
        "gateway-throttles": (429, html.format("429 Too Many Requests")),
        "gateway-no-vault": (503, "no healthy upstream"),
        "gateway-page": (400, html.format("400 Bad Request")),
        "answer-unreadable": (200, html.format("Sign in")),
        "no-active-node": (500, {"errors": ["local node not active but active cluster node not found"]}),
        "node-behind": (412, {"errors": ["required index state not present"]}),
        "namespace-unknown": (404, {"errors": ["namespace not found"]}),
        "overloaded": (503, {"errors": ["overloaded, try again later"]}),
    }
    vault.clear()
    for name, (status, body) in page.items():
        vault.fault(f"/v1/aws/creds/{name}", "status", status=status, body=body)
    elsewhere = {
        "redirect-other-host": "https://10.0.0.7:8200",
        "redirect-other-scheme": vault.address.replace("https:", "http:"),
        "redirect-twice": vault.address,
    }
    for name, location in elsewhere.items():
        vault.fault(f"/v1/aws/creds/{name}", "redirect", status=307, location=location)
    vault.fault("/v1/aws/creds/connection-broken", "close")
    vault.fault("/v1/aws/creds/answer-truncated", "truncate")
    vault.fault("/v1/aws/creds/answer-timeout", "hang")
    last = ["connection-broken", "answer-truncated", "answer-timeout"]
    try:
        profiles = {name: read(operator, name) for name in [*page, *elsewhere, *last]}
        # This edition knows no namespaces and ignores the header.
        profiles["namespace-unknown"]["namespace"] = "team"
        # The one that hangs costs the test so long, and whatever else takes longer is told as that one.
        checks.run(profiles, timeout="5s")
    finally:
        vault.clear()


def test_the_way_to_vault(world, checks, operator, tmp_path):
    def is_vault(*_):
        return 200, "application/json", "{}"

    def at(name, address, variables=None, **vault):
        checks.run({name: read(operator)}, variables, **{"address": address, **vault})

    at("connection-refused", "https://127.0.0.1:9")
    at("dns-unknown", "https://vault.invalid:8200")
    at("proxy-refuses", "https://vault.invalid:8200", {"HTTPS_PROXY": NOWHERE})
    other = Authority(tmp_path)
    at("tls-unknown-issuer", world.vault.address, ca_cert=str(other.authority))
    at("tls-wrong-name", world.vault.address, tls_server_name="vault.example")

    def serve(name, variables=None, client_authority=None, **settings):
        server = Answering(is_vault, settings.pop("certificate"), client_authority)
        try:
            at(name, server.address.replace("http:", "https:"), variables, ca_cert=str(other.authority), **settings)
        finally:
            server.stop()

    serve("tls-expired", certificate=other.issue("old", server=True, seconds=-60))
    serve("tls-plain-port", certificate=None)
    certificate = other.issue("server", server=True)
    none = {"client_cert": None, "client_key": None}
    serve("tls-client-certificate-wanted", client_authority=other.authority, certificate=certificate, **none)
    serve("tls-client-certificate-refused", client_authority=other.authority, certificate=certificate)


def test_a_sealed_vault(world, checks, operator):
    world.vault.seal()
    try:
        checks.run({"sealed": read(operator)})
    finally:
        world.vault.unseal()


def test_the_golden_file_has_these_and_no_others(checks):
    if UPDATE:
        GOLDEN.write_text("\n".join(checks.told[name] for name in sorted(checks.told)))
    assert len(checks.told) >= 30
    assert set(checks.told) == set(golden())
