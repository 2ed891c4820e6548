"""IAM Roles Anywhere as a source: a certificate becomes a role's session, through the relay, to boto3."""

import json

import pytest

import identities
from anywhere_server import Anywhere, Authority, put, secret_lines, write
from harness import SESSION_SECONDS, Relay, TestAws, wait_for
from moto_server import role, trust


class World:
    """A Roles Anywhere, a CA that it trusts, and the relays that ask it."""

    def __init__(self, binary, aws, folder, tls=None):
        self.binary, self.aws, self.folder = binary, aws, folder
        self.service = Anywhere(aws, tls).furnish()
        self.root = Authority("root")
        self.anchor = self.service.anchor("root", self.root)
        allowed = {"Action": "sts:GetCallerIdentity", "Resource": "*"}
        iam = aws.client("iam", **aws.operator)
        self.spoke = role(iam, "beyond", trust("*"), **allowed)
        self.secrets, self.relays = [], []

    def source(self, name, identity=None, form="pkcs8", **more):
        """Settings of a source, over a profile of its own at the service."""

        paths = {}
        if identity is not None:
            certificate, key = self.write(name, identity, form)
            paths = {"certificate": str(certificate), "private_key": str(key)}
        given = {
            "trust_anchor_arn": self.anchor,
            "role_arn": self.service.role_arn,
            "endpoint": self.service.endpoint,
            **paths,
            **more,
        }
        given.setdefault("profile_arn", self.service.profile(name))
        return {"roles_anywhere": given}

    def write(self, name, identity, form="pkcs8"):
        self.secrets += secret_lines(identity)
        return write(self.folder, identity, name, form)

    def profile(self, name):
        return self.service.profiles[self.service.arn("profile", name)]

    def start(self, profiles, **more):
        folder = self.folder / f"relay-{len(self.relays)}"
        folder.mkdir()
        relay = Relay(self.binary, folder, self.aws, profiles, secrets=self.secrets, **more)
        self.relays.append(relay)
        return relay

    def asked(self, name):
        arn = self.service.arn("profile", name)
        return [entry for entry in self.service.seen if entry["asked"].get("profileArn") == arn]

    def stop(self):
        for relay in self.relays:
            relay.ends_well()
            relay.known_secrets = list(self.secrets)
            assert relay.leaks() == []
        self.service.stop()


