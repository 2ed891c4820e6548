"""Vault in trouble: what is served and said, what it costs, and that it heals by itself. A real Vault, a test AWS, and
for each failure one relay with both a user's keys (iam_user) and a role's session (assumed_role).
"""

import http.server
import threading
import time

import pytest

from harness import TestAws
from identities import Issuer, TokenReviews
from vault_relay import FLOOR, PROFILES, Scene, reader
from vault_server import VaultServer

# AWS and Vault cut up to a second each, and a machine that is busy needs the time between a renewal and the end of service.
SESSION_SECONDS = 8
# Of tokens that end while a test looks: a login, another user and its trial must fit into what is left of them.
BRIEF = 15
# Of calls where some hang: a machine that is busy must answer all others in it.
TIMEOUT = 4
RENEW = "/v1/sys/leases/renew"


class World:
    """What all scenes share."""

    def __init__(self, folder):
        self.aws = TestAws(folder, SESSION_SECONDS)
        self.issuer = Issuer()
        self.reviews = TokenReviews(self.issuer)
        self.vault = VaultServer(made(folder / "vault"))
        reader(self.aws)

    def stop(self):
        self.vault.stop()
        self.reviews.stop()
        self.aws.stop()


def made(folder):
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    started = World(tmp_path_factory.mktemp("failures"))
    yield started
    started.stop()


@pytest.fixture
def scene(world, binary, tmp_path):
    """Makes a scene at the first Vault, where it is alone, and starts its relay."""

    started = []
    world.vault.clear()

    def start(name, lease="8s", lease_max="1h", token=None, audience="vault", **given):
        made = Scene(world.vault, world.aws, name, tmp_path / name, lease, lease_max, **(token or {}))
        made.furnish(world.reviews, audience)
        started.append(made.start(binary, world.issuer, **given))
        return made

    yield start
    world.vault.clear_faults()
    for each in started:
        each.stop()


def outlived(scene, profile, status):
    """Waits until what is held has ended, and checks that it was served until shortly before, and nothing since."""

    answer = scene.refused(profile, status)
    watch = scene.watches[profile]
    key = watch.keys()[-1]
    *_, (_, _, _, expires, _) = [entry for entry in watch.seen if entry[2] == key]
    *_, told_at = scene.until(lambda: watch.refused_after(key), f"{profile} is refused to its application")
    # A tenth of such a short life is kept back; the last second may be lost to Vault's and AWS's whole ones. A refusal that may
    # heal is held for most of a second.
    assert told_at > expires - (2.5 if status == 403 else 1.7)
    return answer


def most(began):
    """So many attempts at most has one profile made since: none waits for less than the floor."""

    return 2 + int((time.time() - began) / FLOOR)


def test_sealed_and_unsealed(scene, world):
    sealed = scene("sealed").ready()
    user = sealed.served("user")["AccessKeyId"]
    world.vault.seal()
    began = time.time()
    for name in PROFILES:
        failure = sealed.failed(name, "transient", "503", "Vault is sealed")
        assert failure["stage"] == "source vault"
        assert failure["serving"].startswith(sealed.published(name))
    for name in PROFILES:
        assert outlived(sealed, name, 503)["code"] == "CredentialsUnavailable"
        said = sealed.trouble(name, "transient", "Vault is sealed", state="unavailable")
        assert said["credential"] is None and said["trouble"]["stage"] == "source vault"
    world.vault.unseal()
    for name in PROFILES:
        sealed.healed(name, time.time())
    # Each attempt is one call: the token is not asked about, nor another login made. Between sealed and active it answers 500.
    refused = [entry for entry in world.vault.journal() if entry["status"] >= 500]
    for name in PROFILES:
        mine = [entry for entry in refused if entry["path"] in (sealed.creds + name, *([RENEW] if name == "user" else []))]
        assert len(mine) == len(sealed.failures(name)) <= most(began)
    assert len(world.vault.journal(sealed.login)) == 1
    # The user ended with its lease, once Vault could see to it.
    sealed.until(lambda: sealed.deleted(user), "the old user is deleted")


def test_restarted_with_everything_lost(scene, world):
    lost = scene("lost").ready()
    user = lost.served("user")
    world.vault.kill()
    for name in PROFILES:
        assert lost.failed(name, "unreachable", "refused")["serving"].startswith(lost.published(name))
    began = time.time()
    world.vault.start()
    # The mounts are gone, so the login is refused: as by an API server that is down, this may heal.
    for name in PROFILES:
        lost.trouble(name, "stale_caller", lost.login.removeprefix("/v1/"), "403")
    for name in PROFILES:
        outlived(lost, name, 503)
    # Nobody is left to end the user: its keys live, but nothing says for how long, so they are served no more.
    assert lost.alive(user)
    logins = world.vault.journal(lost.login)
    assert 1 <= len(logins) <= most_logins(time.time() - began)
    lost.furnish(world.reviews)
    for name in PROFILES:
        lost.healed(name, time.time())
    assert len(world.vault.journal(lost.creds + "user", status=200)) == 1
    assert lost.deleted(user["AccessKeyId"]) is None


