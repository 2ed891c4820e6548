"""A test AWS: moto's server with IAM enforced, sessions that really end, and a journal of every call.

Run as a program it prints one JSON line (see `describe`) and serves until SIGTERM or the end of its standard input.

What it adds to moto, which by itself never ends a session and checks trust only within one account:

* AssumeRole issues sessions of `--session-seconds`, whatever was asked for, and forgets each one when it expires:
  from then on its key is answered with ExpiredToken.
* GetSessionToken and GetFederationToken issue sessions of the same life, with keys that work and may do what AWS lets
  them; moto's own is the same dead key for everybody.
* A header that a client signed counts, though botocore would not have signed it: the SDK for Java 1 signs its User-Agent.
* A refusal has the shape that STS gives it; in moto's own the SDK for Rust finds neither code nor message. A request
  that nobody signed is refused, where moto's own code falls over.
* A role's trust policy is looked up in the role's own account, a role's ARN in it matches that role's sessions, and a
  missing external id is not a right one.
* AssumeRoleWithWebIdentity, which nobody signs, is let in (see moto_web_identity.py).
* Each request, and each session that is issued or ends, is one JSON line in the journal. Each secret it issues is one
  line in the secrets file, for tests that search other programs' output for them.
"""

import argparse
import datetime
import heapq
import json
import os
import re
import signal
import sys
import threading
import time
import uuid
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import boto3
from botocore.auth import SIGNED_HEADERS_BLACKLIST
from botocore.credentials import Credentials
from moto import settings
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import _RESTError
from moto.iam import access_control
from moto.iam.exceptions import NotFoundException
from moto.iam.models import IAMBackend, iam_backends
from moto.iam.utils import format_incoming_conditional_values
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.sts.models import STSBackend, sts_backends
from moto.sts.responses import TokenResponse
from moto.sts.utils import random_session_token
from moto.utilities.utils import get_partition
from werkzeug.serving import make_server

import moto_web_identity

REGION = "us-east-1"
HUB_ACCOUNT = "111122223333"
SPOKE_ACCOUNT = "444455556666"
EXTERNAL_ID = "payments-external-id"
LOCKED_EXTERNAL_ID = "locked-external-id"


class Lines:
    """A file that takes one line at a time, from any thread."""

    def __init__(self, path):
        self._lock = threading.Lock()
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w")

    def add(self, line):
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()


class Sessions:
    """The sessions that STS has issued, each removed from moto's stores the moment it expires."""

    def __init__(self, seconds, journal, secrets):
        self._seconds = seconds
        self._journal = journal
        self._secrets = secrets
        self._changed = threading.Condition()
        self._queue = []
        self.ended = set()

    def install(self):
        issue = STSBackend.assume_role

        def assume_role(backend, **request):
            with self._changed:
                role = issue(backend, **request)
                self.issued(role, request["duration"], role_arn=role.role_arn, session_name=role.session_name)
            return role

        STSBackend.assume_role = assume_role
        threading.Thread(target=self._end_when_due, daemon=True).start()

    def issued(self, session, asked_seconds, **more):
        """Writes a session down, and sets when it ends."""

        with self._changed:
            ends = int(time.time() + self._seconds)
            session.expiration = datetime.datetime.fromtimestamp(ends, datetime.timezone.utc).replace(tzinfo=None)
            self._secrets.add(session.secret_access_key)
            self._secrets.add(session.session_token)
            entry = {"event": "issued", "at": time.time(), "access_key_id": session.access_key_id, **more}
            self._journal.add(json.dumps({**entry, "asked_seconds": asked_seconds, "expires": ends}))
            heapq.heappush(self._queue, (ends, session.access_key_id, session.account_id, session.partition))
            self._changed.notify()

    def _end_when_due(self):
        with self._changed:
            while True:
                if not self._queue:
                    self._changed.wait()
                    continue
                left = self._queue[0][0] - time.time()
                if left > 0:
                    self._changed.wait(left)
                    continue
                _, key, account, partition = heapq.heappop(self._queue)
                self.ended.add(key)
                backend = sts_backends[account][partition]
                # A new list: requests being served may be walking the old one.
                backend.assumed_roles = [role for role in backend.assumed_roles if role.access_key_id != key]
                iam_backends[account][partition].access_keys.pop(key, None)
                self._journal.add(json.dumps({"event": "ended", "at": time.time(), "access_key_id": key}))


