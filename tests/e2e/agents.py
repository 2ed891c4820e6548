"""Agents that hand out credentials as AWS's own do, on loopback: EKS Pod Identity's, ECS's, and EC2's metadata service.

What they hand out are sessions of the test AWS. What may go wrong with one is a mode of it, named by the path in the
container agents' case, so that one agent serves many profiles.
"""

import base64
import contextlib
import datetime
import http.server
import json
import threading
import time
import uuid
from types import SimpleNamespace

from harness import Relay, wait_for
from moto_server import role, trust

ENDED = "2001-01-01T00:00:00Z"
NODE_ROLE = "node-role"
# A service that is not there: a port that was free a moment ago may be somebody's.
NOBODY = SimpleNamespace(address="http://127.0.0.1:9")


class World:
    """Roles of the spoke account: `pod`, which agents hand out, and `target`, which only a session of it may assume."""

    def __init__(self, aws):
        self.aws = aws
        iam = aws.client("iam", **aws.operator)
        allowed = {"Action": ["sts:GetCallerIdentity", "sts:AssumeRole"], "Resource": "*"}
        self.pod = role(iam, "pod", trust(aws.hub_role_arn), **allowed)
        self.target = role(iam, "target", trust(self.pod), Action="sts:GetCallerIdentity", Resource="*")

    def session(self):
        """New keys of `pod`."""

        keys = self.aws.base
        for arn in (self.aws.hub_role_arn, self.pod):
            sts = self.aws.client("sts", **keys)
            issued = sts.assume_role(RoleArn=arn, RoleSessionName="agent")["Credentials"]
            keys = {
                "access_key_id": issued["AccessKeyId"],
                "secret_access_key": issued["SecretAccessKey"],
                "session_token": issued["SessionToken"],
            }
        return keys

    def document(self, seconds=3600, **more):
        """The document of a new session of `pod`, which says that it lives for so long."""

        keys = self.session()
        ends = datetime.datetime.fromtimestamp(int(time.time() + seconds), datetime.timezone.utc)
        return {
            "AccessKeyId": keys["access_key_id"],
            "SecretAccessKey": keys["secret_access_key"],
            "Token": keys["session_token"],
            "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
            **more,
        }


