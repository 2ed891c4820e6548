"""How often each client asks, and when it asks anew, at an endpoint whose credentials have as much time left as they are told."""

import time

from bench import container, must
from endpoint import Endpoint
from harness import wait_for
from running import Signed

STORM_CALLS = 100
STORM_PROCESSES = 2  # a command is a process a call, each like the other: their mean stands for 100
STORM_MINUTES = (60, 20, 12, 4)
MEASURED_AGAIN = 3
QUIET_CALLS, QUIET_SECONDS = 8, 0.3  # so many calls in a row, for so long, without a GET: it keeps what it has
DRAWS = 20  # so many times in a row nothing is left to the lot
# Seconds left, between the round figures that SDKs know: a window is found between two of them.
RUNGS = (4, 12, 20, 45, 75, 105, 150, 210, 270, 330, 450, 570, 630, 870, 930, 1170, 1230, 1770, 1830, 3590)


def scripted_endpoint(bench):
    return Endpoint(bench.servers.lasting_key, bench.folder)


def storms(bench):
    """How many GETs 100 signed calls make while a credential has so many minutes left."""

    endpoint = scripted_endpoint(bench)
    try:
        measured = {minutes: storm(bench, endpoint, minutes) for minutes in STORM_MINUTES}
        # A call that the SDK has sent again, for it lost the answer, may have asked again too. It is none of the hundred.
        for _ in range(MEASURED_AGAIN):
            fewest = min(sent for _, sent in measured.values())
            for minutes, (_, sent) in measured.items():
                if sent > fewest:
                    measured[minutes] = storm(bench, endpoint, minutes)
    finally:
        endpoint.stop()
    return {str(minutes): told(bench.client, minutes, count) for minutes, (count, _) in measured.items()}


def storm(bench, endpoint, minutes):
    """Of 100 signed calls, or of fewer that stand for them: how often the endpoint was asked, and how many requests were sent."""

    endpoint.seconds_left = 60 * minutes
    endpoint.asked = 0
    calls = STORM_PROCESSES if bench.client.kind == "command" else STORM_CALLS
    signed = Signed(bench.servers.calm)
    running = bench.start(bench.servers.calm, **container(bench, endpoint))
    try:
        for _ in range(calls):
            must(bench, running.call())
    finally:
        running.stop()
        sent = len(signed.more())
        signed.close()
    return endpoint.asked * STORM_CALLS // calls, sent


def told(client, minutes, count):
    """A count as it is written down: what is drawn by lot, or comes from the background, is another at each run."""

    if client.drawn and client.drawn[0] < minutes < client.drawn[1]:
        assert count < STORM_CALLS // 2, f"{count} GETs, though the moment to ask anew is drawn by lot"
        return "a few"
    if client.background and count > 1:
        assert count <= STORM_CALLS
        return "up to 100"
    return count


def window(bench):
    """With how much time left the client asks anew: each rung has more left, until it keeps what it has."""

    if bench.client.kind == "command":
        return "a process each call"
    if bench.client.drawn:
        return drawn(bench, *bench.client.drawn)
    rungs = [rung for rung in RUNGS if rung > bench.client.least]
    endpoint = scripted_endpoint(bench)
    endpoint.seconds_left = rungs[0]
    running = bench.start(bench.servers.calm, **container(bench, endpoint))
    below = 0
    try:
        for rung in rungs:
            endpoint.seconds_left = rung
            if not asks_anew(bench, running, endpoint):
                return f"{span(below)} to {span(rung)}" if below else f"less than {span(rung)}"
            below = rung
        return "asks at each call"
    finally:
        running.stop()
        endpoint.stop()


def asks_anew(bench, running, endpoint):
    """Whether it goes on asking. Some clients ask behind a call's back, and some at most so often, so one call says nothing: the
    first GETs may still be due to what it held before, and the newest credential may come after the call that it was asked for."""

    before, quiet, since = endpoint.asked, 0, time.monotonic()
    while endpoint.asked < before + 4:
        known = endpoint.asked
        must(bench, running.call())
        quiet += 1
        if endpoint.asked != known:
            quiet, since = 0, time.monotonic()
        if quiet >= QUIET_CALLS and time.monotonic() >= since + QUIET_SECONDS:
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
