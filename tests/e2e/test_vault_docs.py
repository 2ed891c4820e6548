"""docs/vault.md, run from top to bottom: its commands at a real Vault, its configurations by the relay, up to a call of
boto3 with what they serve.
"""

import json
import re
from pathlib import Path

import pytest
import yaml

from harness import Relay
from identities import Authority, Issuer, TokenReviews
from moto_server import policy, trust
from vault_cli import Cli, UnknownCommand
from vault_server import VaultServer
from vault_world import PASSWORD, container_client, served

PAGE = Path(__file__).resolve().parents[2] / "docs" / "vault.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STS = {"Action": "sts:*", "Resource": "*"}


class Place:
    """What the page takes for granted: a Vault, AWS accounts, an issuer of tokens, files."""

    def __init__(self, folder, aws, root_policy):
        self.folder, self.aws = folder, aws
        self.authority = Authority(folder)
        self.vault = VaultServer(folder, tls=self.authority.issue("server", server=True))
        self.issuer = Issuer()
        self.reviews = TokenReviews(self.issuer)
        key = self._accounts(root_policy)
        app = self.authority.issue("app")
        for name, content in {
            "/etc/credential-relay/vault-roots.pem": self.authority.authority.read_text(),
            "/etc/credential-relay/app.pem": app.certificate.read_text(),
            "/etc/credential-relay/app.key": app.key.read_text(),
            "/etc/credential-relay/password": PASSWORD,
            "/etc/issuer/ca.pem": self.authority.authority.read_text(),
            "/etc/issuer/public.pem": self.issuer.public_key,
            "/var/run/secrets/vault/token": self.issuer.service_account("shop", "payments"),
            "/var/run/secrets/tokens/jwt": self.issuer.sign("upload"),
            "/run/vault/token": "",
        }.items():
            path = Path(self.here(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")
            path.chmod(0o600)
        self._words = {
            "$VAULT_AWS_KEY": key["access_key_id"],
            "$VAULT_AWS_SECRET": key["secret_access_key"],
            "$REPORTS_PASSWORD": PASSWORD,
            "https://vault.example.internal:8200": self.vault.address,
            "https://kubernetes.default.svc": self.reviews.address,
            "arn:aws:iam::111122223333:role/nodes": f"arn:aws:iam::{aws.hub_account}:user/base",
            "eu-west-1": aws.region,
        }
        endpoints = {"iam_endpoint": aws.endpoint, "sts_endpoint": aws.endpoint}
        self.cli = Cli(
            self.vault,
            self.here,
            {
                "aws/config/root": endpoints,
                "auth/aws/config/client": {**endpoints, "sts_region": aws.region},
                "auth/kubernetes/config": {
                    "token_reviewer_jwt": self.reviews.reviewer,
                    "disable_local_ca_jwt": True,
                },
            },
        )

    def _accounts(self, root_policy):
        """The account's users and roles that the page names. Gives the key of Vault's own user."""

        # moto asks about IAM's actions without saying on what: the page's resources cannot be tried out here.
        widened = json.loads(root_policy)
        for statement in widened["Statement"]:
            if ":user/" in statement["Resource"]:
                statement["Resource"] = "*"
        iam = self.aws.client("iam", **self.aws.operator)
        root = iam.create_user(UserName="engine")["User"]["Arn"]
        iam.put_user_policy(UserName="engine", PolicyName="page", PolicyDocument=json.dumps(widened))
        iam.create_user(UserName="legacy")
        iam.put_user_policy(UserName="legacy", PolicyName="all", PolicyDocument=policy(**STS))
        for name, trusted in {"payments": root, "reports": "*"}.items():
            iam.create_role(Path="/app/", RoleName=name, AssumeRolePolicyDocument=trust(trusted))
            iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=policy(**STS))
        key = iam.create_access_key(UserName="engine")["AccessKey"]
        return {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}

    def here(self, text):
        """The page's names as they are here."""

        for name, value in getattr(self, "_words", {}).items():
            text = text.replace(name, value)
        return re.sub(r"(?<![\w.])/(etc|run|var/run)/", rf"{self.folder}/\1/", text)

    def serve(self, binary, block, number):
        """Starts the relay with one of the page's configurations, wired to this place."""

        config = yaml.safe_load(self.here(block))
        vault = config["vault"]
        vault["propagation"] = {"successes": 1, "settle": "0s"}
        if "aws" in vault["auth"]:
            vault["auth"]["aws"]["endpoint"] = self.aws.endpoint
        base = self.aws.base
        variables = {"AWS_ACCESS_KEY_ID": base["access_key_id"], "AWS_SECRET_ACCESS_KEY": base["secret_access_key"]}
        folder = self.folder / f"relay-{number}"
        folder.mkdir()
        return Relay(binary, folder, self.aws, config["profiles"], {"vault": vault}, variables, [PASSWORD])

    def stop(self):
        self.reviews.stop()
        self.vault.stop()


def test_the_page_works_as_it_stands(binary, module_aws, tmp_path):
    blocks = BLOCK.findall(PAGE.read_text())
    assert {kind for kind, _ in blocks} == {"json", "sh", "yaml"}
    (root_policy,) = [text for kind, text in blocks if kind == "json"]
    place = Place(tmp_path, module_aws, root_policy)
    relays = []
    try:
        for kind, text in blocks:
            if kind == "sh":
                place.cli.run_block(text)
            elif kind == "yaml":
                relays.append(place.serve(binary, text, len(relays)))
                relays[-1].ready()
                for profile in yaml.safe_load(text)["profiles"]:
                    application = f"page-{len(relays)}-{profile}"
                    container_client(relays[-1], profile, application).get_caller_identity()
                    (call,) = module_aws.calls_by(application)
                    assert call["access_key_id"] == served(relays[-1], profile)["AccessKeyId"]
        assert len(relays) == 9 - 1 and len(place.cli.ran) > 30
    finally:
        ended = [relay.stop()[0] for relay in relays]
        place.stop()
    assert ended == [0] * len(relays)
    assert [relay.leaks() for relay in relays] == [[]] * len(relays)


@pytest.mark.parametrize(
    "line",
    [
        "vault frobnicate aws",
        "vault write -f -wrapping=1 a/b",
        "vault write aws/config/root",
        "vault secrets enable -version=2 kv",
        "curl http://127.0.0.1",
    ],
)
def test_a_command_that_is_not_known_is_refused(line):
    class Nothing:
        def api(self, *_, **__):
            return {}

    with pytest.raises(UnknownCommand):
        Cli(Nothing()).run_block(line)
