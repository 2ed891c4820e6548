"""AssumeRoleWithWebIdentity for the test AWS, where moto with IAM enforced answers 500: nobody signs it.

What the real STS looks at is looked at: the OIDC provider in the role's account, the token's audience and end, the
role's trust policy and its maximum duration. Signatures are not: the tests' tokens are of their own making.
"""

import base64
import json
import time

from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import _RESTError
from moto.iam.exceptions import NotFoundException
from moto.iam.models import iam_backends
from moto.sts.responses import TokenResponse

ACTION = "AssumeRoleWithWebIdentity"
AUDIENCE = "sts.amazonaws.com"
ISSUER = "https://oidc.eks.us-east-1.test/id/EXAMPLE"
SUBJECT = "system:serviceaccount:shop:payments"
ACCOUNT = "777788889999"  # where the cluster is
MOST_SECONDS = 2 * 3600
_THUMBPRINT = "9" * 40


class Refused(_RESTError):
    def __init__(self, code, message, status=400):
        super().__init__(code, message)
        self.code = status


def trust(provider, subject=SUBJECT):
    """A trust policy as EKS's documentation has it: for one service account."""

    name = provider.partition("/")[2]
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": f"sts:{ACTION}",
        "Condition": {"StringEquals": {f"{name}:aud": AUDIENCE, f"{name}:sub": subject}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def furnish(iam, role, **allowed):
    """The OIDC provider of a cluster and a role for its service account. `role` makes one, as moto_server does."""

    made = role(iam, "irsa", trust(provider(iam, ISSUER)), **allowed)
    iam.update_role(RoleName="irsa", MaxSessionDuration=MOST_SECONDS)
    return made


def provider(iam, issuer):
    asked = {"Url": issuer, "ThumbprintList": [_THUMBPRINT], "ClientIDList": [AUDIENCE]}
    return iam.create_open_id_connect_provider(**asked)["OpenIDConnectProviderArn"]


def install():
    check = ActionAuthenticatorMixin._authenticate_and_authorize_action

    def checked(self, request_type, resource="*"):
        if isinstance(self, TokenResponse) and self._get_action() == ACTION:
            allow(*(self._get_param(name) for name in ("WebIdentityToken", "RoleArn", "DurationSeconds")))
        else:
            check(self, request_type, resource)

    ActionAuthenticatorMixin._authenticate_and_authorize_action = checked


def allow(token, role_arn, seconds):
    """Returns where the real STS would give a session; its order of checks, and its words."""

    claims = claims_of(token)
    _, partition, _, _, account, _ = role_arn.split(":", 5)
    iam = iam_backends[account][partition]
    issuer = claims.get("iss", "")
    name = issuer.removeprefix("https://")
    provider = iam.open_id_providers.get(f"arn:{partition}:iam::{account}:oidc-provider/{name}")
    if provider is None:
        raise Refused("InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {issuer}")
    now = int(time.time())
    if claims["exp"] <= now:
        message = f"Token expired: current date/time {now} must be before the expiration date/time {claims['exp']}"
        raise Refused("ExpiredTokenException", message)
    audience = next((one for one in claims["aud"] if one in provider.client_id_list), None)
    if audience is None:
        raise Refused("InvalidIdentityToken", "Incorrect token audience")
    try:
        role = iam.get_role_by_arn(role_arn)
    except NotFoundException:
        role = None
    shown = {f"{name}:aud": audience, f"{name}:sub": claims["sub"]}
    if role is None or not trusts(role.assume_role_policy_document, provider.arn, shown):
        raise Refused("AccessDenied", f"Not authorized to perform sts:{ACTION}", 403)
    if int(seconds or 3600) > int(role.max_session_duration or 3600):
        message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise Refused("ValidationError", message)


def claims_of(token):
    try:
        header, claims, signature = token.split(".")
        assert header and signature
        return json.loads(base64.urlsafe_b64decode(claims + "=="))
    except (AssertionError, ValueError):
        raise Refused("InvalidIdentityToken", "The ID Token provided is not a valid JWT.") from None


def trusts(document, provider, shown):
    """Whether a statement allows it to this provider. Of the conditions, StringEquals with one text each is known."""

    for statement in json.loads(document)["Statement"]:
        wanted = statement.get("Condition", {}).get("StringEquals", {})
        if (
            statement["Effect"] == "Allow"
            and statement["Action"] == f"sts:{ACTION}"
            and statement["Principal"].get("Federated") == provider
            and all(shown.get(key) == value for key, value in wanted.items())
        ):
            return True
    return False