class UserSession(access_control.IAMUserAccessKey):
    """A session of a user: of GetSessionToken, or with a name of GetFederationToken."""

    # What AWS denies to each, whatever the user may do.
    _DENIED = {
        "session": ["iam:*", "sts:GetSessionToken", "sts:GetFederationToken"],
        "federation": ["iam:*", "sts:*"],
    }

    def __init__(self, owner, account, partition, federated_as):
        self.account_id, self.partition, self._owner_user_name = account, partition, owner.name
        self._user = owner
        self._name = federated_as
        key = self.backend.create_temp_access_key()
        self.access_key_id, self.secret_access_key = key.access_key_id, key.secret_access_key
        self.session_token = random_session_token()

    @property
    def arn(self):
        if self._name is None:
            return self._user.arn
        return f"arn:{self.partition}:sts::{self.account_id}:federated-user/{self._name}"

    @property
    def identity(self):
        user_id = self._user.id if self._name is None else f"{self.account_id}:{self._name}"
        return user_id, self.arn, self.account_id

    def create_credentials(self):
        return Credentials(self.access_key_id, self.secret_access_key, self.session_token)

    def collect_policies(self):
        denied = self._DENIED["session" if self._name is None else "federation"]
        statement = {"Effect": "Deny", "Action": denied, "Resource": "*"}
        # A federated user's own policy may only take away; that it does so is not checked here.
        return [*super().collect_policies(), json.dumps({"Version": "2012-10-17", "Statement": [statement]})]


def issue_sessions_of_users(sessions):
    issued = {}

    def issuing(answer):
        def issue(response):
            result = answer(response)
            backend = response.backend
            iam = iam_backends[backend.account_id][backend.partition]
            owner = iam.get_user_from_access_key_id(response.get_access_key())
            session = UserSession(owner, backend.account_id, backend.partition, response._get_param("Name"))
            sessions.issued(session, response._get_int_param("DurationSeconds", 43200), user=owner.name)
            issued[session.access_key_id] = session
            result.result["Credentials"] = {
                "AccessKeyId": session.access_key_id,
                "SecretAccessKey": session.secret_access_key,
                "SessionToken": session.session_token,
                "Expiration": session.expiration,
            }
            return result

        return issue

    TokenResponse.get_session_token = issuing(TokenResponse.get_session_token)
    TokenResponse.get_federation_token = issuing(TokenResponse.get_federation_token)
    known, who = access_control.create_access_key, STSBackend.get_caller_identity

    def create_access_key(account_id, partition, access_key_id, headers):
        session = issued.get(access_key_id)
        if session is None or access_key_id in sessions.ended:
            return known(account_id, partition, access_key_id, headers)
        if headers.get("X-Amz-Security-Token") != session.session_token:
            raise access_control.CreateAccessKeyFailure(reason="InvalidToken")
        return session

    def get_caller_identity(backend, access_key_id, region):
        session = issued.get(access_key_id)
        return session.identity if session else who(backend, access_key_id, region)

    check = access_control.IAMRequestBase.check_action_permitted

    def check_action_permitted(request, resource):
        # A user's own keys need no permission for it.
        if request._action == "sts:GetSessionToken" and type(request._access_key) is access_control.IAMUserAccessKey:
            return
        check(request, resource)

    access_control.IAMRequestBase.check_action_permitted = check_action_permitted
    access_control.create_access_key = create_access_key
    STSBackend.get_caller_identity = get_caller_identity


def note_keys_of_users(secrets):
    make = IAMBackend.create_access_key

    def create_access_key(backend, *request, **more):
        key = make(backend, *request, **more)
        secrets.add(key.secret_access_key)
        return key

    IAMBackend.create_access_key = create_access_key