def most_logins(seconds):
    """So many failing logins at most has one session made: each is held for 2 s, 4, 8 and from then on 15."""

    made, held = 1, 0
    for hold in (2, 4, 8, *[15] * 20):
        held += hold
        if held > seconds:
            return made
        made += 1
    return made


def test_revoked_under_the_relay(scene, world):
    # The lease is long: the user's keys are looked at because the session's next read finds the token gone.
    revoked = scene("revoked", lease="1h").ready()
    first = revoked.served("user")
    assert revoked.alive(first)
    (accessor,) = revoked.accessors()
    world.vault.api("POST", "auth/token/revoke-accessor", {"accessor": accessor})
    revoked.until(lambda: not revoked.alive(first), "Vault has ended the user")
    (dead,) = revoked.until(
        lambda: revoked.entries("the key is dead before its time: withdrawn", profile="user"), "the dead key is withdrawn"
    )
    withdrawn = time.time()
    assert dead["access_key_id"] == first["AccessKeyId"] and "InvalidClientTokenId" in dead["reason"]
    second = revoked.served("user")
    assert second["AccessKeyId"] != first["AccessKeyId"] and revoked.alive(second)
    revoked.healed("session", withdrawn)
    assert revoked.watches["user"].last_served(first["AccessKeyId"]) < withdrawn
    assert 'credential_relay_withdrawn_total{profile="user"} 1' in metrics(revoked)
    assert len(world.vault.journal(revoked.login)) == 2
    assert len(world.vault.journal(revoked.creds + "user")) == 2
    # Vault says "invalid token", so the token is not asked about.
    assert world.vault.journal("/v1/auth/token/") == []
    assert revoked.failures("session") == []


def metrics(scene):
    return scene.relay.ask_admin("/metrics")[2]


def test_tokens_shorter_than_the_lease(scene, world):
    short = scene("short", lease="1h", token={"token_ttl": f"{BRIEF}s", "token_max_ttl": f"{BRIEF}s"}).ready()
    began = time.time()
    watch = short.watches["user"]
    short.until(lambda: len(watch.keys()) >= 3, "the user's keys are replaced before their token ends")
    users, logins = world.vault.journal(short.creds + "user"), world.vault.journal(short.login)
    assert {entry["status"] for entry in users + logins} == {200}
    # A user needs a token of its own; one call says that the old one cannot be prolonged.
    assert len(users) <= len(watch.keys()) + 1 and len(logins) <= len(users) + 1
    assert len(world.vault.journal("/v1/auth/token/renew-self")) <= len(logins)
    assert len({entry["token"] for entry in users}) == len(users)
    for asked, _, _, expires, _ in watch.seen:
        assert expires is None or expires <= asked + BRIEF
    for key in watch.keys()[:-2]:
        ended = short.until(lambda: short.deleted(key), "the key has died with its token")
        assert watch.last_served(key) < ended
    # From the first on it was never without.
    assert watch.statuses(began) == {200} and short.watches["session"].statuses(began) == {200}
    assert [short.failures(name) for name in PROFILES] == [[], []]
    (warned,) = [entry for entry in short.entries("credentials live for less than 50 minutes") if entry["role"] == "user"]
    assert warned["limit"] == "the Vault token's ttl"


def test_a_policy_without_renew_self(scene, world):
    token = {"token_ttl": f"{BRIEF}s", "token_max_ttl": "1h", "token_no_default_policy": True}
    bare = scene("bare", lease=f"{BRIEF - 1}s", token=token).ready()
    began = time.time()
    bare.until(lambda: len(world.vault.journal(bare.login)) >= 3, "the third login")
    renewals = world.vault.journal("/v1/auth/token/renew-self")
    assert {entry["status"] for entry in renewals} == {403}
    # Once a token.
    assert len({entry["token"] for entry in renewals}) == len(renewals)
    for name in PROFILES:
        assert bare.watches[name].statuses(began) == {200}
        assert bare.failures(name) == []
        assert bare.status(name)["state"] == "ready"


def test_the_wrong_audience(scene, world):
    began = time.time()
    deaf = scene("deaf", audience="somebody-else")
    for name in PROFILES:
        said = deaf.trouble(name, "stale_caller", "403", deaf.login.removeprefix("/v1/"), state="unavailable")
        assert said["trouble"]["stage"] == "source vault"
        assert deaf.refused(name, 503)["code"] == "CredentialsUnavailable"
    deaf.until(lambda: len(world.vault.journal(deaf.login)) >= 2, "another login")
    assert len(world.vault.journal(deaf.login)) <= most_logins(time.time() - began)
    assert world.vault.journal(deaf.creds) == []
    deaf.k8s_role()
    for name in PROFILES:
        deaf.healed(name, time.time())
    assert len(world.vault.journal(deaf.login)) <= most_logins(time.time() - began)


