"""What becomes of the upstreams: the test AWS, Vault, and the embedded one."""

import pace
from front import swallow
from lane import Fault

# Shorter than what is held lives on, and longer.
SHORT, LONG = 5, 11
# And than an attempt at an STS that hangs, which begins when half of that life is over.
HANGING = 22
# What a fault of the network is to the relay.
NETWORK = ("unreachable",)
ODD = ("transient", "unreachable")
NAME_SERVER = "127.0.0.53"


def of_chain(front, room, ended_certificate):
    """Faults on the way to STS."""

    def names_gone():
        server, asked = swallow(NAME_SERVER)
        questions.append(asked)
        undo[:] = [server.close, room.forget_names(NAME_SERVER)]
        front.cut()

    def names_back():
        while undo:
            undo.pop()()

    undo, questions = [], []

    def slow():
        front.delay = 1.5

    return [
        # The SDK's own attempts may go on for as long as it lasts: so there need be no failure.
        Fault("upstream killed, and back in time", SHORT, front.refuse, front.heal),
        Fault("upstream killed for longer than a credential lives", LONG, front.refuse, front.heal, NETWORK, outlives=True),
        Fault("upstream hung", HANGING, front.hang, front.heal, NETWORK, outlives=True),
        Fault("upstream slow", SHORT, slow, front.heal),
        Fault("answers broken off on the way", LONG, lambda: front.break_off(200), front.heal, ODD, outlives=True),
        Fault(
            *("DNS gone", LONG, names_gone, names_back, NETWORK),
            outlives=True,
            check=lambda *_: None if questions[-1] else "not seen: no name was asked for",
        ),
        Fault("TLS certificate expired", LONG, lambda: front.show(ended_certificate), front.heal, ("tls",), outlives=True),
    ]


def of_embedded(aws):
    """What the embedded STS does on demand."""

    def struck(kind, name, causes, seconds=SHORT, **more):
        return Fault(kind, seconds, lambda: aws.strike(name), aws.strike, causes, **more)

    return [
        struck("STS: every answer 700 ms late", "latency=700ms", ()),
        struck("STS: half of the calls throttled", "throttle=50%", ()),
        struck("STS: throttled", "throttle", ("throttled",), LONG, outlives=True),
        struck("STS: 503 of a load balancer", "outage", ODD, LONG, outlives=True),
        struck("STS: connections closed", "close", NETWORK, LONG, outlives=True),
        struck("STS: hung", "hang", NETWORK, HANGING, outlives=True),
        struck("STS: access denied", "access-denied", ("denied",), LONG, outlives=True),
        struck("STS: keys said to have expired", "expired-token", ("stale_caller",)),
        struck("STS: garbage", "garbage", ODD),
        struck("STS: truncated", "truncated", ODD),
        # Each takes so long to be refused that the session that calls may end meanwhile.
        struck("STS: 16 MiB", "huge", (*ODD, "stale_caller"), LONG, outlives=True),
        struck("STS: keys that are over", "past-expiration", ("transient", "misconfigured")),
        struck("STS: keys without an end", "no-expiration", ("transient", "misconfigured")),
    ]


def of_vault(side):
    """What becomes of a Vault. Its faults are for what it is asked by the relay and by the harness alike, so they are mended
    before the harness asks."""

    vault, scene = side.vault, side.scene
    login_held = pace.LOGIN_HOLD

    def struck(kind, causes, seconds=SHORT, fault="status", paths=("/v1/chaos-aws/creds/",), **more):
        known = {name: more.pop(name) for name in ("outlives", "grace") if name in more}

        def begin():
            for path in paths:
                vault.fault(path, fault, **more)

        return Fault(kind, seconds, begin, vault.clear_faults, causes, **known)

    def started_empty():
        vault.start()
        side.furnish_again()

    def revoke():
        for accessor in scene.accessors():
            vault.api("POST", "auth/token/revoke-accessor", {"accessor": accessor})

    def deny():
        scene.policy(**{f"{scene.name}-aws/creds/*": ["deny"]})

    huge = {"data": {"padding": "x" * (1 << 20)}}
    wrong = {"lease_duration": "soon", "data": {"access_key": 7, "secret_key": None, "security_token": ["x"]}}
    return [
        Fault("Vault sealed", LONG, vault.seal, vault.unseal, ("transient",), outlives=True),
        Fault(
            *("Vault killed and restarted with nothing in it", LONG, vault.kill, started_empty, NETWORK),
            outlives=True,
            grace=login_held,
        ),
        Fault("Vault token revoked", SHORT, revoke, lambda: None),
        Fault("Vault policy changed", LONG, deny, scene.policy, ("misconfigured",), outlives=True, grace=login_held),
        struck("Vault hung", NETWORK, LONG, "hang", ("/v1/",), outlives=True),
        struck("Vault slow", (), fault="delay", delay_ms=700, paths=("/v1/",)),
        struck("Vault quota exceeded", ("throttled",), LONG, status=429, body={"errors": ["quota"]}, outlives=True),
        struck("Vault: garbage", ODD, status=200, body="<html>it works</html>"),
        struck("Vault: truncated", ODD, fault="truncate"),
        struck("Vault: 1 MiB", ODD, status=200, body=huge),
        struck("Vault: values of the wrong types", (*ODD, "misconfigured"), status=200, body=wrong),
        struck("Vault: connections closed", NETWORK, fault="close", paths=("/v1/",)),
    ]
