"""A Vault with every login and a role of every credential type, on a test AWS, and relays that ask it."""

import contextlib
import json
from pathlib import Path

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import ContainerProvider, CredentialResolver

from harness import Relay
from identities import SERVER_ID, Authority, Issuer, TokenReviews
from moto_server import policy, role, trust
from vault_server import VaultServer

LOGINS = ["kubernetes", "approle", "approle_wrapped", "jwt", "aws", "cert", "userpass", "token_file", "token"]
TYPES = ["iam_user", "assumed_role", "federation_token", "session_token", "static"]
PASSWORD = "correct horse battery staple"

# What the relay may do at Vault: docs/vault.md says what each line is for.
POLICY = {
    "aws/creds/*": ["update"],
    "aws/static-creds/*": ["read"],
    "sys/leases/renew": ["update"],
    "sys/leases/revoke": ["update"],
}


class VaultWorld:
    """`token_ttl` and `lease` are what Vault gives: tokens of every login, and leases of users."""

    def __init__(self, folder, aws, token_ttl="1h", lease="1h", lease_max="24h"):
        self.aws = aws
        self.folder = Path(folder)
        self.secrets = []
        self._closing = contextlib.ExitStack()
        self._granted = {"token_policies": ["relay"], "token_ttl": token_ttl}
        self._token_ttl = token_ttl
        self.authority = Authority(self.folder)
        server = self.authority.issue("server", server=True)
        self.certificate = self.authority.issue("app")
        self.vault = self._closing.enter_context(VaultServer(self.folder, tls=server))
        self.issuer = Issuer()
        self.reviews = TokenReviews(self.issuer)
        self._closing.callback(self.reviews.stop)
        self.vault.policy("relay", POLICY)
        self._make_roles(lease, lease_max)
        self._make_logins()

    def stop(self):
        self._closing.close()

    def _make_roles(self, lease, lease_max):
        vault, aws = self.vault, self.aws
        iam = aws.client("iam", **aws.operator)
        self.root_arn = vault.mount_aws(aws)
        name = self.root_arn.rpartition("/")[2]
        anything = {"Action": "sts:*", "Resource": "*"}
        reader = role(iam, f"reader-{name}", trust(self.root_arn), **anything)
        # What a chain over any of the types ends in.
        self.team_arn = role(iam, f"team-{name}", trust("*"), **anything)
        self.static_user = f"fixed-{name}"
        iam.create_user(UserName=self.static_user)
        iam.put_user_policy(UserName=self.static_user, PolicyName="all", PolicyDocument=policy(**anything))
        document = policy(**anything)
        vault.api("POST", "aws/config/lease", {"lease": lease, "lease_max": lease_max})
        self._roles = {
            "iam_user": {"policy_document": document},
            "assumed_role": {"role_arns": [reader]},
            "federation_token": {"policy_document": document},
            "session_token": {},
        }
        for kind in self._roles:
            self.make_role(kind, kind)
        static = {"username": self.static_user, "rotation_period": "24h"}
        vault.api("POST", "aws/static-roles/static", static)
        # By whom a profile is seen to be: a beginning of its ARN.
        account = aws.spoke_account
        self.identities = {
            "iam_user": f"arn:aws:iam::{account}:user/vault-",
            "assumed_role": f"arn:aws:sts::{account}:assumed-role/reader-{name}/",
            "federation_token": f"arn:aws:sts::{account}:federated-user/vault-",
            "session_token": self.root_arn,
            "static": f"arn:aws:iam::{account}:user/{self.static_user}",
            "team": f"arn:aws:sts::{account}:assumed-role/team-{name}/",
        }

    def make_role(self, name, kind):
        self.vault.aws_role(name, kind, **self._roles[kind])

    def _make_logins(self):
        vault, granted = self.vault, self._granted
        self.mount_kubernetes("kubernetes")
        vault.enable_auth("approle")
        vault.api("POST", "auth/approle/role/app", granted)
        vault.mount_jwt(self.issuer)
        jwt_role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], **granted}
        vault.api("POST", "auth/jwt/role/app", jwt_role)
        vault.mount_aws_auth(self.aws, mount="aws")
        base = f"arn:aws:iam::{self.aws.hub_account}:user/base"
        aws_role = {"auth_type": "iam", "bound_iam_principal_arn": [base], "resolve_aws_unique_ids": False}
        vault.api("POST", "auth/aws/role/app", {**aws_role, **granted})
        vault.enable_auth("cert")
        trusted = {"certificate": self.authority.authority.read_text(), "allowed_common_names": ["app"]}
        vault.api("POST", "auth/cert/certs/app", {**trusted, **granted})
        vault.enable_auth("userpass")
        vault.api("POST", "auth/userpass/users/app", {"password": PASSWORD, **granted})

    def mount_kubernetes(self, mount):
        self.vault.mount_kubernetes(self.reviews, mount)
        bound = {"bound_service_account_names": ["app"], "bound_service_account_namespaces": ["payments"]}
        self.vault.api("POST", f"auth/{mount}/role/app", {**bound, "audience": "vault", **self._granted})

    # What relays are given

    def settings(self, **more):
        """The `vault` part of a relay's settings; every profile says by itself how it logs in."""

        certificate = self.certificate
        return {
            "address": self.vault.address,
            "ca_cert": str(self.authority.authority),
            "client_cert": str(certificate.certificate),
            "client_key": str(certificate.key),
            "propagation": {"successes": 2, "settle": "0s"},
            **more,
        }

    def variables(self):
        """The relay's own environment: whose identity the login by AWS shows, and a token."""

        base = self.aws.base
        return {
            "AWS_ACCESS_KEY_ID": base["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": base["secret_access_key"],
            "VAULT_TOKEN": self.token() + "\n",
        }

    def auth(self, login):
        """A profile's `auth`; what is secret stands in a file, with blanks around it."""

        vault = self.vault
        match login:
            case "kubernetes":
                token = self.issuer.service_account("payments", "app")
                return {"kubernetes": {"role": "app", "token_file": self._file(login, token)}}
            case "approle":
                secret_id = vault.api("POST", "auth/approle/role/app/secret-id", {})["data"]["secret_id"]
                return {"approle": {"role_id": self._role_id(), "secret_id_file": self._file(login, secret_id)}}
            case "approle_wrapped":
                path = "auth/approle/role/app/secret-id"
                wrapped = vault.api("POST", path, {}, headers={"X-Vault-Wrap-TTL": "600s"})["wrap_info"]
                material = {"file": self._file(login, wrapped["token"]), "creation_path": path}
                role_id = self._file("role_id", self._role_id(), secret=False)
                return {"approle": {"role_id_file": role_id, "wrapped_secret_id": material}}
            case "jwt":
                return {"jwt": {"role": "app", "token_file": self._file(login, self.issuer.sign("app"))}}
            case "aws":
                asked = {"endpoint": self.aws.endpoint, "region": self.aws.region, "server_id": SERVER_ID}
                return {"aws": {"role": "app", **asked}}
            case "cert":
                return {"cert": {"name": "app"}}
            case "userpass":
                return {"userpass": {"username": "app", "password_file": self._file(login, PASSWORD)}}
            case "token_file":
                return {"token_file": {"path": self._file(login, self.token())}}
            case "token":
                return {"token": {}}
        raise ValueError(login)

    def token(self):
        asked = {"policies": ["relay"], "ttl": self._token_ttl, "no_parent": True}
        token = self.vault.api("POST", "auth/token/create", asked)["auth"]["client_token"]
        self.secrets.append(token)
        return token

    def _role_id(self):
        return self.vault.api("GET", "auth/approle/role/app/role-id")["data"]["role_id"]

    def _file(self, name, content, secret=True):
        if secret:
            self.secrets.append(content)
        path = self.folder / name
        path.write_text(f" {content}\r\n\n")
        path.chmod(0o600)
        return str(path)

    def source(self, kind, auth, role=None):
        """A profile's source: a role of one of TYPES, by this login."""

        if kind == "static":
            return {"vault": {"static_role": "static", "auth": auth}}
        return {"vault": {"role": role or kind, "credential_type": kind, "auth": auth}}

    def relay(self, binary, folder, profiles, **more):
        folder.mkdir(exist_ok=True)
        settings = {"vault": self.settings(**more)}
        return Relay(binary, folder, self.aws, profiles, settings, self.variables(), self.secrets)


def container_client(relay, profile, application):
    """A boto3 STS client whose only credentials are those of the container variables."""

    given = relay.client_environment(profile, relay.folder, application)
    session = botocore.session.Session()
    resolver = CredentialResolver([ContainerProvider(environ=given)])
    session.register_component("credential_provider", resolver)
    return boto3.Session(botocore_session=session).client(
        "sts",
        endpoint_url=given["AWS_ENDPOINT_URL_STS"],
        region_name=given["AWS_REGION"],
        config=Config(proxies={}, user_agent_appid=application),
    )


def served(relay, profile):
    status, _, body = relay.ask_for(profile)
    assert status == 200, body
    return json.loads(body)
