"""What each client is put through. A scenario returns what was seen, as seen.json keeps it; a client that cannot do it
raises `Cannot` with the client's own words."""

import json
import time

from endpoint import Endpoint, Gate
from harness import Relay, environment, http_get, wait_for
from pods import METADATA_SERVICE
from running import Signed, plain, start

KEYS = 3  # two rotations
STORM_CALLS = 100
STORM_PROCESSES = 2  # a command is a process a call, each like the other: their mean stands for 100
STORM_MINUTES = (60, 20, 12, 4)
QUIET_CALLS = 8  # so many calls in a row without a GET: it keeps what it has
DRAWS = 20  # so many times in a row nothing is left to the lot
# Seconds left, between the round figures that SDKs know: a window is found between two of them.
RUNGS = (4, 8, 20, 45, 75, 105, 150, 210, 270, 330, 450, 570, 630, 870, 930, 1170, 1230, 1770, 1830, 3590)


class Cannot(Exception):
    """The client does not do it. The text is what it says."""

    def __init__(self, text, answer):
        super().__init__(text)
        self.answer = answer


class Bench:
    """One client, a home folder of its own for each start, and the servers of the run."""

    def __init__(self, client, servers, folder):
        self.client, self.servers, self.folder = client, servers, folder
        self._started = 0

    def start(self, aws, **given):
        """Starts the client with the variables of the contract and these. The caller stops it."""

        self._started += 1
        home = self.folder / f"home-{self._started}"
        home.mkdir()
        region = {"AWS_REGION": aws.region, "AWS_DEFAULT_REGION": aws.region}
        places = {"endpoint": aws.endpoint, "bucket": aws.bucket, "region": aws.region, "home": home}
        places["host"] = aws.endpoint.removeprefix("http://")
        asked = {"CLIENT_ENDPOINT": aws.endpoint, "CLIENT_BUCKET": aws.bucket, "CLIENT_CALL": self.client.call}
        words, own = self.client.run_with(**places)
        fixed = {"AWS_ENDPOINT_URL": aws.endpoint, "AWS_EC2_METADATA_DISABLED": "true"}
        variables = environment(home, **{**fixed, **region, **asked, **given, **own})
        log = self.folder / f"client-{self._started}.log"
        return start(self.client, words, variables, log)

    def seen(self, text, refusal=None, **known):
        """An error, without what changes from run to run, nor the relay's own words in it."""

        known = {"home": self.folder, "aws": self.servers.calm.endpoint, "checkout": self.client.folder, **known}
        if refusal:
            known |= {"the_relay's_answer": refusal, "the_relay's_reason": json.loads(refusal)["message"]}
        return plain(text, cache=self.client.built(), **known)


def container(bench, server, file=None, token=None):
    """The variables of the endpoint, be it the relay's or the scripted one: with the token's file, unless the client is too
    old for it, or with the token itself."""

    if isinstance(server, Endpoint):
        uri, known = server.uri, server.token_file
    else:
        uri, known = f"{server.endpoint}/v1/credentials/app", server.token_path("app")
    given = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri}
    if token is None and file is None and bench.client.token == "inline":
        token = known.read_text()
    if token is not None:
        return {**given, "AWS_CONTAINER_AUTHORIZATION_TOKEN": token}
    return {**given, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file or known)}


def chain(aws):
    return [{"role_arn": aws.hub_role_arn}, {"role_arn": aws.files_role_arn}]


def must(bench, answer):
    if not answer.ok:
        raise Cannot(bench.seen(answer.error), answer)
    return answer


def right(answer, requests, issued):
    """Every request of a call was signed with a key that the relay handed out, by the client's word and by the journal."""

    assert requests, "the call was not seen at the test AWS"
    used = {request["access_key_id"] for request in requests}
    assert used <= issued, f"signed with {used}, which the relay did not hand out"
    assert answer.key is None or answer.key in used, f"it says {answer.key}, and signed with {used}"
    refused = [request for request in requests if request["status"] >= 400]
    assert not refused, refused
    return used


def rotations(bench):
    """Through two rotations: keys that end after 8 s are replaced, and no call fails."""

    return through_rotations(bench, **container(bench, bench.servers.quick_relay))