def enforce_trust_across_accounts():
    """Let moto's check of a role's trust policy reach the role's own account."""

    request_type = access_control.IAMRequestBase

    def is_assuming_role(self, _resource):
        return self._action == "sts:AssumeRole"

    def is_trusted(self, role_arn):
        try:
            account, partition = role_arn.split(":")[4], get_partition(self._region)
            role = iam_backends[account][partition].get_role_by_arn(role_arn)
        except (IndexError, NotFoundException):
            return False
        callers = [self._access_key.arn]
        if isinstance(self._access_key, access_control.AssumedRoleAccessKey):
            callers.append(f"arn:{partition}:iam::{self.account_id}:role/{self._access_key._owner_role_name}")
        conditions = {"sts:ExternalId": "", **format_incoming_conditional_values(self._data)}
        policy = access_control.IAMPolicy(role.assume_role_policy_document)
        return any(
            policy.is_action_permitted(self._action, role_arn, caller, conditions)
            == access_control.PermissionResult.PERMITTED
            for caller in callers
        )

    request_type._is_assuming_role_operation = is_assuming_role
    request_type._check_role_trust_relationship = is_trusted


class ExpiredTokenError(_RESTError):
    """What STS answers to the key of a session that has ended."""

    code = 403

    def __init__(self):
        super().__init__("ExpiredToken", "The security token included in the request is expired")


def tell_ended_keys_from_unknown_ones(sessions):
    unknown = access_control.IAMRequest._raise_invalid_access_key

    def refuse(self, reason):
        match = re.search(r"Credential=([^/]+)/", self._headers["Authorization"])
        if match and match.group(1) in sessions.ended:
            raise ExpiredTokenError()
        unknown(self, reason)

    access_control.IAMRequest._raise_invalid_access_key = refuse


class UnsignedRequest(_RESTError):
    code = 403

    def __init__(self):
        super().__init__("MissingAuthenticationToken", "Request is missing Authentication Token")


def shape_refusals_as_sts_does():
    check = ActionAuthenticatorMixin._authenticate_and_authorize_action

    def checked(self, request_type, resource="*"):
        try:
            try:
                check(self, request_type, resource)
            except KeyError:
                if "Authorization" in self.headers:
                    raise
                raise UnsignedRequest() from None
        except _RESTError as error:
            if request_type is access_control.IAMRequest:
                error.description = (
                    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
                    f"<Code>{escape(error.error_type)}</Code><Message>{escape(error.message)}</Message></Error>"
                    f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
                )
            raise

    ActionAuthenticatorMixin._authenticate_and_authorize_action = checked


class Journalled:
    """WSGI middleware: one line for each request, written before its answer is finished."""

    def __init__(self, application, journal):
        self._application = application
        self._journal = journal
        self.enabled = False

    def __call__(self, environ, start_response):
        if not self.enabled or environ["PATH_INFO"].startswith("/moto-api/"):
            return self._application(environ, start_response)
        began = time.time()
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = Replay(body)
        key, service = credential_scope(environ.get("HTTP_AUTHORIZATION", ""))
        asked = parse_qs(body.decode("utf-8", "replace"))
        action = asked.get("Action", [None])[0]
        entry = {
            "event": "request",
            "at": began,
            "action": f"{service}:{action or environ['REQUEST_METHOD'] + ' ' + environ['PATH_INFO']}",
            "access_key_id": key,
            "about_key": asked.get("AccessKeyId", [None])[0],
            "user_agent": environ.get("HTTP_USER_AGENT", ""),
            "source_port": environ.get("REMOTE_PORT"),
        }

        def start(status, headers, exc_info=None):
            entry["status"] = int(status.split()[0])
            return start_response(status, headers, exc_info)

        answer = b"".join(self._application(environ, start))
        if entry["status"] >= 400:
            code = re.search(rb"<Code>([^<]*)</Code>", answer)
            entry["error"] = code.group(1).decode() if code else None
        entry["took"] = round(time.time() - began, 4)
        self._journal.add(json.dumps(entry))
        return [answer]


class Replay:
    """A request's body, readable once more."""

    def __init__(self, body):
        self._body = body

    def read(self, size=-1):
        size = len(self._body) if size is None or size < 0 else size
        part, self._body = self._body[:size], self._body[size:]
        return part


def credential_scope(authorization):
    match = re.search(r"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/", authorization)
    return match.groups() if match else (None, None)


def client(service, endpoint, account):
    made = boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="setup",
        aws_secret_access_key="setup",
    )
    made.meta.events.register(
        "before-sign.*", lambda request, **_: request.headers.add_header("x-moto-account-id", account)
    )
    return made