@pytest.mark.parametrize("login", ["kubernetes", "approle"])
def test_a_secret_with_a_trailing_newline(scene, world, tmp_path, login):
    vault = world.vault
    made = Scene(vault, world.aws, f"newline-{login}", tmp_path / "files")
    if login == "kubernetes":
        auth = {"mount": f"newline-{login}-k8s", "role": "app"}
        auth["token_file"] = made.file("token", world.issuer.service_account("payments", "app") + "\n")
    else:
        vault.enable_auth("approle", "newline")
        vault.api("POST", "auth/newline/role/app", {"token_policies": [made.name], "token_ttl": "1h"})
        role_id = vault.api("GET", "auth/newline/role/app/role-id")["data"]["role_id"]
        secret_id = vault.api("POST", "auth/newline/role/app/secret-id", {})["data"]["secret_id"]
        auth = {"mount": "newline", "role_id": role_id, "secret_id_file": made.file("secret-id", secret_id + "\r\n")}
    scene(f"newline-{login}", auth={login: auth}).ready()
    assert [entry["status"] for entry in vault.journal("/v1/auth/")] == [200]


def test_slow(scene, world):
    slow = scene("slow", vault={"timeout": "10s"}).ready()
    world.vault.fault("/v1/", "delay", delay_ms=300)
    began = time.time()
    for name in PROFILES:
        slow.healed(name, began + SESSION_SECONDS)
        assert slow.watches[name].statuses(began) == {200}
        assert slow.failures(name) == []
    assert {entry["status"] for entry in world.vault.journal(slow.creds) + world.vault.journal(RENEW)} == {200}


def test_hung(scene, world):
    hung = scene("hung", vault={"timeout": f"{TIMEOUT}s"}).ready()
    hung.fault(RENEW, hung.creds, kind="hang")
    began = time.time()
    for name in PROFILES:
        # What is held may be over by then, for seconds pass before the first failure is known.
        hung.failed(name, "unreachable", f"no answer within {TIMEOUT} s", world.vault.address)
    for name in PROFILES:
        assert outlived(hung, name, 503)["code"] == "CredentialsUnavailable"
        hung.trouble(name, "unreachable", f"no answer within {TIMEOUT} s", state="unavailable")
    calls = {name: [entry for entry in world.vault.journal() if entry.get("fault") and named(hung, name, entry)] for name in PROFILES}
    for name in PROFILES:
        # Each waits for the timeout too.
        assert len(calls[name]) <= 2 + (time.time() - began) / (TIMEOUT + FLOOR)
    # A lease's renewal that is lost makes nobody: only the user that was there at first is.
    assert {entry["path"] for entry in calls["user"]} == {RENEW}
    world.vault.clear_faults()
    for name in PROFILES:
        hung.healed(name, time.time())
    assert len(world.vault.journal(hung.creds + "user", status=200)) == 2
    assert len(world.vault.journal(hung.login)) == 1


def named(scene, profile, entry):
    return entry["path"] == scene.creds + profile or (profile == "user" and entry["path"] == RENEW)


def test_answers_that_are_none(scene, world):
    odd = scene("odd").ready()
    began = time.time()
    huge = {"data": {"padding": "x" * (1 << 20)}}
    for path in (RENEW, odd.creds + "session"):
        world.vault.fault(path, "status", status=200, body="<html>it works</html>", times=1)
        world.vault.fault(path, "truncate", times=1)
        world.vault.fault(path, "status", status=200, body=huge, times=1)
    for name in PROFILES:
        odd.until(lambda: len(odd.failures(name)) == 3, "three answers were none")
        reasons = [failure["reason"] for failure in odd.failures(name)]
        assert "no answer of Vault's" in reasons[0] and "line 1 column 1" in reasons[0]
        assert "broke off" in reasons[1]
        assert "broke off" in reasons[2] and "limit" in reasons[2]
        assert [failure["cause"] for failure in odd.failures(name)] == ["transient", "unreachable", "unreachable"]
        assert not any("html" in reason or "xxx" in reason for reason in reasons)
        odd.healed(name, time.time())
        assert len(odd.failures(name)) == 3 <= most(began)
    assert len(world.vault.journal(odd.creds + "session")) <= most(began)
    assert len(world.vault.journal(odd.login)) == 1


