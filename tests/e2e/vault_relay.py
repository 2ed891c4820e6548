"""A relay with two profiles at a real Vault, `user` (iam_user) and `session` (assumed_role), and who looks at it all
through: what it serves, what it says, and what it asks of Vault and of the test AWS.
"""

import datetime
import json
import re
import threading
import time

from harness import Relay, wait_for, whole_lines
from moto_server import policy, role, trust

PROFILES = ("user", "session")
ROLE = "vault-reader"
QUICK = {"successes": 2, "settle": "0s"}
FLOOR = 0.25  # no wait of the relay's after a failure is shorter
VAULT_TOKEN = re.compile(r"\bhv[sb]\.[\w-]{16,}")
JWT = re.compile(r"\beyJ[\w-]{16,}\.")


def epoch(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def reader(aws):
    """The role that `session` gets, made once for a test AWS."""

    iam = aws.client("iam", **aws.operator)
    allowed = {"Action": "sts:GetCallerIdentity", "Resource": "*"}
    return role(iam, ROLE, trust("*"), **allowed)


class Watch:
    """An application that asks for one profile without a pause, and notes when it asked, what it was given, and when."""

    def __init__(self, relay, profile, pause=0.05):
        self.profile = profile
        self.seen = []
        self.secrets = set()
        self._relay = relay
        self._pause = pause
        self._ended = threading.Event()
        self._failed = None
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self):
        try:
            while not self._ended.wait(self._pause):
                asked = time.time()
                status, _, body = self._relay.ask_for(self.profile)
                said = json.loads(body)
                key = said["AccessKeyId"] if status == 200 else None
                expires = epoch(said["Expiration"]) if status == 200 else None
                if status == 200:
                    self.secrets.update(said[name] for name in ("SecretAccessKey", "Token") if said.get(name))
                self.seen.append((asked, status, key, expires, time.time()))
        except Exception as error:  # told by whoever stops it
            self._failed = error

    def stop(self):
        self._ended.set()
        self._thread.join(15)
        assert self._failed is None, f"{self.profile}: {self._failed!r}"

    def statuses(self, since=0):
        return {status for asked, status, *_ in self.seen if asked >= since}

    def keys(self, since=0):
        """The keys that were served, in order, each once."""

        return list(dict.fromkeys(key for asked, _, key, *_ in self.seen if key and asked >= since))

    def last_served(self, key):
        return max((asked for asked, _, served, *_ in self.seen if served == key), default=None)

    def refused_after(self, key):
        """The first refusal since it was given this key for the last time, as it was noted; None if there was none."""

        seen = list(self.seen)
        last = max(place for place, entry in enumerate(seen) if entry[2] == key)
        return next((entry for entry in seen[last:] if entry[1] != 200), None)