def through_rotations(bench, **given):
    aws = bench.servers.quick
    signed = Signed(aws)
    running = bench.start(aws, **given)
    used = set()

    def rotated():
        answer = must(bench, running.call())
        used.update(right(answer, signed.more(), issued_by(aws)))
        return len(used) >= KEYS

    try:
        wait_for(rotated, lambda: f"it signs with {KEYS} keys, not {used}", seconds=90)
    finally:
        code = running.stop()
        signed.close()
    assert code == 0, f"ended with {code} after the last call"
    return "works"


def around(bench):
    """By the emulated metadata service, at that service's own address, without a word of where credentials are."""

    aws = bench.servers.quick
    folder = bench.folder / "metadata-relay"
    folder.mkdir()
    emulation = {"listen": f"{METADATA_SERVICE}:80", "v1": bench.client.around == "metadata v1"}
    relay = Relay(bench.servers.binary, folder, aws, {"app": chain(aws)}, settings={"imds_emulation": emulation})
    try:
        relay.ready()
        return through_rotations(bench, AWS_EC2_METADATA_DISABLED="false")
    finally:
        relay.stop()


def one_call(bench, **given):
    """One call at the relay whose sessions last."""

    aws, relay = bench.servers.calm, bench.servers.calm_relay
    signed = Signed(aws)
    running = bench.start(aws, **given)
    try:
        answer = must(bench, running.call())
        right(answer, signed.more(), issued_by(aws))
    finally:
        running.stop()
        signed.close()
    return "works"


def issued_by(aws):
    return {entry["access_key_id"] for entry in aws.journal("issued", role_arn=aws.files_role_arn)}


def inline(bench):
    """By AWS_CONTAINER_AUTHORIZATION_TOKEN, without a file. A client that is too old for the file shows that, too."""

    relay = bench.servers.calm_relay
    works = one_call(bench, **container(bench, relay, token=relay.token("app")))
    if bench.client.token == "file":
        return works
    refusal = relay.ask("/v1/credentials/app")[2]
    try:
        one_call(bench, **container(bench, relay, file=relay.token_path("app")))
    except Cannot as cannot:
        return {"only": bench.seen(cannot.answer.error, refusal)}
    raise AssertionError("it reads the token's file, though client.toml says that it needs the token inline")


def proxy(bench):
    """With a proxy configured at which nobody listens, and the contract's NO_PROXY."""

    relay = bench.servers.calm_relay
    dead = f"http://127.0.0.1:{bench.servers.dead_port}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    before = counted(relay, "issued")
    try:
        return one_call(bench, **container(bench, relay), **{name: dead for name in names})
    except Cannot as cannot:
        if counted(relay, "issued") == before:
            raise
        # NO_PROXY names the test AWS too; that a client does not keep to it there concerns its way to AWS alone.
        return {"credentials only": str(cannot)}


def late(bench):
    """The relay has nothing for the first second: requests are held for 0.8 s, then answered with 503."""

    aws = bench.servers.calm
    gate = Gate(aws.endpoint)
    folder = bench.folder / "late-relay"
    folder.mkdir()
    settings = {"sts": {"region": aws.region, "endpoint": gate.address}}
    relay = Relay(bench.servers.binary, folder, aws, {"app": chain(aws)}, settings=settings, arguments=("--drain", "0"))
    running = None
    try:
        refusal, before = relay.ask_for("app")[2], refusals(relay)
        running = bench.start(aws, **container(bench, relay))
        running.ask()
        wait_for(lambda: refusals(relay) > before or running.answered(), "the relay has said 503", seconds=60)
        ends = time.monotonic() + 0.2
        wait_for(lambda: time.monotonic() >= ends, "the first second is over")
        gate.open()
        first = running.answer()
        if first.ok:
            return "works"
        must(bench, running.call())
        return {"first": bench.seen(first.error, refusal)}
    finally:
        gate.open()
        if running:
            running.stop()
        relay.stop()
        gate.stop()


def counted(relay, decision):
    """How many requests for the profile have had an outcome, by the relay's metrics."""

    label = f'credential_relay_requests_total{{profile="app",decision="{decision}"}} '
    text = http_get(f"{relay.admin}/metrics")[2]
    return int(float(text.partition(label)[2].partition("\n")[0] or 0))


def refusals(relay):
    return counted(relay, "uninitialized") + counted(relay, "unavailable")


