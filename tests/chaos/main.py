"""The chaos suite. RELAY_BIN is the binary under test. See README.md."""

import argparse
import itertools
import os
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import build
import own_faults
import pace
import upstream_faults
import worlds
from askers import Askers, Signer
from endings import Endings
from lane import Lane
from table import table

SHORT_ANSWERS, FULL_ANSWERS = 10_000, 1_000_000
# How long each of the clients rests after an answer: in the short form the machine is not kept busy by clients alone.
SHORT_GAP_MS, FULL_GAP_MS = 15, 2
# How many of the Go clients ask for a profile, where it is not one.
CLIENTS = {"chain-app": 3, "process-session": 2, "embedded-app": 2, "vault-session": 2, "vault-team": 2}
BOTO3 = (("chain", "app"), ("files", "disk"), ("vault", "session"), ("vault", "team"))
# Of violations that are alike, so many are told one by one.
ALIKE = 3


class Chaos:
    """All relays, their clients, and the lanes of faults."""

    def __init__(self, binary, folder, gap_ms, limit_ms):
        self.binary, self.folder, self.gap_ms, self.limit_ms = binary, folder, gap_ms, limit_ms
        self.program = build.CLIENTS.folder / "clients"
        self.stopping = threading.Event()
        # A server that a lane starts ends with its thread, so these stay.
        self.workers = ThreadPoolExecutor(max_workers=32)
        self.scripts = itertools.count()
        self._start_relays()
        self._start_clients()

    def _start_relays(self):
        binary, folder = self.binary, self.folder
        self.aws = worlds.test_aws(folder / "aws")
        self.chain = worlds.chain(binary, self.aws, folder / "chain")
        self.process = worlds.process(binary, build.CLOCK.folder / "wall.so", self.aws, folder / "process")
        self.files = worlds.files(binary, self.aws, folder / "files")
        self.vault = worlds.vault(binary, self.aws, folder / "vault")
        self.embedded = worlds.embedded(binary, folder / "embedded")
        self.ending_side = worlds.VaultSide(self.aws, folder / "ending-vault", "ending")
        self.worlds = [made[0] for made in (self.chain, self.process, self.files, self.vault, self.embedded)]
        for world in self.worlds:
            world.relay.ready()

    def _start_clients(self):
        by_name = {world.name: world for world in self.worlds}
        names = {f"{world.name}-{profile}": (world.relay, profile) for world in self.worlds for profile in world.profiles}
        self.targets = {name: (*asked, CLIENTS.get(name, 1)) for name, asked in names.items()}
        self.askers = Askers(self.program, self.folder, self.targets, self.gap_ms, self.limit_ms)
        self.signers = [
            Signer(f"{name}-{profile}", by_name[name].relay, profile, self.folder) for name, profile in BOTO3
        ]
        self.clients = sum(count for _, _, count in self.targets.values()) + len(self.signers)

    def lanes(self):
        """What one script of faults is: lanes that are gone through at the same time."""

        def lane(world, profiles, faults):
            return Lane(world.name, world, profiles, faults, self.askers, self.stopping)

        chain, front, room, ended = self.chain
        vault, side = self.vault
        embedded, sts = self.embedded
        process, process_front, process_room = self.process
        files, bases, disk, files_room = self.files
        place = worlds.made(self.folder / f"ending-{next(self.scripts)}")
        of_files = own_faults.of_files(files, bases, disk, files_room)

        def stopped():
            self.askers.stopped("process-session")

        of_process = own_faults.of_process(process, process_room, process_front, self.program, self.folder, stopped)
        return [
            lane(chain, chain.profiles, upstream_faults.of_chain(front, room, ended)),
            lane(vault, vault.profiles, upstream_faults.of_vault(side)),
            lane(embedded, embedded.profiles, upstream_faults.of_embedded(sts)),
            lane(process, process.profiles, of_process),
            *(lane(files, [profile], faults) for profile, faults in of_files.items()),
            Endings(self.binary, self.program, self.aws, self.ending_side, place, self.gap_ms, self.limit_ms, self.stopping),
        ]

    def script(self, chosen):
        """Every fault once: its rows, and the spans that are excused for each target."""

        lanes = self.lanes()
        running = [self.workers.submit(self._run, lane, chosen) for lane in lanes]
        for one in running:
            one.result()
        for target in self.targets:
            self.askers.phase(target)
        excused = {}
        for lane in lanes:
            for profile in lane.profiles:
                excused.setdefault(lane.target(profile), []).extend(lane.excused)
        return [row for lane in lanes for row in lane.rows], excused

    def _run(self, lane, chosen):
        try:
            lane.run(chosen)
        except BaseException:
            self.stopping.set()
            raise

    def answers(self):
        return self.askers.answers() + sum(len(signer.calls) for signer in self.signers)

    def finish(self, excused):
        """Ends all, and gives the violations that are seen only at the end."""

        self.stopping.set()
        for signer in self.signers:
            signer.stop()
        self.askers.stop()
        found = [*told(self.askers.violations)]
        for signer in self.signers:
            served = self.askers.served[signer.target]
            found += told(signer.violations(self.aws, served, excused.get(signer.target, [])))
        for world in self.worlds:
            found += self._at_the_end(world)
        self.ending_side.stop()
        self.aws.stop()
        return found

    def _at_the_end(self, world):
        issued = world.issued()
        code, seconds = world.stop()
        if code != 0:
            yield f"{world.name}: the relay ended with {code} in {seconds:.1f} s"
        for profile in world.profiles:
            for key, seen in self.askers.served[f"{world.name}-{profile}"].items():
                handed_out = f"{world.name}: {profile}: {key} was handed out"
                if key not in issued:
                    yield f"{handed_out}, and the upstream has never made it"
                elif seen["last"] > issued[key]:
                    yield f"expired: {handed_out} {seen['last'] - issued[key]:.1f} s after its end"
                elif seen["expires"] > issued[key] and not seen["unknowing"]:
                    yield f"expired: {handed_out} with an end {seen['expires'] - issued[key]:.1f} s after its own"
        world.relay.known_secrets += self.askers.secrets()
        for leak in world.relay.leaks():
            yield f"{world.name}: a secret was told: {leak}"