def test_a_redirect_to_itself_is_followed(scene, world):
    around = scene("around").ready()
    began = time.time()
    for path in (RENEW, around.creds + "session"):
        world.vault.fault(path, "redirect", location=world.vault.address, times=1)
    for name in PROFILES:
        around.healed(name, began + SESSION_SECONDS)
        assert around.failures(name) == []
        assert around.watches[name].statuses(began) == {200}
    for path in (RENEW, around.creds + "session"):
        seen = world.vault.journal(path)
        (at,) = [place for place, entry in enumerate(seen) if entry.get("fault") == "redirect"]
        assert (seen[at]["status"], seen[at + 1]["status"]) == (307, 200)
        assert seen[at]["token"] == seen[at + 1]["token"]


@pytest.fixture
def elsewhere():
    """A server that must not be asked: (its address by another name, the requests that it saw)."""

    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.path, dict(self.headers)))
            self.send_error(500)

        do_GET = do_PUT = do_POST

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def test_a_redirect_to_another_host_is_not_followed(scene, world, elsewhere):
    address, seen = elsewhere
    astray = scene("astray").ready()
    astray.fault(RENEW, astray.creds, kind="redirect", location=address)
    for name in PROFILES:
        astray.trouble(name, "misconfigured", address)
    for name in PROFILES:
        assert outlived(astray, name, 403)["code"]
    assert seen == []
    # What only a person can heal is tried once a minute or half of it.
    for name in PROFILES:
        assert len([entry for entry in world.vault.journal() if entry.get("fault") and named(astray, name, entry)]) <= 2


def test_a_namespace_that_is_not_there(scene, world):
    # The community edition knows none, so this is Enterprise's answer in front of it.
    nowhere = scene("nowhere").ready()
    missing = {"errors": ['no handler for route "nowhere-aws/creds/x". route entry not found.']}
    nowhere.fault(RENEW, nowhere.creds, kind="status", status=404, body=missing)
    for name in PROFILES:
        nowhere.trouble(name, "misconfigured", "404", "nowhere-aws")
    for name in PROFILES:
        assert outlived(nowhere, name, 403)["code"]
    assert len(world.vault.journal(nowhere.creds, status=404)) <= 2 * len(PROFILES)


@pytest.mark.parametrize("told", [True, False], ids=["with Retry-After", "without"])
def test_rate_limited(scene, world, told):
    vault, mount = world.vault, f"limited-{told}".lower()
    vault.api("POST", "sys/quotas/config", {"enable_rate_limit_response_headers": told})
    # Leases that can't be prolonged, so that users are read anew too.
    limited = scene(mount, lease="5s", lease_max="5s").ready()
    began = time.time()
    vault.api("POST", f"sys/quotas/rate-limit/{mount}", {"path": f"{mount}-aws/", "rate": 1, "interval": "8s"})
    for name in PROFILES:
        limited.failed(name, "throttled", "429")
    vault.api("DELETE", f"sys/quotas/rate-limit/{mount}")
    for name in PROFILES:
        limited.healed(name, time.time())
        assert limited.watches[name].statuses(began) <= {200, 503}
        refused = [failure for failure in limited.failures(name) if failure["cause"] == "throttled"]
        assert len(vault.journal(limited.creds + name, status=429)) == len(refused) <= most(began)
        if told:
            assert all(failure["retry_ms"] >= 1000 for failure in refused), refused
    assert len(vault.journal(limited.login)) == 1


def test_an_answer_that_is_lost_makes_no_second_user(scene, world):
    lossy = scene("lossy", lease="5s", lease_max="5s", vault={"timeout": f"{TIMEOUT}s"}).ready()
    lossy.fault(lossy.creds + "user", kind="hang", after=True, times=1)
    lossy.failed("user", "unreachable", f"no answer within {TIMEOUT} s")
    outlived(lossy, "user", 503)
    lossy.healed("user", time.time())
    reads = world.vault.journal(lossy.creds + "user")
    (at,) = [place for place, entry in enumerate(reads) if entry.get("fault")]
    assert reads[at + 1]["start_ms"] - reads[at]["start_ms"] >= 30_000
    assert lossy.failures("session") == []


@pytest.mark.parametrize("native", [True, False], ids=["native sidecar", "beside"])
def test_the_end(scene, world, native):
    name = f"end-{native}".lower()
    variables = {"CREDENTIAL_RELAY_NATIVE_SIDECAR": "true"} if native else {}
    ending = scene(name, lease="1h", variables=variables).ready()
    user, session = (ending.served(profile) for profile in PROFILES)
    for watch in ending.watches.values():
        watch.stop()
    exit_code, _ = ending.relay.stop()
    assert exit_code == 0
    assert len(ending.accessors()) == (0 if native else 1)
    if native:
        ending.until(lambda: not ending.alive(user), "the user is gone")
    else:
        assert ending.alive(user)
    assert ending.alive(session)
    assert len(world.vault.journal("/v1/auth/token/revoke-self")) == int(native)
