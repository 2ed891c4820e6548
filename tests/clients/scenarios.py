"""What each client is put through. A scenario returns what was seen, as seen.json keeps it; a client that cannot do it
raises `Cannot` with the client's own words."""

import time

import catalogue
from bench import Cannot, chain, container, counted, issued_by, must, refusals, right
from endpoint import Gate
from harness import Relay, wait_for
from pods import METADATA_SERVICE
from running import NoAnswer, Signed

KEYS = 3  # two rotations
PATIENCE = 30  # seconds, that a user has for a client that says nothing


def rotations(bench):
    """Through two rotations: keys that end after 8 s are replaced, and no call fails."""

    if bench.client.least == 0:
        return through_rotations(bench, bench.servers.quick, **container(bench, bench.servers.quick_relay))
    # The relay renews when half is left, and the client must be able to use that half to its end.
    with bench.servers.pair(bench.folder, 3 * bench.client.least) as (aws, relay):
        return through_rotations(bench, aws, **container(bench, relay))


def through_rotations(bench, aws, **given):
    signed = Signed(aws)
    running = bench.start(aws, **given)
    used = set()

    def rotated():
        answer = must(bench, running.call())
        used.update(right(answer, signed.more(), issued_by(aws)))
        return len(used) >= KEYS

    try:
        wait_for(rotated, lambda: f"it signs with {KEYS} keys, not {used}")
    finally:
        code = running.stop()
        signed.close()
    assert code == 0, f"ended with {code} after the last call"
    return "works"


def around(bench):
    """For a client that cannot ask the endpoint: through two rotations by the way around it."""

    return by_a_process(bench) if bench.client.around == "process" else by_metadata(bench)


def by_a_process(bench):
    """By a credential process that asks the endpoint: the one that docs/delivery.md shows."""

    section = (catalogue.HERE.parent.parent / "docs" / "delivery.md").read_text().partition("## A credential process\n")[2]
    program, settings = bench.folder / "credential-process", bench.folder / "config"
    program.write_text(section.partition("```sh\n")[2].partition("```")[0])
    program.chmod(0o755)
    shown = section.partition("```ini\n")[2].partition("```")[0]
    settings.write_text(shown.replace("/usr/local/bin/credential-process", str(program)))
    return through_rotations(bench, bench.servers.quick, AWS_CONFIG_FILE=str(settings), **container(bench, bench.servers.quick_relay))


def by_metadata(bench):
    """By the emulated metadata service, at that service's own address, without a word of where credentials are."""

    aws = bench.servers.quick
    folder = bench.folder / "metadata-relay"
    folder.mkdir()
    emulation = {"listen": f"{METADATA_SERVICE}:80", "v1": bench.client.around == "metadata v1"}
    relay = Relay(bench.servers.binary, folder, aws, {"app": chain(aws)}, settings={"imds_emulation": emulation})
    try:
        relay.ready()
        return through_rotations(bench, aws, AWS_EC2_METADATA_DISABLED="false")
    finally:
        relay.ends_well()


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
        wait_for(lambda: refusals(relay) > before or running.answered(), "the relay has said 503")
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
        gate.stop()
        relay.ends_well()


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


def mistakes(bench):
    """What does the user see where something is wrong on the application's side?"""

    aws, relay = bench.servers.calm, bench.servers.calm_relay
    right, newline, missing = container(bench, relay), bench.folder / "newline", bench.folder / "missing"
    newline.write_text(relay.token("app") + "\n")
    nobody = f"http://127.0.0.1:{bench.servers.dead_port}/v1/credentials/app"
    wrong = {
        "no variables": {},
        "no relay": {**right, "AWS_CONTAINER_CREDENTIALS_FULL_URI": nobody},
        "no token": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": right["AWS_CONTAINER_CREDENTIALS_FULL_URI"]},
    }
    if bench.client.token == "file":
        wrong["no file"] = container(bench, relay, file=missing)
        wrong["a newline"] = container(bench, relay, file=newline)
    refusal = relay.ask("/v1/credentials/app")[2]
    found, known = {}, {"token_file": missing, "another_file": newline, "access_token": relay.token("app")}
    for name, given in wrong.items():
        running = bench.start(aws, **given)
        try:
            answer = running.call(PATIENCE)
            found[name] = "works" if answer.ok else bench.seen(answer.error, refusal, **known)
        except NoAnswer:
            found[name] = f"not a word within {PATIENCE} s"
        finally:
            running.stop()
    assert "works" not in (found["no variables"], found["no relay"], found["no token"]), found
    return found