def told(violations):
    """Violations that a client saw, in words."""

    alike = {}
    for one in violations:
        kind = f"{one['target']}: {one['phase'] or 'between faults'}: {one['what']}"
        alike.setdefault(kind, []).append(f"{kind} at {clock(one['at'])}: {one['detail']}")
    for kind, some in alike.items():
        yield from some[:ALIKE]
        if len(some) > ALIKE:
            yield f"{kind}: {len(some) - ALIKE} more"


def clock(at):
    return time.strftime("%H:%M:%S", time.localtime(at)) + f"{at % 1:.3f}"[1:]


ASKED = ["relay", "fault", "times", "for, s", "answers", "refused", "slowest, ms"]
DONE = ["rotated", "failed", "calls", "most", "healed, s", "within, s", ""]


def shown(rows):
    """A line for each kind of fault: sums, and of times the longest."""

    kinds = {}
    for row in rows:
        kinds.setdefault((row.lane, row.kind), []).append(row)

    def line(lane, kind, some):
        def total(what):
            return sum(getattr(row, what) for row in some)

        last = max(some, key=lambda row: row.healed)
        return [
            *(lane, kind, len(some), f"{total('lasted'):.1f}", total("answers"), total("refused")),
            *(max(row.slowest_ms for row in some), total("rotations"), total("failures"), total("calls"), total("most_calls")),
            *(f"{last.healed:.1f}", f"{last.healed_within:.1f}", "VIOLATED" if any(row.violations or row.seen for row in some) else "ok"),
        ]

    return table([*ASKED, *DONE], [line(lane, kind, some) for (lane, kind), some in kinds.items()])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"every fault once, and at least {SHORT_ANSWERS} answers")
    parser.add_argument("--answers", type=int, help=f"over and over until there are so many (default: {FULL_ANSWERS})")
    parser.add_argument("--only", default="", help="once, and only the faults with this in their or their relay's name")
    options = parser.parse_args()
    wanted = options.answers or (SHORT_ANSWERS if options.short else FULL_ANSWERS)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    binary = Path(os.environ["RELAY_BIN"]).resolve()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        if options.short:
            chaos = Chaos(binary, Path(folder), SHORT_GAP_MS, pace.BUSY_ANSWER_LIMIT_MS)
        else:
            chaos = Chaos(binary, Path(folder), FULL_GAP_MS, pace.ANSWER_LIMIT_MS)
        print(f"{chaos.clients} clients at {len(chaos.worlds)} relays", flush=True)
        rows, excused = [], {}
        while not rows or (chaos.answers() < wanted and not options.only):
            more, spans = chaos.script(options.only)
            rows += more
            for target, some in spans.items():
                excused.setdefault(target, []).extend(some)
            print(f"{chaos.answers()} answers after {time.monotonic() - began:.0f} s", flush=True)
            if not more:
                print(f"no fault has {options.only!r} in its name")
                return 2
        found = chaos.finish(excused)
    print(shown(rows))
    found += [f"{row.lane}: {row.kind}: {violation}" for row in rows for violation in row.violations]
    kinds, seconds = {row.kind for row in rows}, time.monotonic() - began
    print(f"\n{len(kinds)} kinds of fault, {chaos.answers()} answers, {len(found)} violations, {seconds:.0f} s")
    print("\n".join(f"VIOLATION {violation}" for violation in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
