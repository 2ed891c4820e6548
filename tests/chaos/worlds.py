"""The relays, each before an upstream of its own, and what can be asked of that upstream."""

import datetime
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pace
from front import Front
from harness import EXIT_SECONDS, Relay, TestAws, environment, spawn, two_hops, wait_for, whole_lines
from heard import Heard
from identities import Authority, Issuer, TokenReviews
from rooms import Room
from moto_server import policy, role, trust
from vault_relay import QUICK, Scene, reader
from vault_server import VaultServer

STS_HOST = "sts.chaos.test"
VAULT_TIMEOUT = 2


@dataclass
class World:
    """A relay and its profiles. `issued` gives the keys that the upstream made, with their ends; `asked` when it was asked."""

    name: str
    relay: Relay
    profiles: list
    issued: callable
    asked: callable
    # What one attempt at one profile may ask at most, and how long it may take.
    calls_an_attempt: int
    attempt_seconds: float
    closing: list = field(default_factory=list)

    def __post_init__(self):
        self.heard = Heard(self.relay.log_path)

    def stop(self):
        """Ends the relay, and what it alone needs: (exit code, seconds)."""

        ended = self.relay.stop()
        self.heard.stop()
        for close in reversed(self.closing):
            close()
        return ended


def made(folder):
    folder.mkdir(parents=True)
    return folder


def test_aws(folder):
    """One test AWS for all of them, with the role that every Vault's sessions are of."""

    aws = TestAws(made(folder), pace.LIFE)
    reader(aws)
    return aws


HOPS = 2
CHAIN_CALLS = HOPS * pace.STS_ATTEMPTS
CHAIN_SECONDS = HOPS * pace.STS_OPERATION


def spoke(aws):
    return two_hops(aws, aws.spoke_role_arn, aws.external_id)


def chain(binary, aws, folder):
    """Two hops by a host's name over TLS to the test AWS. Gives the world, its front, its room and a certificate that is over."""

    made(folder)
    authority = Authority(folder)
    good = authority.issue("good", server=True, host=STS_HOST)
    ended = authority.issue("ended", server=True, host=STS_HOST, seconds=-60)
    front = Front(aws.endpoint, good)
    room = Room(binary, folder)
    room.name(STS_HOST)
    endpoint = f"https://{STS_HOST}:{front.port}"
    sts = {"region": aws.region, "endpoint": endpoint, "ca_cert": str(authority.authority)}
    relay = Relay(room.program, made(folder / "relay"), aws, {"app": spoke(aws)}, {"sts": sts})
    world = World("chain", relay, ["app"], aws.expiries, front.since, CHAIN_CALLS, CHAIN_SECONDS, [front.stop])
    return world, front, room, ended


def process(binary, clock, aws, folder):
    """A role's session by a Vault that nothing happens to, by a clock that can be stepped. Vault says for how long a session
    lives, not until when, so a wrong clock is no reason to serve nothing. Gives the world, its front and its room.
    """

    side = VaultSide(aws, folder, "calm")
    front = Front(side.vault.address)
    room = Room(binary, folder, clock=clock)
    relay = side.relay(room.program, folder / "relay", ["session"], front.address)
    closing = [side.stop, front.stop]
    return World("process", relay, ["session"], aws.expiries, front.since, VAULT_CALLS, VAULT_SECONDS, closing), front, room


FILES = ("emptied", "replaced", "removed", "unreadable", "disk")


def files(binary, aws, folder):
    """A profile for each thing that may become of a file. Gives the world, the file of each one's base, the small file system
    and the room.
    """

    made(folder)
    front = Front(aws.endpoint)
    disk = folder / "disk"
    room = Room(binary, folder, disks=[disk])
    bases, profiles = {}, {}
    for name in FILES:
        bases[name] = folder / f"base-{name}.json"
        base = aws.base
        keys = {"AccessKeyId": base["access_key_id"], "SecretAccessKey": base["secret_access_key"]}
        bases[name].write_text(json.dumps({"Version": 1, **keys}))
        bases[name].chmod(0o600)
        profiles[name] = {"source": {"file": {"path": str(bases[name])}}, "chain": spoke(aws)}
    profiles["disk"]["credentials_file"] = {"path": str(disk / "credentials")}
    sts = {"region": aws.region, "endpoint": front.address}
    relay = Relay(room.program, made(folder / "relay"), aws, profiles, {"sts": sts})
    world = World("files", relay, list(profiles), aws.expiries, front.since, CHAIN_CALLS, CHAIN_SECONDS, [front.stop])
    return world, bases, disk, room