@pytest.fixture
def world(binary, calm_aws, tmp_path):
    made = World(binary, calm_aws, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def quick_world(binary, tmp_path):
    """One whose sessions last seconds."""

    folder = tmp_path / "quick-aws"
    folder.mkdir()
    aws = TestAws(folder, SESSION_SECONDS)
    made = World(binary, aws, tmp_path)
    yield made
    made.stop()
    aws.stop()


def told(output, profile):
    """What `check --connect` says of one profile: its lines, the first without the profile's name."""

    lines = output.splitlines()
    # Its first line says only where its credentials come from.
    at = max(number for number, line in enumerate(lines) if line.startswith(f"{profile}: "))
    found = [lines[at].removeprefix(f"{profile}: ")]
    for line in lines[at + 1 :]:
        if not line.startswith("    "):
            break
        found.append(line.strip())
    return found


def test_each_kind_of_key_with_and_without_a_chain_and_a_hop(world, tmp_path):
    between = Authority("between", above=world.root)
    profiles, wanted = {}, {}
    for name, authority, kind, form in (
        ("rsa8", world.root, "rsa", "pkcs8"),
        ("rsa1", between, "rsa", "traditional"),
        ("ec8", world.root, "p256", "pkcs8"),
        ("sec1", Authority("lowest", above=between), "p256", "traditional"),
    ):
        identity = authority.issue(name, kind)
        profiles[name] = {"source": world.source(name, identity, form)}
        wanted[name] = f":assumed-role/certified/{identity.certificate.serial_number:x}"
    profiles["hop"] = {
        "source": world.source("hop", between.issue("hop"), session_name="pod-{profile}"),
        "chain": [{"role_arn": world.spoke, "session_name": "beyond-{profile}"}],
    }
    wanted["hop"] = ":assumed-role/beyond/beyond-hop"
    relay = world.start(profiles).ready()
    for name, arn in wanted.items():
        assert arn in relay.called_as(name, tmp_path), name
    (asked,) = world.asked("hop")
    assert asked["asked"]["roleSessionName"] == "pod-hop"
    assert relay.status("rsa8")["origin"] == f"roles_anywhere {world.service.role_arn}"
    output = relay.said("check", "--connect")
    for name, arn in wanted.items():
        assert arn in told(output, name)[0]
    _, _, metrics = relay.ask_admin("/metrics")
    assert 'upstream="rolesanywhere",operation="CreateSession",result="success"' in metrics


def test_over_tls_with_a_ca_of_its_own(binary, calm_aws, tmp_path):
    authority = identities.Authority(tmp_path)
    world = World(binary, calm_aws, tmp_path, tls=authority.issue("server", server=True))
    try:
        identity = world.root.issue("app")
        profiles = {
            "right": {"source": world.source("right", identity, ca_cert=str(authority.authority))},
            "unknown": {"source": world.source("unknown", identity)},
        }
        relay = world.start(profiles)
        output = relay.said("check", "--connect")
        assert ":assumed-role/certified/" in told(output, "right")[0]
        failed, layer, fix = told(output, "unknown")
        assert failed.startswith("FAILED at source roles_anywhere: Roles Anywhere at https://127.0.0.1:")
        assert layer == "layer: TLS" and "roles_anywhere.ca_cert" in fix
    finally:
        world.stop()


def test_a_renewed_certificate_is_used_at_the_next_rotation(quick_world):
    world = quick_world
    old, new = world.root.issue("old"), world.root.issue("new", "rsa")
    relay = world.start({"app": {"source": world.source("app", old)}}).ready()

    def serials():
        return [entry["serial"] for entry in world.asked("app") if entry.get("status") == 201]

    assert set(serials()) == {old.certificate.serial_number}
    # One file after the other, as some do it; what is served goes on meanwhile.
    key = world.folder / "app.key"
    before = key.read_text()
    world.write("app", new)
    put(key, before)
    trouble = wait_for(lambda: relay.status("app")["trouble"], "the mismatch is told")
    assert trouble["cause"] == "transient" and "not the key of the first certificate" in trouble["reason"]
    assert relay.ask_for("app")[0] == 200
    world.write("app", new)
    wait_for(lambda: serials()[-1] == new.certificate.serial_number, "the new certificate is shown")
    wait_for(lambda: relay.status("app")["trouble"] is None, "nothing is wrong any more")
    assert relay.ask_for("app")[0] == 200


def test_an_expired_certificate_stops_what_is_served_in_the_end_and_a_new_one_heals_it(quick_world):
    world = quick_world
    # The relay must have used it by then.
    short = world.root.issue("short", ends=0.3)
    relay = world.start({"app": {"source": world.source("app", short)}}).ready()
    refused = wait_for(lambda: (answer := relay.ask_for("app"))[0] != 200 and answer, "nothing is served")
    assert refused[0] == 503 and "has expired at" in refused[2]
    asked = len(world.asked("app"))
    # What was signed in its time may come a moment later; a relay that went on to show it would have asked again since.
    ended = short.certificate.not_valid_after_utc.timestamp()
    assert max(entry["at"] for entry in world.asked("app")) < ended + 3, "an expired certificate is shown"
    world.write("app", world.root.issue("next"))
    wait_for(lambda: relay.ask_for("app")[0] == 200, "the new certificate heals it")
    assert len(world.asked("app")) > asked


def test_throttled_and_refused_then_served_again(quick_world):
    world = quick_world
    source = world.source("app", world.root.issue("app"))
    profile = world.profile("app")
    relay = world.start({"app": {"source": source}}).ready()
    slow = json.dumps({"message": "Rate exceeded"}).encode()
    kind = {"x-amzn-ErrorType": "ThrottlingException", "Retry-After": "1"}
    profile.fault = lambda: (429, kind, slow)
    trouble = wait_for(lambda: relay.status("app")["trouble"], "it is throttled")
    assert trouble["cause"] == "throttled" and "Rate exceeded" in trouble["reason"]
    assert wait_for(lambda: (found := relay.ask_for("app")[0]) != 200 and found, "nothing is served any more") == 503
    profile.fault = None
    wait_for(lambda: relay.ask_for("app")[0] == 200, "served again")
    profile.enabled = False
    assert wait_for(lambda: (found := relay.ask_for("app")[0]) != 200 and found, "nothing is served any more") == 403
    profile.enabled = True
    wait_for(lambda: relay.ask_for("app")[0] == 200, "served again")


# What is wrong, and what `check --connect` says of it: words of the failure, its layer, words of the fix.
BROKEN = {
    "wrong-ca": ("Untrusted Signing Certificate", "trust anchor", "hold the CA that signed"),
    "no-chain": ("Untrusted Signing Certificate", "trust anchor", "intermediates"),
    "expired": ("it has expired at", "certificate", "renew the certificate"),
    "not-yet": ("it is not valid before", "certificate", "clock"),
    "other-key": ("not the key of the first certificate", "private_key", "issued for this key"),
    "other-rsa-key": ("not the key of the first certificate", "private_key", "issued for this key"),
    "small-rsa-key": ("it must have 2048 to 4096 bits", "private_key", "2048"),
    "no-certificate": ("no-certificate.crt: it cannot be read: No such file", "certificate", "mount the file"),
    "no-key": ("no-key.key: it cannot be read: No such file", "private_key", "mount the file"),
    "empty-certificate": ("no PEM certificate is in it", "certificate", "PEM file"),
    "empty-key": ("no PEM private key is in it", "private_key", "PEM file"),
    "half-key": ("its PRIVATE KEY cannot be read", "private_key", "PEM file"),
    "encrypted-key": ("the key is encrypted", "private_key", "unencrypted"),
    "p384": ("ECDSA over P-384", "private_key", "P-256"),
    "ed25519": ("Ed25519", "private_key", "P-256"),
    "a-ca": ("Insufficient certificate", "trust anchor", "CA:FALSE"),
    "not-listed": ("Unable to assume role for arn:aws:iam::999999999999:role/other", "role", "trust policy"),
    "disabled": ("Profile is disabled", "profile", "enable-profile"),
    "no-profile": ("404 ResourceNotFoundException: Profile not found", "ARN", "correct trust_anchor_arn"),
    "no-anchor": ("Trust anchor not found", "ARN", "correct trust_anchor_arn"),
    "named": ("session name is not accepted", "profile", "--accept-role-session-name"),
    "throttled": ("429 ThrottlingException: Rate exceeded", "quota", "longer durations"),
    "fails": ("503 ServiceUnavailableException", "Roles Anywhere", "wait"),
    "proxy": ("the answer (403)", "endpoint", "proxy"),
    "hangs": ("no answer within 10 s", "address", "NetworkPolicy"),
    "nowhere": ("could not be reached: Connection refused", "address", "NetworkPolicy"),
    "garbled": ("cannot be read (line 1 column", "endpoint", "look what answers"),
    "nothing": ("has no credentials", "endpoint", "look what answers"),
    "past": ("an expiration in the past", "clock", "clock"),
}


def broken_sources(world):
    root, good = world.root, world.root.issue("good")
    between = Authority("between", above=root)
    alone = between.issue("alone")
    alone.between = []
    made = {
        "wrong-ca": world.source("wrong-ca", Authority("stranger").issue("app")),
        "no-chain": world.source("no-chain", alone),
        "expired": world.source("expired", root.issue("old", begins=-10, ends=-1)),
        "not-yet": world.source("not-yet", root.issue("early", begins=10)),
        "not-listed": world.source("not-listed", good, role_arn="arn:aws:iam::999999999999:role/other"),
        "no-profile": world.source("no-profile", good, profile_arn=world.service.arn("profile", "none")),
        "no-anchor": world.source("no-anchor", good, trust_anchor_arn=world.service.arn("trust-anchor", "none")),
        "named": world.source("named", good, session_name="pod"),
        "nowhere": world.source("nowhere", good, endpoint="http://127.0.0.1:9"),
        "other-rsa-key": world.source("other-rsa-key", root.issue("app", "rsa")),
        "small-rsa-key": world.source("small-rsa-key", root.issue("app", "rsa1024")),
        "p384": world.source("p384", root.issue("app", "p384")),
        "ed25519": world.source("ed25519", root.issue("app", "ed25519")),
    }
    made["a-ca"] = world.source("a-ca", between.identity())
    for name in BROKEN:
        if name not in made:
            made[name] = world.source(name, good)

    def path(name):
        return world.folder / name

    world.write("other", other := root.issue("other"))
    path("other-key.key").write_text(other.key_pem())
    world.write("other-rsa", other := root.issue("other", "rsa"))
    path("other-rsa-key.key").write_text(other.key_pem("traditional"))
    path("no-certificate.crt").unlink()
    path("no-key.key").unlink()
    path("empty-certificate.crt").write_text("")
    path("empty-key.key").write_text("\n")
    path("half-key.key").write_text(good.key_pem()[:90])
    path("encrypted-key.key").write_text(good.key_pem(passphrase=b"correct horse"))
    world.profile("disabled").enabled = False
    world.profile("named").accepts_session_name = False

    def says(status, code, message):
        return lambda: (status, {"x-amzn-ErrorType": code}, json.dumps({"message": message}).encode())

    def answers(change):
        return {"answer": change}

    def ended(answer):
        answer["credentialSet"][0]["credentials"]["expiration"] = "2001-01-01T00:00:00Z"
        return answer

    faults = {
        "throttled": says(429, "ThrottlingException", "Rate exceeded"),
        "fails": says(503, "ServiceUnavailableException", "Service is unavailable"),
        "proxy": lambda: (403, {"Content-Type": "text/html"}, b"<h1>Blocked</h1>"),
        "hangs": "hang",
        "garbled": answers(lambda answer: {"credentialSet": json.dumps(answer)}),
        "nothing": answers(lambda _: {"credentialSet": []}),
        "past": answers(ended),
    }
    for name, fault in faults.items():
        world.profile(name).fault = fault
    return made


def test_what_is_broken_is_explained(world):
    sources = broken_sources(world)
    relay = world.start({name: {"source": source} for name, source in sources.items()})
    output = relay.said("check", "--connect")
    for name, (words, layer, fix) in BROKEN.items():
        lines = told(output, name)
        assert lines[0].startswith("FAILED at source roles_anywhere: ") and words in lines[0], (name, lines)
        assert lines[1] == f"layer: {layer}", (name, lines)
        assert lines[2].startswith("fix: ") and fix in lines[2], (name, lines)
    # The relay itself says the same, and serves nothing.
    for name in ("wrong-ca", "expired", "past", "no-key"):
        trouble = wait_for(lambda: relay.status(name)["trouble"], f"{name} is told")
        assert BROKEN[name][0] in trouble["reason"]
        assert relay.ask_for(name)[0] in (403, 503)
    causes = {name: relay.status(name)["trouble"]["cause"] for name in sources if name != "hangs"}
    assert causes["wrong-ca"] == causes["disabled"] == "denied"
    assert causes["expired"] == causes["not-yet"] == "stale_caller"
    assert causes["no-profile"] == causes["encrypted-key"] == causes["p384"] == "misconfigured"
    assert causes["other-key"] == causes["past"] == causes["garbled"] == causes["proxy"] == "transient"
    assert (causes["throttled"], causes["nowhere"], causes["no-key"]) == ("throttled", "unreachable", "not_configured")