def policy(**statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


def trust(principal, external_id=None):
    condition = {"Condition": {"StringEquals": {"sts:ExternalId": external_id}}} if external_id else {}
    return policy(Principal={"AWS": principal}, Action="sts:AssumeRole", **condition)


def user(iam, name, **allowed):
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    iam.put_user_policy(UserName=name, PolicyName="allowed", PolicyDocument=policy(**allowed))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return arn, {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}


def role(iam, name, trusted, **allowed):
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusted)["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="allowed", PolicyDocument=policy(**allowed))
    return arn


def describe(endpoint):
    """Two accounts: a user may only assume the hub, the hub only what is in the spoke's account. A third is that of a
    cluster, whose service account may assume the hub too. Returns their names."""

    hub_iam = client("iam", endpoint, HUB_ACCOUNT)
    spoke_iam = client("iam", endpoint, SPOKE_ACCOUNT)
    hub_arn = f"arn:aws:iam::{HUB_ACCOUNT}:role/hub"
    cluster_iam = client("iam", endpoint, moto_web_identity.ACCOUNT)
    may = {"Action": ["sts:AssumeRole", "sts:GetCallerIdentity"], "Resource": "*"}
    irsa = moto_web_identity.furnish(cluster_iam, role, **may)
    base_arn, base = user(hub_iam, "base", Action="sts:AssumeRole", Resource=hub_arn)
    hub = role(hub_iam, "hub", trust([base_arn, irsa]), Action="sts:AssumeRole", Resource=f"arn:aws:iam::{SPOKE_ACCOUNT}:role/*")
    assert hub == hub_arn, hub
    reads = {"Action": ["sts:GetCallerIdentity", "s3:ListAllMyBuckets", "s3:ListBuckets"], "Resource": "*"}
    spoke = role(spoke_iam, "spoke", trust(hub, EXTERNAL_ID), **reads)
    locked = role(spoke_iam, "locked", trust(hub, LOCKED_EXTERNAL_ID), **reads)
    bucket = "files-of-the-tests"
    storage = client("s3", endpoint, SPOKE_ACCOUNT)
    storage.create_bucket(Bucket=bucket)
    storage.put_object(Bucket=bucket, Key="hello", Body=b"hello\n")
    anything = {"Action": ["s3:*", "sts:GetCallerIdentity"], "Resource": "*"}
    files = role(spoke_iam, "files", trust(hub), **anything)
    _, operator = user(spoke_iam, "operator", Action="iam:*", Resource="*")
    return {
        "endpoint": endpoint,
        "region": REGION,
        "hub_account": HUB_ACCOUNT,
        "spoke_account": SPOKE_ACCOUNT,
        "base": base,
        "operator": operator,
        "hub_role_arn": hub,
        "spoke_role_arn": spoke,
        "external_id": EXTERNAL_ID,
        "locked_role_arn": locked,
        "files_role_arn": files,
        "bucket": bucket,
        "locked_external_id": LOCKED_EXTERNAL_ID,
        "irsa_role_arn": irsa,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--session-seconds", type=int, required=True, help="the lifetime of every session")
    parser.add_argument("--journal", required=True, help="gets a JSON line for each request")
    parser.add_argument("--secrets-file", required=True, help="gets each secret as it is issued")
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    journal, secrets = Lines(options.journal), Lines(options.secrets_file)
    sessions = Sessions(options.session_seconds, journal, secrets)
    application = Journalled(DomainDispatcherApplication(create_backend_app), journal)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=QuietHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    note_keys_of_users(secrets)
    described = describe(f"http://127.0.0.1:{server.server_port}")
    sessions.install()
    issue_sessions_of_users(sessions)
    enforce_trust_across_accounts()
    tell_ended_keys_from_unknown_ones(sessions)
    moto_web_identity.install()
    shape_refusals_as_sts_does()
    SIGNED_HEADERS_BLACKLIST.clear()  # moto signs again with botocore, by the headers that the client has signed
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    ActionAuthenticatorMixin.request_count = 0
    application.enabled = True
    print(json.dumps(described), flush=True)
    sys.stdin.read()


class QuietHandler(MotoRequestHandler):
    """No access log: the journal is one."""

    def log_request(self, *_):
        pass


if __name__ == "__main__":
    main()