def refused(bench):
    """With a wrong token: what does the user see?"""

    aws, relay = bench.servers.calm, bench.servers.calm_relay
    wrong = bench.folder / "wrong-token"
    wrong.write_text("w" * len(relay.token("app")))
    refusal = relay.ask("/v1/credentials/app", Authorization=wrong.read_text())[2]
    before = counted(relay, "wrong_token")
    signed = Signed(aws)
    inline = bench.client.token == "inline"
    given = container(bench, relay, token=wrong.read_text()) if inline else container(bench, relay, file=wrong)
    running = bench.start(aws, **given)
    try:
        answer = running.call()
    finally:
        running.stop()
        requests = signed.more()
        signed.close()
    assert not answer.ok, "a call with a wrong token succeeded"
    assert counted(relay, "wrong_token") > before, f"it did not show the relay the token: {answer.error}"
    assert not requests, f"signed without the relay: {requests}"
    assert wrong.read_text() not in answer.error, f"the error shows the token: {answer.error}"
    return bench.seen(answer.error, refusal, token_file=wrong)


def scripted_endpoint(bench):
    return Endpoint(bench.servers.lasting_key, bench.folder)


def storms(bench):
    """How many GETs 100 signed calls make while a credential has so many minutes left."""

    found = {}
    endpoint = scripted_endpoint(bench)
    try:
        for minutes in STORM_MINUTES:
            endpoint.seconds_left = 60 * minutes
            endpoint.asked = 0
            calls = STORM_PROCESSES if bench.client.kind == "command" else STORM_CALLS
            running = bench.start(bench.servers.calm, **container(bench, endpoint))
            try:
                for _ in range(calls):
                    must(bench, running.call())
            finally:
                running.stop()
            count = endpoint.asked * STORM_CALLS // calls
            if bench.client.drawn and bench.client.drawn[0] < minutes < bench.client.drawn[1]:
                assert count < STORM_CALLS // 2, f"{count} GETs, though the moment to ask anew is drawn by lot"
                count = "a few"
            elif bench.client.background and count > 1:
                assert count <= STORM_CALLS
                count = "up to 100"
            found[str(minutes)] = count
    finally:
        endpoint.stop()
    return found


def window(bench):
    """With how much time left the client asks anew: each rung has more left, until it keeps what it has."""

    if bench.client.kind == "command":
        return "a process each call"
    if bench.client.drawn:
        return drawn(bench, *bench.client.drawn)
    endpoint = scripted_endpoint(bench)
    endpoint.seconds_left = RUNGS[0]
    running = bench.start(bench.servers.calm, **container(bench, endpoint))
    below = 0
    try:
        for rung in RUNGS:
            endpoint.seconds_left = rung
            if not asks_anew(bench, running, endpoint):
                return f"{span(below)} to {span(rung)}" if below else f"less than {span(rung)}"
            below = rung
        return "asks at each call"
    finally:
        running.stop()
        endpoint.stop()


def asks_anew(bench, running, endpoint):
    """Whether it goes on asking. Some clients ask behind a call's back, so one call says nothing: the first GETs may still be due
    to what it held before, and the newest credential may come after the call that it was asked for."""

    before, quiet = endpoint.asked, 0
    while endpoint.asked < before + 4:
        known = endpoint.asked
        must(bench, running.call())
        quiet = quiet + 1 if endpoint.asked == known else 0
        if quiet == QUIET_CALLS:
            return False
    return True


def drawn(bench, last, first):
    """For a client that draws the moment to ask anew, for each credential: it asks again and again when `last` minutes are
    left, and never when more than `first` are."""

    endpoint = scripted_endpoint(bench)
    endpoint.seconds_left = 60 * last - 15
    running = bench.start(bench.servers.calm, **container(bench, endpoint))

    def asked_anew(times):
        before = endpoint.asked

        def asked():
            must(bench, running.call())
            return endpoint.asked >= before + times

        wait_for(asked, lambda: f"it asks anew with {span(endpoint.seconds_left)} left")

    try:
        asked_anew(DRAWS)
        endpoint.seconds_left = 60 * first + 30
        asked_anew(1)
        before = endpoint.asked
        for _ in range(DRAWS):
            must(bench, running.call())
        assert endpoint.asked == before, f"with {span(endpoint.seconds_left)} left it asks again"
        return f"by lot between {first} and {last} min"
    finally:
        running.stop()
        endpoint.stop()


def span(seconds):
    return f"{seconds} s" if seconds < 120 else f"{seconds / 60:g} min"