class Server:
    """Answers by `answer(method, path, headers)`: (status, headers, body), or None for nothing at all until the end."""

    def __init__(self, at=("127.0.0.1", 0)):
        self.seen = []
        self._ended = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                server.seen.append((self.command, self.path))
                answer = server.answer(self.command, self.path, self.headers)
                if answer is None:
                    server._ended.wait()
                    self.close_connection = True
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_PUT = answer

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(at, Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()


def json_answer(status, document):
    return status, {"Content-Type": "application/json"}, json.dumps(document)


def plain(status, text, **headers):
    return status, {"Content-Type": "text/plain; charset=utf-8", **headers}, text + "\n"


def of_eks(status, code, message):
    """How the agent passes on a refusal of EKS's."""

    return plain(status, f"[{uuid.uuid4()}]: ({code}): {message}, fault: client")


class PodIdentity(Server):
    """EKS Pod Identity's agent: it takes a JWT without looking at its signature, and asks EKS about it."""

    def __init__(self, world, associated, seconds=3600):
        self.document = world.document(seconds, AccountId=world.aws.spoke_account)
        self.associated = associated
        super().__init__()

    def answer(self, method, path, headers):
        mode = path.removeprefix("/v1/credentials").lstrip("/")
        if not path.startswith("/v1/credentials"):
            return plain(404, "404 page not found")
        token = headers.get("Authorization", "")
        if not token:
            return plain(400, "Service account token cannot be empty")
        try:
            claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        except (ValueError, IndexError):
            why = f"token is malformed: token contains an invalid number of segments: {token}"
            return plain(400, f"Service account token cannot be parsed: {why}")
        if claims["exp"] < time.time():
            why = "token has invalid claims: token is expired"
            return plain(400, f"Service account token failed basic claim validations: {why}")
        if claims["aud"] != ["pods.eks.amazonaws.com"]:
            return of_eks(400, "InvalidTokenException", "The token has not the audience pods.eks.amazonaws.com")
        if claims["sub"] not in self.associated:
            return of_eks(404, "ResourceNotFoundException", "No association found for the service account")
        return self.modes(mode)

    def modes(self, mode):
        match mode:
            case "silent":
                return None
            case "garbled":
                return 200, {"Content-Type": "application/json"}, json.dumps(self.document)[:-20]
            case "ended":
                return json_answer(200, {**self.document, "Expiration": ENDED})
            case "moved":
                return 302, {"Location": self.address + "/v1/credentials"}, ""
            case "throttled":
                return plain(429, "Too Many Requests", **{"Retry-After": "1"})
            case "untrusted":
                return of_eks(400, "AccessDeniedException", "Unable to assume the role: it does not trust the service")
        return json_answer(200, self.document)


class Ecs(Server):
    """ECS's agent: the path is the secret, or a token that goes with it."""

    def __init__(self, world, authorization=None, at=("127.0.0.1", 0)):
        self.document = world.document(RoleArn=world.pod)
        self.authorization = authorization
        super().__init__(at)

    def answer(self, method, path, headers):
        if self.authorization and headers.get("Authorization") != self.authorization:
            return json_answer(401, {"code": "Unauthorized", "message": "the token is not the task's"})
        if path != "/v2/credentials/task":
            return json_answer(400, {"code": "InvalidIdInRequest", "message": "no credentials of this id", "HTTPErrorCode": 400})
        return json_answer(200, self.document)


class Metadata(Server):
    """EC2's metadata service, by IMDSv2 alone."""

    ROLES = "/latest/meta-data/iam/security-credentials/"

    def __init__(self, world, seconds=21600):
        self.world = world
        self.mode = None
        self.tokens = []
        self.renew(seconds)
        super().__init__()

    def renew(self, seconds=21600):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        more = {"Code": "Success", "LastUpdated": now, "Type": "AWS-HMAC"}
        self.document = self.world.document(seconds, **more)

    def puts(self):
        return [path for method, path in self.seen if method == "PUT"]

    def answer(self, method, path, headers):
        if self.mode == "disabled":
            return 403, {}, ""
        if path == "/latest/api/token":
            return self.token(method, headers)
        if headers.get("X-aws-ec2-metadata-token") not in self.tokens:
            return 401, {}, ""
        if path == self.ROLES and self.mode != "no-profile":
            return 200, {"Content-Type": "text/plain"}, NODE_ROLE
        if path == self.ROLES + NODE_ROLE:
            return json_answer(200, self.credentials())
        return 404, {"Content-Type": "text/html"}, "<?xml version='1.0'?><html><body><h1>404 - Not Found</h1></body></html>"

    def token(self, method, headers):
        if self.mode == "hop-limit":
            return None
        ttl = headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if method != "PUT" or not ttl.isdigit() or not 1 <= int(ttl) <= 21600:
            return 400, {}, ""
        self.tokens.append(base64.b64encode(uuid.uuid4().bytes + uuid.uuid4().bytes).decode())
        return 200, {"X-aws-ec2-metadata-token-ttl-seconds": ttl}, self.tokens[-1]

    def credentials(self):
        match self.mode:
            case "untrusted":
                message = f"EC2 cannot assume the role {NODE_ROLE}."
                return {"Code": "AssumeRoleUnauthorizedAccess", "Message": message}
            case "degraded":
                return {**self.document, "Expiration": ENDED}
        return self.document


@contextlib.contextmanager
def relay_at(binary, folder, aws, profiles, secrets=(), settings=None, **variables):
    """A relay that must end well, having said nothing secret."""

    folder.mkdir(exist_ok=True)
    relay = Relay(binary, folder, aws, profiles, settings=settings, variables=variables, secrets=secrets)
    try:
        yield relay
    finally:
        relay.ends_well()
    assert relay.leaks() == []


def served(relay, profile):
    """The document that a profile serves, as soon as it does."""

    def look():
        status, _, body = relay.ask_for(profile)
        return status == 200 and json.loads(body)

    return wait_for(look, lambda: f"{profile} is served\n{relay.log()[-4000:]}")


def next_key_of(relay, profile, first):
    """Waits for other keys than the first, and gives the key and every status that was answered till then."""

    statuses = set()

    def look():
        status, _, body = relay.ask_for(profile)
        statuses.add(status)
        key = json.loads(body)["AccessKeyId"] if status == 200 else first
        return key != first and key

    return wait_for(look, lambda: f"new keys are served\n{relay.log()[-4000:]}"), statuses


def troubles(relay, profiles):
    """What `status` says of profiles that fail, once each has."""

    def look():
        found = {name: entry.get("trouble") for name, entry in relay.statuses().items()}
        return all(found[name] for name in profiles) and found

    return wait_for(look, lambda: f"each of {profiles} fails\n{relay.log()[-4000:]}")


def checked(relay):
    """What `check --connect` says of each profile: its line and those below it."""

    output = relay.said("check", "--connect")
    said = {}
    name = None
    for line in output.partition("the configuration is right\n")[2].splitlines():
        if not line.startswith(" "):
            name = line.partition(":")[0]
        said[name] = said.get(name, "") + line + "\n"
    return said, output
