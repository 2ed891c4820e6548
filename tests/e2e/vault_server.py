"""A real Vault: the program of tests/vault in a process of its own, or with VAULT_BIN a `vault server -dev`.

Both are the same Vault to a client. What only the former has, and `VaultServer` refuses with a plain message for the
latter, is the journal of requests, the faults in front of Vault, and client certificates from a CA of one's choice.
"""

import hashlib
import http.client
import json
import os
import ssl
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import toolchain
from harness import EXIT_SECONDS, environment, keep_port, spawn, wait_for
from identities import SERVER_ID
from moto_server import user


# So long an answer of Vault's is waited for that a test would count.
ON_THE_WAY = 5


class Unsupported(Exception):
    """Asked of a VAULT_BIN what only tests/vault can do."""


class VaultServer:
    """One Vault on a port that it keeps: `restart` is a Vault that has lost everything, at the same address."""

    def __init__(self, folder, root_token=None, tls=None, **flags):
        self._folder = Path(folder)
        self._log = self._folder / "vault.log"
        self._tls = tls
        self._root_token = root_token
        self._flags = flags
        self._process = None
        # While there is no Vault, too.
        self._kept = keep_port()
        self._port = self._kept.getsockname()[1]
        self.start()

    def start(self):
        binary = os.environ.get("VAULT_BIN")
        command = self._dev_command(binary) if binary else self._command()
        with open(self._log, "a") as log:
            self._process = spawn(
                command, environment(self._folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        try:
            described = self._read_dev() if binary else self._read()
        except BaseException:
            self.kill()
            raise
        self.control = described.get("control")
        self.address, self.root_token = described["address"], described["root_token"]
        self.unseal_keys, self.version = described["unseal_keys"], described.get("version")

    def _command(self):
        flags = {"listen": f"127.0.0.1:{self._port}", "root-token": self._root_token, **self._flags}
        if self._tls:
            flags |= {"tls-cert": self._tls.certificate, "tls-key": self._tls.key}
        given = [f"-{name.replace('_', '-')}={value}" for name, value in flags.items() if value is not None]
        return [toolchain.built("vault") / "vault", *given]

    def _read(self):
        line = self._process.stdout.readline()
        assert line, f"tests/vault did not start:\n{self.log()[-4000:]}"
        return json.loads(line)

    def _dev_command(self, binary):
        if self._tls or self._flags:
            raise Unsupported(f"TLS and {sorted(self._flags)} need tests/vault: unset VAULT_BIN")
        self._root_token = self._root_token or f"root-{os.urandom(12).hex()}"
        listen = f"-dev-listen-address=127.0.0.1:{self._port}"
        return [binary, "server", "-dev", listen, f"-dev-root-token-id={self._root_token}", "-dev-no-store-token"]

    def _read_dev(self):
        found = {"address": f"http://127.0.0.1:{self._port}", "root_token": self._root_token, "unseal_keys": []}
        for line in self._process.stdout:
            if line.startswith("Unseal Key:"):
                found["unseal_keys"].append(line.split(":", 1)[1].strip())
                # Nothing else is read from it, and a full pipe would stop it.
                threading.Thread(target=self._process.stdout.read, daemon=True).start()
                return found
        raise AssertionError(f"{os.environ['VAULT_BIN']} server -dev did not start:\n{self.log()[-4000:]}")

    def stop(self):
        self._process.terminate()
        self._end()
        self._kept.close()

    def kill(self):
        self._process.kill()
        self._end()

    def _end(self):
        self._process.wait(EXIT_SECONDS)
        self._process.stdin.close()
        self._process.stdout.close()

    def restart(self):
        """Kills it and starts another, empty, on the same port. Unless one was chosen, the root token is another then."""

        self.kill()
        self.start()

    def log(self):
        return self._log.read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    # Vault's API

    def call(self, method, path, body=None, token=None, namespace=None, headers=(), client=None):
        """One request to /v1/`path`, whatever comes of it: (status, headers, body). Without a token; "" is the root's."""

        sent = {"Content-Type": "application/json", **dict(headers)}
        if token is not None:
            sent["X-Vault-Token"] = token or self.root_token
        if namespace is not None:
            sent["X-Vault-Namespace"] = namespace
        parts = urlsplit(self.address)
        if parts.scheme == "https":
            trusted = ssl.create_default_context(cafile=self._tls.authority)
            if client:
                trusted.load_cert_chain(client.certificate, client.key)
            connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=30, context=trusted)
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            said = answer.read()
            return answer.status, answer.headers, json.loads(said) if said else None
        finally:
            connection.close()

    def api(self, method, path, body=None, token="", namespace=None, **more):
        """As `call`, as root unless told otherwise, and it must succeed: gives the body."""

        status, _, said = self.call(method, path, body, token, namespace, **more)
        assert status < 300, f"{method} {path}: {status} {said}"
        return said

    def login(self, mount, body, path="login", **more):
        return self.api("POST", f"auth/{mount}/{path}", body, token=None, **more)["auth"]

    def seal(self):
        self.api("PUT", "sys/seal")

    def unseal(self):
        for key in self.unseal_keys:
            self.api("PUT", "sys/unseal", {"key": key}, token=None)
        # Unsealed is not yet active: until the mounts are up it answers 500.
        wait_for(lambda: self.call("GET", "sys/health")[0] == 200, "Vault is active again")

    # The journal and the faults

    def journal(self, path_prefix="", **wanted):
        """The requests that it saw since `clear`, in order of arrival, less this harness's own as root.

        path_prefix begins with /v1/.
        """

        chosen = self._seen(path_prefix)
        until = time.monotonic() + ON_THE_WAY
        # What is being answered has no status yet, and is none that a test looks for.
        while any(not entry["status"] and "fault" not in entry for entry in chosen) and time.monotonic() < until:
            time.sleep(0.02)
            chosen = self._seen(path_prefix)
        return [entry for entry in chosen if all(entry.get(name) == value for name, value in wanted.items())]

    def _seen(self, path_prefix):
        own = token_digest(self.root_token)
        seen = [entry for entry in self._control("GET", "/journal") if entry.get("token") != own]
        return [entry for entry in seen if entry["path"].startswith(path_prefix)]

    def clear(self):
        """Forgets the journal and the faults, and ends what hangs."""

        self._control("POST", "/fault/clear")
        self._control("POST", "/journal/clear")

    def clear_faults(self):
        self._control("POST", "/fault/clear")

    def fault(self, path_prefix, kind, **more):
        """See tests/vault/front.go. The first fault with requests left that fits a request is the one it meets."""

        self._control("POST", "/fault", {"path_prefix": path_prefix, "kind": kind, **more})

    def _control(self, method, path, body=None):
        if self.control is None:
            raise Unsupported("the journal and the faults need tests/vault: unset VAULT_BIN")
        parts = urlsplit(self.control)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status < 300, f"{path}: {said.decode()}"
            return json.loads(said) if said else None
        finally:
            connection.close()

    # What tests configure

    def policy(self, name, paths):
        """Writes a policy; `paths` gives each path its capabilities."""

        rules = "\n".join(f'path "{path}" {{ capabilities = {json.dumps(allowed)} }}' for path, allowed in paths.items())
        self.api("PUT", f"sys/policies/acl/{name}", {"policy": rules})

    def mount_aws(self, aws, mount="aws", **config):
        """The AWS engine on the test AWS, as a user of its own that may do all in IAM and STS. Gives that user's ARN."""

        self.api("POST", f"sys/mounts/{mount}", {"type": "aws"})
        iam = aws.client("iam", **aws.operator)
        arn, key = user(iam, f"vault-{mount}-{os.urandom(4).hex()}", Action=["iam:*", "sts:*"], Resource="*")
        root = {
            "access_key": key["access_key_id"],
            "secret_key": key["secret_access_key"],
            "region": aws.region,
            "iam_endpoint": aws.endpoint,
            "sts_endpoint": aws.endpoint,
            **config,
        }
        self.api("POST", f"{mount}/config/root", root)
        return arn

    def aws_role(self, name, credential_type, mount="aws", **more):
        self.api("POST", f"{mount}/roles/{name}", {"credential_type": credential_type, **more})

    def enable_auth(self, kind, mount=None, **config):
        self.api("POST", f"sys/auth/{mount or kind}", {"type": kind})
        if config:
            self.api("POST", f"auth/{mount or kind}/config", config)
        return mount or kind

    def mount_kubernetes(self, reviews, mount="kubernetes"):
        """Auth by service accounts whose tokens `reviews` judges: a TokenReviews, or a real API server."""

        self.enable_auth("kubernetes", mount)
        self.reviewed_by(reviews, mount)
        return mount

    def reviewed_by(self, reviews, mount="kubernetes", **more):
        config = {
            "kubernetes_host": reviews.address,
            "kubernetes_ca_cert": reviews.authority,
            "token_reviewer_jwt": reviews.reviewer,
            "disable_local_ca_jwt": True,
        }
        self.api("POST", f"auth/{mount}/config", {**config, **more})

    def mount_jwt(self, issuer, mount="jwt"):
        """Auth by what `issuer`, an Issuer, signs."""

        return self.enable_auth("jwt", mount, jwt_validation_pubkeys=[issuer.public_key], bound_issuer=issuer.name)

    def mount_aws_auth(self, aws, mount="aws"):
        """Auth by a signed GetCallerIdentity that Vault has the test AWS judge."""

        self.enable_auth("aws", mount)
        config = {
            "sts_endpoint": aws.endpoint,
            "sts_region": aws.region,
            "iam_endpoint": aws.endpoint,
            "iam_server_id_header_value": SERVER_ID,
        }
        self.api("POST", f"auth/{mount}/config/client", config)
        return mount


def token_digest(token):
    """How the journal names a token."""

    return hashlib.sha256(token.encode()).hexdigest()[:16]
