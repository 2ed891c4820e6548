"""SIGTERM at every stage of a refresh: it ends well and in time, and what is held is served until the end."""

import time
from dataclasses import dataclass

import pace
import worlds
from askers import Askers
from front import Front
from harness import PATIENCE, Relay, wait_for
from heard import Heard
from lane import Row

# serve's own default, and what the rest of an end may take on a machine that is busy: far less than what hangs would, if the
# relay waited for it.
DRAIN = 2
REST = 5
HANGS = pace.STS_OPERATION


@dataclass
class Stage:
    """`reach` gets a refresh so far, and gives what lets it go on as the signal comes, if anything does."""

    kind: str
    reach: callable
    upstream: str = "sts"
    # Whether something is held by then.
    held: bool = True


class Scene:
    """One relay and what is done to it."""

    def __init__(self, endings, number, stage):
        self._folder = worlds.made(endings.folder / str(number))
        self._side = endings.side
        self._commands = []
        self.front = Front(endings.side.vault.address if stage.upstream == "vault" else endings.aws.endpoint)
        if not stage.held:
            self.front.hang()
        if stage.upstream == "vault":
            self.profile = "session"
            self.relay = endings.side.relay(endings.binary, self._folder / "relay", ["session"], self.front.address, HANGS)
        else:
            self.profile = "app"
            sts = {"region": endings.aws.region, "endpoint": self.front.address}
            profiles = {"app": worlds.spoke(endings.aws)}
            self.relay = Relay(endings.binary, worlds.made(self._folder / "relay"), endings.aws, profiles, {"sts": sts})
        self.heard = Heard(self.relay.log_path)
        targets = {"app": (self.relay, self.profile, 2)}
        self.askers = Askers(endings.program, self._folder, targets, endings.gap_ms, endings.limit_ms)
        if stage.held:
            self.relay.ready()
            self.relay.said("rotate", self.profile, exit_code=0)

    def refresh(self):
        self._commands.append(self.relay.command("rotate", self.profile))

    def asked(self, more):
        """Waits until the upstream was asked so often since now: to be called before the refresh."""

        wanted = len(self.front.requests) + more
        return lambda: wait_for(lambda: len(self.front.requests) >= wanted, "the refresh is at its stage")

    def close(self):
        for command in self._commands:
            self.relay.heard += command.communicate(timeout=PATIENCE)
        self.askers.stop()
        self.heard.stop()
        self.front.stop()


def idle(_scene):
    return None


def first_fetch(scene):
    wait_for(lambda: scene.front.requests, "the first fetch has begun")


def hung(after):
    def reach(scene):
        there = scene.asked(after + 1)
        scene.front.hang(after)
        scene.refresh()
        there()

    return reach


def answered(scene):
    there = scene.asked(worlds.HOPS)
    release = scene.front.hold_answers(worlds.HOPS - 1)
    scene.refresh()
    there()
    return release.set


def published(scene):
    known = len(scene.heard.attempts(scene.profile))
    scene.refresh()
    wait_for(lambda: len(scene.heard.attempts(scene.profile)) > known, "it has rotated")


def failed(scene):
    scene.front.refuse()
    known = len(scene.heard.failures(scene.profile))
    scene.refresh()
    wait_for(lambda: len(scene.heard.failures(scene.profile)) > known, "it has failed")


STAGES = [
    Stage("SIGTERM between two refreshes", idle),
    Stage("SIGTERM during the first fetch", first_fetch, held=False),
    Stage("SIGTERM during the first hop", hung(0)),
    Stage("SIGTERM during the second hop", hung(1)),
    Stage("SIGTERM as the last answer comes", answered),
    Stage("SIGTERM as it is published", published),
    Stage("SIGTERM while it waits after a failure", failed),
    Stage("SIGTERM during Vault's login", first_fetch, "vault", held=False),
    Stage("SIGTERM during Vault's read", hung(0), "vault"),
]


class Endings:
    """All stages, one after the other, beside the lanes of faults."""

    name, profiles, excused = "ending", (), ()

    def __init__(self, binary, program, aws, side, folder, gap_ms, limit_ms, stopping):
        self.binary, self.program, self.aws, self.side, self.folder = binary, program, aws, side, folder
        self.gap_ms, self.limit_ms, self._stopping = gap_ms, limit_ms, stopping
        self.rows = []

    def run(self, chosen):
        for number, stage in enumerate(STAGES):
            if (chosen in stage.kind or chosen in self.name) and not self._stopping.is_set():
                self.rows.append(self._end(number, stage))

    def _end(self, number, stage):
        row = Row(self.name, stage.kind)
        scene = Scene(self, number, stage)
        began = time.time()
        scene.askers.phase("app", stage.kind)
        release = stage.reach(scene)
        before = scene.askers.phase("app", stage.kind, leaving=True)
        told_at = time.time()
        row.lasted = told_at - began
        if release:
            release()
        code, took = scene.relay.stop()
        scene.askers.until_gone("app")
        counted = scene.askers.phase("app", leaving=True)
        scene.close()
        row.answers = sum(told["issued"] + told["refused"] for told in (before, counted))
        row.refused = before["refused"] + counted["refused"]
        row.slowest_ms = max(before["slowest_ms"], counted["slowest_ms"])
        attempts = scene.heard.attempts(scene.profile, began)
        row.failures = len(scene.heard.failures(scene.profile, began))
        row.rotations = len(attempts) - row.failures
        row.calls = len(scene.front.since(began))
        row.most_calls = worlds.CHAIN_CALLS * (len(attempts) + 1)
        row.healed, row.healed_within = took, DRAIN + REST
        row.violations += self._wrong(stage, scene, code, took, told_at, counted)
        return row

    def _wrong(self, stage, scene, code, took, told_at, counted):
        for told in scene.askers.violations:
            yield f"{told['what']}: {told['detail']}"
        if code != 0:
            yield f"ended with {code}"
        if took > DRAIN + REST:
            yield f"took {took:.1f} s to end"
        gone = scene.askers.gone["app"]
        if stage.held and gone["at"] < told_at + DRAIN - 0.2:
            yield f"withheld: it was gone before the drain was over: {gone}, {told_at:.1f}"
        if stage.held and not counted["issued"]:
            yield "withheld: nothing was served while it drained"
        known = self.aws.expiries()
        for key, told in scene.askers.served["app"].items():
            if told["last"] > known.get(key, 0):
                yield f"expired: {key} was handed out after its end, or never made"
        scene.relay.known_secrets += scene.askers.secrets()
        yield from (f"a secret was told: {leak}" for leak in scene.relay.leaks())