class VaultSide:
    """A real Vault that gets its credentials from the test AWS, and all that is written into it, as often as it is lost."""

    def __init__(self, aws, folder, name):
        made(folder)
        self.aws = aws
        self.issuer = Issuer()
        self.reviews = TokenReviews(self.issuer)
        self.vault = VaultServer(made(folder / "vault"))
        # Users live as long as sessions do, so that Vault is asked for either.
        self.scene = Scene(self.vault, aws, name, folder / "scene", lease=f"{pace.LIFE}s")
        self.team = self._team()
        self.scene.furnish(self.reviews)
        self._allow_hop()

    def _team(self):
        iam = self.aws.client("iam", **self.aws.operator)
        self._policy = policy(Action="sts:*", Resource="*")
        return role(iam, f"team-{self.scene.name}", trust("*"), Action="sts:*", Resource="*")

    def _allow_hop(self):
        self.vault.aws_role("user", "iam_user", f"{self.scene.name}-aws", policy_document=self._policy)

    def furnish_again(self):
        self.scene.furnish(self.reviews)
        self._allow_hop()

    def relay(self, binary, folder, profiles=("session", "team"), address=None, timeout=VAULT_TIMEOUT, **more):
        """`session` is a role's session by Vault itself, `team` a role that a user of Vault's assumes."""

        scene = self.scene
        token_file = scene.file("jwt", self.issuer.service_account("payments", "app", seconds=86400))
        auth = {"kubernetes": {"mount": f"{scene.name}-k8s", "role": "app", "token_file": token_file}}
        vault = {"address": address or self.vault.address, "auth": auth, "propagation": QUICK, "timeout": f"{timeout}s"}
        source = {"mount": f"{scene.name}-aws"}
        given = {
            "session": {"source": {"vault": {**source, "role": "session", "credential_type": "assumed_role"}}},
            "team": {
                "source": {"vault": {**source, "role": "user", "credential_type": "iam_user"}},
                "chain": [{"role_arn": self.team, "duration": "15m"}],
            },
        }
        chosen = {name: given[name] for name in profiles}
        secrets = [Path(token_file).read_text().strip()]
        return Relay(binary, made(folder), self.aws, chosen, {"vault": vault}, secrets=secrets, **more)

    def asked(self, since):
        return [entry for entry in self.vault.journal() if entry["start_ms"] >= 1000 * since]

    def stop(self):
        self.vault.stop()
        self.reviews.stop()


# A login, a look at the token or its renewal, and the read or the lease's renewal; then a hop.
VAULT_CALLS = 3
VAULT_SECONDS = 3 * VAULT_TIMEOUT + pace.STS_OPERATION


def vault(binary, aws, folder):
    side = VaultSide(aws, folder, "chaos")
    relay = side.relay(binary, folder / "relay")
    return World("vault", relay, ["session", "team"], aws.expiries, side.asked, VAULT_CALLS, VAULT_SECONDS, [side.stop]), side


class EmbeddedAws:
    """The upstream of `credential-relay dev`, whose faults are lines of a file. The relay under test is another one before it:
    that one's own is a client too, and is not looked at.
    """

    def __init__(self, binary, folder):
        self.faults = folder / "faults"
        self.region = "us-east-1"
        self._log = folder / "dev.log"
        words = [binary, "dev", "--lifetime", pace.LIFE, "--faults-from", self.faults]
        given = environment(folder, CREDENTIAL_RELAY_LOG="debug", CREDENTIAL_RELAY_LOG_FORMAT="json")
        with open(self._log, "w") as log:
            self._process = spawn(words, given, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        greeting = wait_for(self._greeting, lambda: f"dev's greeting\n{self._log.read_text()}")
        self.endpoint = greeting["AWS_ENDPOINT_URL_STS"]
        config = Path(greeting["CREDENTIAL_RELAY_CONFIG"])
        base = json.loads((config.parent / "base.json").read_text())
        self.base = {"access_key_id": base["AccessKeyId"], "secret_access_key": base["SecretAccessKey"]}
        self.chain = json.loads(config.read_text())["profiles"]["dev"]["chain"]

    def _greeting(self):
        lines = [line.removeprefix("export ") for line in self._log.read_text().splitlines() if line.startswith("export ")]
        variables = dict(line.split("=", 1) for line in lines if " " not in line)
        found = {name: value.strip("'") for name, value in variables.items()}
        return found if "CREDENTIAL_RELAY_CONFIG" in found else None

    def secrets(self):
        return [self.base["secret_access_key"]]

    def expiries(self):
        ends = {}
        for line in whole_lines(self._log.read_text()):
            if "issued a session of a role" in line:
                said = json.loads(line)
                at = datetime.datetime.fromisoformat(said["timestamp"]).timestamp()
                ends[said["access_key_id"]] = at + said["lifetime_seconds"]
        return ends

    def strike(self, *faults):
        """The faults from now on. The file comes whole: it is read at each call."""

        draft = self.faults.with_suffix(".new")
        draft.write_text("".join(f"{fault}\n" for fault in faults))
        draft.rename(self.faults)

    def stop(self):
        self._process.terminate()
        self._process.wait(EXIT_SECONDS)


def embedded(binary, folder):
    made(folder)
    aws = EmbeddedAws(binary, folder)
    front = Front(aws.endpoint)
    sts = {"region": aws.region, "endpoint": front.address}
    relay = Relay(binary, made(folder / "relay"), aws, {"app": aws.chain}, {"sts": sts})
    closing = [aws.stop, front.stop]
    return World("embedded", relay, ["app"], aws.expiries, front.since, CHAIN_CALLS, CHAIN_SECONDS, closing), aws