class Scene:
    """One relay at one Vault. Its mounts, its policy and its role are its own, so scenes can share a Vault."""

    def __init__(self, vault, aws, name, folder, lease="8s", lease_max="1h", **token):
        self.vault, self.aws, self.name, self.folder = vault, aws, name, folder
        self.creds, self.login = f"/v1/{name}-aws/creds/", f"/v1/auth/{name}-k8s/login"
        self._lease = {"lease": lease, "lease_max": lease_max}
        self._token = {"token_ttl": "10m", **token}
        self.relay = None
        self.watches = {}
        self._secrets = []

    # Vault's side

    def furnish(self, reviews, audience="vault"):
        """Mounts, roles and policies; once more after Vault has lost them."""

        self.policy()
        self.vault.mount_aws(self.aws, f"{self.name}-aws")
        self.vault.api("POST", f"{self.name}-aws/config/lease", self._lease)
        self.vault.mount_kubernetes(reviews, f"{self.name}-k8s")
        self.k8s_role(audience)
        self.aws_roles()
        return self

    def aws_roles(self):
        reads = policy(Action="sts:GetCallerIdentity", Resource="*")
        self.vault.aws_role("user", "iam_user", f"{self.name}-aws", policy_document=reads)
        arn = f"arn:aws:iam::{self.aws.spoke_account}:role/{ROLE}"
        self.vault.aws_role("session", "assumed_role", f"{self.name}-aws", role_arns=[arn])

    def k8s_role(self, audience="vault"):
        bound = {"bound_service_account_names": ["app"], "bound_service_account_namespaces": ["payments"]}
        given = {**bound, "audience": audience, "token_policies": [self.name], **self._token}
        self.vault.api("POST", f"auth/{self.name}-k8s/role/app", given)

    def policy(self, **creds):
        paths = {f"{self.name}-aws/creds/*": ["update"], "sys/leases/renew": ["update"], "sys/leases/revoke": ["update"]}
        self.vault.policy(self.name, {**paths, **creds})

    def accessors(self):
        """The accessors of the tokens that this scene's logins were given and that live."""

        found = []
        for accessor in self.vault.api("LIST", "auth/token/accessors")["data"]["keys"]:
            status, _, said = self.vault.call("POST", "auth/token/lookup-accessor", {"accessor": accessor}, token="")
            if status == 200 and said["data"]["path"] == self.login.removeprefix("/v1/"):
                found.append(accessor)
        return found

    def calls(self, path, **wanted):
        """Requests of the relay's to a path below /v1/ of this scene's; of paths that scenes share see to it that it is alone."""

        return self.vault.journal(path, **wanted)

    def fault(self, *paths, kind, **more):
        for path in paths:
            self.vault.fault(path, kind, **more)

    # The relay's side

    def start(self, binary, issuer, vault=None, profile=None, variables=None, auth=None, pause=0.05):
        jwt = issuer.service_account("payments", "app")
        self._secrets.append(jwt)
        self.folder.mkdir()
        login = auth or {"kubernetes": {"mount": f"{self.name}-k8s", "role": "app", "token_file": self.file("jwt", jwt)}}
        settings = {"address": self.vault.address, "auth": login, "propagation": QUICK, **(vault or {})}
        source = {"mount": f"{self.name}-aws", **(profile or {})}
        profiles = {
            "user": {
                "source": {"vault": {"role": "user", "credential_type": "iam_user", **source}},
                "serve_long_lived_keys": True,
            },
            "session": {"source": {"vault": {"role": "session", "credential_type": "assumed_role", **source}}},
        }
        self.relay = Relay(
            binary,
            self.folder,
            self.aws,
            profiles,
            settings={"vault": settings},
            variables=variables,
            secrets=self._secrets,
            arguments=("--drain", "0"),
        )
        self.watches = {name: Watch(self.relay, name, pause) for name in PROFILES}
        return self

    def file(self, name, content):
        self.folder.mkdir(exist_ok=True)
        path = self.folder / name
        path.write_text(content)
        path.chmod(0o600)
        self._secrets.append(content.strip())
        return str(path)

    def status(self, profile):
        """What `credential-relay status` says of a profile."""

        return self.relay.status(profile)

    def until(self, look, what):
        return wait_for(look, lambda: f"{self.name}: {what}\n{self.warnings()}")

    def served(self, profile):
        """Waits until something is served, and gives its document."""

        def look():
            status, _, body = self.relay.ask_for(profile)
            return status == 200 and json.loads(body)

        return self.until(look, f"{profile} is served")

    def ready(self):
        for profile in PROFILES:
            self.served(profile)
        return self

    def trouble(self, profile, cause, *words, state=None):
        """Waits for a failure of this cause in these words, and gives what `status` says then."""

        def look():
            said = self.status(profile)
            found = said["trouble"]
            fits = found and found["cause"] == cause and all(word in found["reason"] for word in words)
            return fits and state in (None, said["state"]) and said

        return self.until(look, f"{profile} is in trouble: {cause} {words} {state or ''}")

    def failed(self, profile, cause, *words):
        """Waits for such a failure, and gives its first entry in the log: that stays, where a state lasts for a moment."""

        def look():
            failures = self.entries("refresh failed", profile=profile, cause=cause)
            return next((failure for failure in failures if all(word in failure["reason"] for word in words)), None)

        return self.until(look, f"{profile} has failed: {cause} {words}")

    def refused(self, profile, status):
        """Waits until nothing is served any more, and gives the answer that comes instead."""

        def look():
            found, kind, body = self.relay.ask_for(profile)
            return found != 200 and (found, kind, body)

        found, kind, body = self.until(look, f"{profile} is not served")
        assert (found, kind) == (status, "application/json"), body
        return json.loads(body)

    def healed(self, profile, since):
        """Waits until keys are served that were not before, or later, and nothing is wrong any more."""

        def look():
            said = self.status(profile)
            return said["state"] == "ready" and epoch(said["credential"]["expires"]) > since and said

        return self.until(look, f"{profile} has healed")

    def published(self, profile):
        """The key that was rotated to last, by the log: whoever asks may be a rotation behind."""

        return self.entries("rotated", profile=profile)[-1]["access_key_id"]

    def entries(self, message, **wanted):
        """The relay's log entries whose message begins so."""

        found = []
        for line in whole_lines(self.relay.log()):
            if message in line:
                entry = json.loads(line)
                fields = entry.get("fields", entry)
                begins = fields.get("message", "").startswith(message)
                if begins and all(fields.get(name) == value for name, value in wanted.items()):
                    found.append(fields)
        return found

    def failures(self, profile):
        return self.entries("refresh failed", profile=profile)

    def warnings(self):
        return "\n".join(line for line in self.relay.log().splitlines() if '"WARN"' in line or '"ERROR"' in line)[-3000:]

    # What became of it

    def stop(self):
        for watch in self.watches.values():
            watch.stop()
        self.relay.ends_well()
        self.check()

    def check(self):
        """Nothing was served beyond its end, waits kept their floor, and nothing secret was said."""

        ends = self.aws.expiries()
        for watch in self.watches.values():
            self.relay.known_secrets += watch.secrets
            for asked, status, key, expires, _ in watch.seen:
                assert status in (200, 403, 503), status
                if status == 200:
                    assert asked < expires, f"{watch.profile}: {key} was served {asked - expires:.2f} s after its end"
                if key in ends:
                    assert expires <= ends[key], f"{watch.profile}: {key} ends before its Expiration"
            for failure in self.failures(watch.profile):
                assert failure["retry_ms"] >= FLOOR * 1000 - 1, failure
        self.relay.known_secrets = sorted(set(self.relay.known_secrets))
        assert self.relay.leaks() == []
        for text in [self.relay.log(), *self.relay.heard]:
            assert not VAULT_TOKEN.search(text) and not JWT.search(text)

    def deleted(self, key):
        """When a user's key was deleted at the test AWS, if it was."""

        found = self.aws.journal("request", action="iam:DeleteAccessKey", about_key=key)
        return found[0]["at"] if found else None

    def alive(self, document):
        """Whether the test AWS takes these keys."""

        from botocore.exceptions import ClientError

        keys = (document["AccessKeyId"], document["SecretAccessKey"], document.get("Token"))
        try:
            self.aws.client("sts", *keys).get_caller_identity()
            return True
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("InvalidClientTokenId", "ExpiredToken"), error
            return False
