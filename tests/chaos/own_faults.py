"""What becomes of the relay's own process, its files and its machine."""

import json
import os
import re
import signal
import time

import pace
from askers import Flood
from harness import wait_for
from lane import Fault
from rooms import fill, limit_files, open_files
from upstream_faults import LONG, SHORT

CROWD = 10_000
# One in a hundred may fail to be made, and is made again later.
LEAST_CROWD = CROWD * 99 // 100
# The base's file is read when the session of the first hop is renewed, and that of the second lives on for its life.
BASE = 2 * pace.LIFE + 1
# A machine's own clock may be so far off in either direction.
STEP = 3600


def of_process(world, room, front, program, folder, stopped):
    """`stopped` is called as soon as the relay's process is stopped."""

    relay = world.relay
    undo = []

    def step(seconds):
        return lambda: room.step(seconds)

    def stop():
        os.kill(relay.pid, signal.SIGSTOP)
        stopped()

    def go_on():
        os.kill(relay.pid, signal.SIGCONT)

    def crowd(slow):
        def come():
            flood = Flood(program, folder, relay, CROWD, slow)
            undo.append(flood.stop)
            made.append(flood.opened())

        return come

    def leave():
        while undo:
            undo.pop()()

    def as_many_as_were_meant(*_):
        return None if made and made[-1] >= LEAST_CROWD else f"not seen: {made} connections of {CROWD} were made"

    def exhaust():
        most = open_files(relay.pid) + 4
        before = limit_files(relay.pid, most)
        undo.append(lambda: limit_files(relay.pid, before))
        flood = Flood(program, folder, relay, 200)
        undo.append(flood.stop)
        wait_for(lambda: open_files(relay.pid) >= most - 1, "the relay has no descriptor left")
        # A connection to the upstream that is there already needs no descriptor.
        front.cut()

    def served_again(began, counted):
        within = pace.LOOK_AGAIN + pace.AT_ONCE
        late = [told for told in counted if began + within + told["lag_ms"] / 1000 < told["last_refusal"]]
        return f"withheld: refused {late[0]['last_refusal'] - began:.1f} s after the clock was stepped" if late else None

    configured = relay.config.read_text()

    def reconfigure(text):
        def write():
            relay.config.write_text(text)
            os.kill(relay.pid, signal.SIGHUP)

        return write

    def refused_and_taken(*_):
        def seen():
            text = relay.ask_admin("/metrics")[2]
            counted = re.search(r'configuration_reads_total\{result="refused"\} ([1-9])', text)
            return counted and "configuration_in_use 1" in text

        try:
            wait_for(seen, "the configuration is in use again")
        except AssertionError:
            return "not seen: the garbage was not refused, or what was right was not taken on again"

    made = []
    clock = {"grace": pace.LOOK_AGAIN, "excused": ("unknowing",)}
    return [
        # When a clock goes forward all that is held is over by it, until the relay has fetched anew.
        Fault("clock an hour ahead", LONG, step(STEP), step(0), check=served_again, **clock),
        Fault("clock an hour behind", LONG, step(-STEP), step(0), served_until_mended=True, **clock),
        Fault("clock a credential's life ahead", LONG, step(pace.LIFE), step(0), check=served_again, **clock),
        Fault("process stopped for longer than a credential lives", LONG, stop, go_on, excused=("stopped",), grace=2),
        Fault(
            *("configuration replaced by garbage", LONG, reconfigure("profiles: ["), reconfigure(configured)),
            served_until_mended=True,
            check=refused_and_taken,
        ),
        Fault(f"{CROWD} idle connections", SHORT, crowd(False), leave, check=as_many_as_were_meant),
        Fault(f"{CROWD} slow connections", SHORT, crowd(True), leave, check=as_many_as_were_meant),
        Fault("file descriptors exhausted", LONG, exhaust, leave, excused=("full",)),
    ]


def of_files(world, bases, disk, room):
    """For each profile, what becomes of its file. What stands there at the end is what stood there at the begin."""

    texts = {name: path.read_text() for name, path in bases.items()}
    nothing = ("misconfigured", "not_configured", "transient")

    def written(name, text):
        def write():
            bases[name].write_text(text)

        return write

    def mended(name):
        def write():
            bases[name].write_text(texts[name])
            bases[name].chmod(0o600)

        return write

    def unreadable():
        # Whoever reads it is root without the right to read everything, so it must be somebody else's.
        bases["unreadable"].chmod(0)

    undo = []

    def full():
        filler = room.seen(world.relay, disk / "filler")
        undo.append(fill(filler))

    def freed():
        while undo:
            undo.pop()()

    def written_again(*_):
        seen = room.seen(world.relay, disk / "credentials")
        deadline = time.monotonic() + pace.LIFE
        while time.monotonic() < deadline:
            if seen.exists() and "aws_session_token" in seen.read_text():
                return None
            time.sleep(0.1)
        return "not healed: the credentials file is not written, though there is room again"

    keys = {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
    other = json.dumps({"Version": 1, **keys})
    return {
        "emptied": [Fault("file emptied", BASE, written("emptied", ""), mended("emptied"), nothing, outlives=True)],
        "replaced": [
            Fault("file replaced by garbage", BASE, written("replaced", "\x00{]"), mended("replaced"), nothing, outlives=True),
            Fault(
                *("file replaced by other keys", BASE, written("replaced", other), mended("replaced"), ("stale_caller",)),
                outlives=True,
            ),
        ],
        "removed": [Fault("file removed", BASE, bases["removed"].unlink, mended("removed"), nothing, outlives=True)],
        "unreadable": [Fault("file unreadable", BASE, unreadable, mended("unreadable"), nothing, outlives=True)],
        "disk": [Fault("disk full", LONG, full, freed, check=written_again)],
    }
