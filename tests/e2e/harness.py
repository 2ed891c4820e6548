"""What the end-to-end tests run, and how they look at it: the test AWS, the relay, the clients.

Nothing here sleeps to be in step with something: `wait_for` polls until a deadline.
"""

import base64
import contextlib
import ctypes
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

import toolchain

HERE = Path(__file__).resolve().parent
SESSION_SECONDS = 8  # the lifetime of the sessions that most tests see, less up to a second that AWS's whole seconds cut
EXIT_SECONDS = 10
# Nothing that will be there takes longer on a machine that does much else: an attempt of the relay's may be 60 s away, meet a
# login that is held for 15 s, and be 60 s away again (relay/rotation/backoff.rs, relay/sources/vault/session.rs).
PATIENCE = 150
WINDOW = 16  # so many characters of a secret in a row are a leak


def two_hops(aws, role_arn, external_id):
    """A profile's chain: from the base user to the hub, from there to a role in the other account."""

    return [
        {"role_arn": aws.hub_role_arn, "session_name": "hub-{profile}"},
        {"role_arn": role_arn, "external_id": external_id, "duration": "15m"},
    ]


def wait_for(look, what, seconds=PATIENCE):
    """Polls `look` until it gives something true, and returns that."""

    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.02)


def whole_lines(text):
    """The lines of what another program writes meanwhile. One that is not whole yet is left for the next look."""

    return text.rpartition("\n")[0].splitlines()


def end_with_parent():
    """In a child before it starts: be killed when the test run is, however that ends (Linux; a no-op elsewhere)."""

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def spawn(command, environment, **files):
    return subprocess.Popen(
        [str(word) for word in command], env=environment, text=True, preexec_fn=end_with_parent, **files
    )


def environment(home, **more):
    """An environment of its own: none of the caller's AWS or proxy settings gets in."""

    kept = {name: os.environ[name] for name in ("PATH", "JAVA_HOME", "TMPDIR") if name in os.environ}
    loopback = "127.0.0.1,localhost"
    return {"HOME": str(home), "LANG": "C.UTF-8", "NO_PROXY": loopback, "no_proxy": loopback, **kept, **more}


def keep_port():
    """A socket that keeps a loopback port at which nobody listens: whoever lets addresses be used again, as servers of Python, Go
    and Rust do, may listen there as often as they like, and the kernel gives it to nobody else.
    """

    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return kept


