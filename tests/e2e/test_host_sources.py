"""The sources of a host: programs that print keys, and the SDKs' shared files."""

import hashlib
import http.server
import json
import os
import threading
import time

import pytest
from harness import two_hops, wait_for

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.fixture(scope="module")
def session(module_aws):
    """A session of the spoke, as a program may print it."""

    aws = module_aws
    hub = aws.client("sts", **aws.base).assume_role(RoleArn=aws.hub_role_arn, RoleSessionName="printed")["Credentials"]
    keys = [hub[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    spoke = aws.client("sts", *keys).assume_role(
        RoleArn=aws.spoke_role_arn, RoleSessionName="printed", ExternalId=aws.external_id
    )["Credentials"]
    return {"Version": 1, **spoke, "Expiration": spoke["Expiration"].isoformat()}


@pytest.fixture
def shared(module_aws, session, tmp_path):
    """Shared files with a profile of each kind, and the settings that name them."""

    aws = module_aws
    printed, keys = tmp_path / "session.json", tmp_path / "keys.json"
    printed.write_text(json.dumps(session))
    base = {"AccessKeyId": aws.base["access_key_id"], "SecretAccessKey": aws.base["secret_access_key"]}
    keys.write_text(json.dumps({"Version": 1, **base}))
    where = f"region = {aws.region}\nendpoint_url = {aws.endpoint}\n"
    spoke = f"role_arn = {aws.spoke_role_arn}\nexternal_id = {aws.external_id}\n{where}"
    hub = f"role_arn = {aws.hub_role_arn}\n{where}"
    config, credentials = tmp_path / "config", tmp_path / "credentials"
    config.write_text(
        f"[profile spoke]\n{spoke}source_profile = hub\n"
        f"[profile hub]\n{hub}source_profile = base\n"
        f"[profile process-spoke]\n{spoke}source_profile = process-hub\n"
        f"[profile process-hub]\n{hub}source_profile = process\n"
        f"[profile process]\ncredential_process = cat {keys}\n"
        f"[profile printed]\ncredential_process = cat {printed}\n"
        f"[profile circle]\nrole_arn = {aws.hub_role_arn}\nsource_profile = square\n"
        f"[profile square]\nrole_arn = {aws.hub_role_arn}\nsource_profile = circle\n"
        f"[profile ecs]\nrole_arn = {aws.hub_role_arn}\ncredential_source = EcsContainer\n"
        f"[profile node]\nrole_arn = {aws.hub_role_arn}\ncredential_source = Ec2InstanceMetadata\n"
        f"[profile locked]\nrole_arn = {aws.locked_role_arn}\nexternal_id = wrong\n{where}source_profile = hub\n"
        f"[profile failing]\ncredential_process = echo {SECRET} >&2; exit 2\n"
    )
    credentials.write_text(
        f"[base]\naws_access_key_id = {aws.base['access_key_id']}\n"
        f"aws_secret_access_key = {aws.base['secret_access_key']}\n"
    )
    files = {"config_file": str(config), "credentials_file": str(credentials)}
    return {"keys": keys, "printed": printed, "profile": lambda name: {"profile": {"name": name, **files}}}


def test_each_kind_of_base_signs_calls_with_and_without_a_chain(module_aws, start_relay, shared, tmp_path):
    aws = module_aws
    cat = lambda path: {"process": {"command": ["/bin/cat", str(path)]}}
    chain = two_hops(aws, aws.spoke_role_arn, aws.external_id)
    profiles = {
        "process": {"source": cat(shared["printed"])},
        "process-chained": {"source": cat(shared["keys"]), "chain": chain},
        "profile": {"source": shared["profile"]("spoke")},
        "profile-chained": {"source": shared["profile"]("base"), "chain": chain},
        "profile-session-chained": {"source": shared["profile"]("hub"), "chain": chain[1:]},
        "profile-process": {"source": shared["profile"]("printed")},
        "profile-process-roles": {"source": shared["profile"]("process-spoke")},
        "profile-process-chained": {"source": shared["profile"]("process"), "chain": chain},
    }
    relay = start_relay(aws, **profiles).ready()
    for name in profiles:
        assert f"arn:aws:sts::{aws.spoke_account}:assumed-role/spoke/" in relay.called_as(name, tmp_path)
    relay.said("check", "--connect", exit_code=0)


class Portal(http.server.BaseHTTPRequestHandler):
    """The part of IAM Identity Center that gives a role's keys for a login."""

    def do_GET(self):
        if self.headers["x-amz-sso_bearer_token"] != self.server.login:
            self._answer(401, {"message": "Session token not found or invalid"})
        else:
            keys = self.server.keys
            session = {"accessKeyId": keys["AccessKeyId"], "secretAccessKey": keys["SecretAccessKey"]}
            ends = int((time.time() + 3600) * 1000)
            self._answer(200, {"roleCredentials": {**session, "sessionToken": keys["SessionToken"], "expiration": ends}})

    def _answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status == 401:
            self.send_header("x-amzn-ErrorType", "UnauthorizedException")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def portal(session):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    server.login, server.keys = "a-login-of-somebody-at-the-portal", session
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_sso_serves_once_somebody_has_logged_in(module_aws, start_relay, portal, tmp_path):
    aws = module_aws
    config = tmp_path / "sso-config"
    start = "https://portal.example/start"
    config.write_text(
        f"[profile sso]\nsso_start_url = {start}\nsso_region = {aws.region}\nsso_account_id = {aws.spoke_account}\n"
        f"sso_role_name = spoke\nregion = {aws.region}\nservices = local\n"
        f"[services local]\nsso =\n  endpoint_url = http://127.0.0.1:{portal.server_port}\n"
    )
    relay = start_relay(aws, sso={"source": {"profile": {"name": "sso", "config_file": str(config)}}})
    relay.known_secrets.append(portal.login)
    wait_for(lambda: "message" in json.loads(relay.ask_for("sso")[2]), "it is refused")
    assert "aws sso login" in relay.said("check", "--connect")

    cache = relay.folder / "home" / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    login = cache / f"{hashlib.sha1(start.encode()).hexdigest()}.json"
    login.write_text(json.dumps({"accessToken": "another-login-of-somebody", "expiresAt": ends, "startUrl": start}))
    # A rotation that is asked for does not wait for the back-off.
    refused = relay.command("rotate", "sso")
    said = refused.communicate(timeout=60)
    relay.heard += said
    assert refused.returncode == 1 and "invalid" in said[1], said
    login.write_text(json.dumps({"accessToken": portal.login, "expiresAt": ends, "startUrl": start}))
    given = relay.command("rotate", "sso")
    said = given.communicate(timeout=60)
    assert given.returncode == 0, said
    assert f"arn:aws:sts::{aws.spoke_account}:assumed-role/spoke/" in relay.called_as("sso", tmp_path)


def shell(script, **more):
    return {"process": {"command": ["/bin/sh", "-c", script], **more}}


def test_what_is_wrong_with_each_is_told_and_keeps_no_other_from_its_credentials(module_aws, start_relay, shared):
    aws = module_aws
    past = {"Version": 1, "AccessKeyId": "ASIAIOSFODNN7EXAMPLE", "SecretAccessKey": SECRET, "SessionToken": "t" * 20}
    past = json.dumps({**past, "Expiration": "2001-01-01T00:00:00Z"})
    escaped = json.dumps({"error": "lease", "SecretAccessKey": SECRET}, separators=(",", ":")).replace("/", "\\/")
    broken = {
        "missing": ({"process": {"command": ["/no/such/program"]}}, "there is no such program"),
        "garbage": (shell(f"echo {SECRET}"), "what it printed: line 1 column"),
        "nothing": (shell("true"), "what it printed: line 1 column"),
        "fails": (shell(f"echo no {SECRET} >&2; exit 1"), "exit code 1; the last that it said: no [redacted]"),
        "past": (shell(f"echo '{past}'"), "have expired"),
        "hangs": (shell("exec sleep 600", timeout="1s"), "did not end within 1 s"),
        "endless": (shell("exec cat /dev/zero"), "more than 64 KiB"),
        "nobody": (shared["profile"]("nobody"), "there is no such profile"),
        "circle": (shared["profile"]("circle"), "loop"),
        "ecs": (shared["profile"]("ecs"), "EcsContainer is not followed"),
        "node": (shared["profile"]("node"), "Ec2InstanceMetadata is not followed"),
        "wrapper": (shell("sleep 600 | cat", timeout="1s"), "did not end within 1 s"),
        "escaped": (shell(f"echo '{escaped}' >&2; exit 1"), '"error":"lease","SecretAccessKey":"[redacted]'),
        "locked": (shared["profile"]("locked"), "AccessDenied"),
        "failing": (shared["profile"]("failing"), "exit code 2; the last that it said: [redacted]"),
    }
    relay = start_relay(aws, **{name: {"source": source} for name, (source, _) in broken.items()})
    relay.known_secrets += [SECRET, SECRET.replace("/", "\\/"), SECRET.split("/")[-1]]
    wait_for(lambda: relay.ask_for("payments")[0] == 200, "the profile that is right is served")
    for name, (_, words) in broken.items():
        def told(name=name, words=words):
            status, _, body = relay.ask_for(name)
            assert status in (403, 503), body
            return words in json.loads(body)["message"]

        wait_for(told, lambda: f"{name}: {words}\n{relay.log()[-3000:]}")
    output = relay.said("check", "--connect", exit_code=1)
    for name, (_, words) in broken.items():
        said = next(line for line in output.splitlines() if line.startswith(f"{name}: FAILED"))
        assert words in said, output


def test_a_relay_in_the_environment_of_the_relay_is_not_asked_by_it(module_aws, start_relay, shared):
    """The profile's own way to a container endpoint is not followed, wherever it leads."""

    relay = start_relay(module_aws, ecs={"source": shared["profile"]("ecs")})
    wait_for(lambda: relay.ask_for("ecs")[0] == 403, lambda: relay.log()[-3000:])
    assert "write the source container" in json.loads(relay.ask_for("ecs")[2])["message"]


def test_files_that_hang_hold_up_their_own_profile_alone(module_aws, start_relay, shared, tmp_path):
    """A named pipe stands for a mount that hangs: whoever opens it waits for the other end."""

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    config = tmp_path / "identity"
    config.write_text(
        f"[profile identity]\nrole_arn = {module_aws.hub_role_arn}\nregion = {module_aws.region}\n"
        f"web_identity_token_file = {pipe}\n"
    )
    relay = start_relay(
        module_aws,
        piped={"source": {"profile": {"name": "base", "config_file": str(pipe)}}},
        identity={"source": {"profile": {"name": "identity", "config_file": str(config)}}},
    )
    wait_for(lambda: relay.ask_for("payments")[0] == 200, "the profile that is right is served")
    wait_for(lambda: "not a regular file" in json.loads(relay.ask_for("piped")[2])["message"], relay.log)
    # It ends within its time, which the fixture sees.
    assert relay.ask_for("payments")[0] == 200