class ToSocket(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def http_get(url, method="GET", **headers):
    """One request, one answer, no proxy: (status, content type, body)."""

    parts = urlsplit(url)
    return exchange(http.client.HTTPConnection(parts.hostname, parts.port, timeout=10), method, parts.path, headers)


def exchange(connection, method, path, headers):
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read().decode()
    finally:
        connection.close()


def call_once(command, environment, log=str):
    """One call of a client of tests/clients, and what it says of it."""

    ran = subprocess.run(command, env=environment, input="call\n", capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0 and json.loads(ran.stdout)["ok"], ran.stdout + ran.stderr + log()[-4000:]
    return json.loads(ran.stdout)


def carry(one, other):
    """Carries what either of two connections says to the other, until both have ended."""

    back = threading.Thread(target=_pour, args=(other, one), daemon=True)
    back.start()
    _pour(one, other)
    back.join()


def _pour(source, sink):
    """Copies until the source ends, and tells the sink so."""

    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class TestAws:
    """moto_server.py in a process of its own, and the journal that it writes."""

    __test__ = False

    def __init__(self, folder, session_seconds):
        self.journal_path = folder / "journal.jsonl"
        self._secrets = folder / "secrets"
        self._errors = folder / "moto.log"
        command = [sys.executable, HERE / "moto_server.py", "--session-seconds", session_seconds]
        command += ["--journal", self.journal_path, "--secrets-file", self._secrets]
        with open(self._errors, "w") as errors:
            self._process = spawn(
                command, environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
        described = self._process.stdout.readline()
        assert described, f"moto_server.py did not start:\n{self._errors.read_text()}"
        self.described = described
        for name, value in json.loads(described).items():
            setattr(self, name, value)

    def stop(self):
        self._process.stdin.close()
        self._process.wait(EXIT_SECONDS)
        self._process.stdout.close()

    def journal(self, event, **wanted):
        """The journal's entries of one kind, in order."""

        lines = whole_lines(self.journal_path.read_text())
        entries = [entry for entry in map(json.loads, lines) if entry["event"] == event]
        return [entry for entry in entries if all(entry[name] == value for name, value in wanted.items())]

    def calls_by(self, application):
        marked = re.compile(rf"\bapp/{re.escape(application)}(?![\w-])")
        return [entry for entry in self.journal("request") if marked.search(entry["user_agent"])]

    def expiries(self):
        return {entry["access_key_id"]: entry["expires"] for entry in self.journal("issued")}

    def secrets(self):
        return self._secrets.read_text().split()

    def client(self, service, access_key_id, secret_access_key, session_token=None):
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            aws_session_token=session_token,
            config=Config(proxies={}),
        )


class Relay:
    """The relay's binary, its configuration, and everything that it was heard to say.

    A profile is a chain over the test AWS's base user, or settings of its own. `settings` and `variables` come on top of
    the configuration and the environment, `arguments` go to `serve`, and `secrets` are searched for beside its own.
    Without `file` there is none: of the one profile only the name counts, and `variables` say the rest.
    """

    def __init__(
        self, binary, folder, aws, profiles, settings=None, variables=None, secrets=(), arguments=(), file=True
    ):
        self.binary = binary
        self.known_secrets = list(secrets)
        self.aws = aws
        self.folder = folder
        self.config = folder / "relay.yaml"
        # A socket's path has room for about 100 characters, less than a test's own folder may take.
        self._run = tempfile.TemporaryDirectory(prefix="relay-")
        self.socket = Path(self._run.name) / "admin.sock"
        self.heard = []
        self.log_path = folder / "relay.log"
        base = folder / "base.json"
        base.write_text(
            json.dumps(
                {
                    "Version": 1,
                    "AccessKeyId": aws.base["access_key_id"],
                    "SecretAccessKey": aws.base["secret_access_key"],
                }
            )
        )
        base.chmod(0o600)
        self._token_files = {name: folder / name / "token" for name in profiles}
        for token_file in self._token_files.values():
            token_file.parent.mkdir()
        # JSON is YAML, and no test depends on how YAML is laid out.
        self.config.write_text(
            json.dumps(
                {
                    "endpoint": {"listen": "127.0.0.1:0"},
                    "admin": {"listen": "127.0.0.1:0", "socket": str(self.socket)},
                    "sts": {"region": aws.region, "endpoint": aws.endpoint},
                    "profiles": {
                        name: {
                            **(given if isinstance(given, dict) else {"source": {"file": {"path": str(base)}}, "chain": given}),
                            "access": {"token_file": str(self._token_files[name])},
                        }
                        for name, given in profiles.items()
                    },
                    **(settings or {}),
                },
                indent=2,
            )
        )
        self._configured = ["--config", self.config] if file else []
        self.environment = environment(
            folder / "home",
            CREDENTIAL_RELAY_LOG="trace",
            CREDENTIAL_RELAY_LOG_FORMAT="json",
            **({} if file else self._in_the_place_of_the_file()),
            **(variables or {}),
        )
        (folder / "home").mkdir()
        with open(self.log_path, "w") as log:
            self._process = spawn(
                [binary, "serve", *self._configured, *arguments],
                self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            listening = wait_for(self._listening, lambda: f"the relay listens\n{self.log()[-4000:]}")
        except BaseException:
            self.stop()
            raise
        self.endpoint, self.admin = listening["endpoint"], listening["admin"]
        self.pid = self._process.pid

    def _in_the_place_of_the_file(self):
        ((profile, token_file),) = self._token_files.items()
        return {
            "CREDENTIAL_RELAY_PROFILE": profile,
            "CREDENTIAL_RELAY_TOKEN_FILE": str(token_file),
            "CREDENTIAL_RELAY_LISTEN": "127.0.0.1:0",
            "CREDENTIAL_RELAY_ADMIN_LISTEN": "127.0.0.1:0",
            "CREDENTIAL_RELAY_ADMIN_SOCKET": str(self.socket),
            "AWS_REGION": self.aws.region,
            "AWS_ENDPOINT_URL_STS": self.aws.endpoint,
        }

    def _listening(self):
        assert self._process.poll() is None, f"the relay ended with {self._process.returncode}:\n{self.log()[-4000:]}"
        for line in self.log().splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                fields = entry.get("fields", entry)
                if fields.get("message") == "listening":
                    return fields
        return None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def token_path(self, profile):
        return self._token_files[profile]

    def token(self, profile):
        return self._token_files[profile].read_text()

    def ask(self, path, method="GET", **headers):
        """A request to the endpoint. The body of anything but a success is kept for the search for leaks."""

        status, kind, body = http_get(self.endpoint + path, method, **headers)
        if status != 200:
            self.heard.append(body)
        return status, kind, body

    def ask_for(self, profile):
        return self.ask(f"/v1/credentials/{profile}", Authorization=self.token(profile))

    def ask_admin(self, path):
        status, kind, body = http_get(self.admin + path)
        self.heard.append(body)
        return status, kind, body

    def ready(self):
        wait_for(
            lambda: self.ask_admin("/startupz")[0] == 200,
            lambda: f"/startupz is 200\n{self.log()[-4000:]}",
        )
        return self

    def command(self, *arguments):
        """Another process of the same binary, with the same configuration."""

        return spawn(
            [self.binary, *arguments, *self._configured],
            self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def said(self, *arguments, exit_code=None):
        """What a command prints to its standard output; it must end with the exit code, where one is given."""

        process = self.command(*arguments)
        output, errors = process.communicate(timeout=120)
        self.heard += [output, errors]
        assert exit_code in (None, process.returncode), output + errors
        return output

    def statuses(self):
        """What `status` says of each profile: it is asked again and again, so not by a process a time."""

        status, _, body = exchange(ToSocket(self.socket), "GET", "/status", {})
        self.heard.append(body)
        assert status == 200, body
        return {entry["name"]: entry for entry in json.loads(body)["profiles"]}

    def status(self, profile):
        return self.statuses()[profile]

    def called_as(self, profile, folder):
        """Who a boto3 program is that has nothing but the relay."""

        home = folder / f"home-{profile}"
        home.mkdir()
        command, more = toolchain.client_command("boto3")
        given = self.client_environment(profile, home, f"e2e-{profile}", **more)
        return call_once(command, given, self.log)["arn"]

    def client_environment(self, profile, home, application, **more):
        """What an application in the pod is given, and nothing else."""

        return environment(
            home,
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{self.endpoint}/v1/credentials/{profile}",
            AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(self._token_files[profile]),
            AWS_EC2_METADATA_DISABLED="true",
            AWS_REGION=self.aws.region,
            AWS_DEFAULT_REGION=self.aws.region,  # botocore reads only this one
            AWS_ENDPOINT_URL_STS=self.aws.endpoint,
            AWS_SDK_UA_APP_ID=application,
            **more,
        )

    def stop(self):
        """SIGTERM, and what it said: (exit code or None if it had to be killed, seconds)."""

        began = time.monotonic()
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(EXIT_SECONDS), time.monotonic() - began
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None, time.monotonic() - began
        finally:
            self._run.cleanup()

    def ends_well(self):
        """Stops it, which must end it by itself and well."""

        exit_code, seconds = self.stop()
        assert exit_code == 0, f"after SIGTERM: {exit_code} in {seconds:.1f} s\n{self.log()[-4000:]}"

    def leaks(self):
        """Pieces of secrets in what the relay was heard to say: at least WINDOW characters of one, also base64 or %-coded."""

        tokens = [self.token(name) for name, path in self._token_files.items() if path.exists()]
        return leaks([self.log(), *self.heard], self.aws.secrets() + tokens + self.known_secrets)


def leaks(texts, secrets):
    # Session tokens all begin alike; that beginning is no secret.
    long_ones = [secret for secret in secrets if len(secret) > 100]
    known = os.path.commonprefix(long_ones) if len(long_ones) > 1 else ""
    pieces = set()
    for secret in secrets:
        plain = secret.removeprefix(known) if known else secret
        assert len(plain) >= WINDOW, "a secret too short to search for"
        for form in (plain, quote(plain, safe=""), base64.b64encode(secret.encode()).decode()[4 * len(known) // 3 + 4 :]):
            pieces.update(form[at : at + WINDOW] for at in range(len(form) - WINDOW + 1))
    found = []
    for text in texts:
        for line in text.splitlines():
            for at in range(len(line) - WINDOW + 1):
                if line[at : at + WINDOW] in pieces:
                    found.append(f"…{line[max(0, at - 120) : at]}[a secret begins here]")
                    break
    return found
