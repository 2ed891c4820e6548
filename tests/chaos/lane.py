"""One fault after the other at one relay, and what is held against each."""

import contextlib
import time
from dataclasses import dataclass, field

import pace
from harness import wait_for

# Between two faults, so that each begins with something fresh in hand.
CALM = 0.5
# A look at what is heard takes no longer on a machine that does not stand still.
TOLERATED = 0.5
# What botocore has under way when a fault ends may be told so much later.
BOTO3_LATE = 3


@dataclass
class Fault:
    """`begin` makes it and `end` mends it. One of the failures at least must have one of `causes`, where there are any."""

    kind: str
    seconds: float
    begin: callable
    end: callable
    causes: tuple = ()
    # Everything that was held at its begin has ended by its end, so clients must have been refused.
    outlives: bool = False
    # What excuses an answer, or that there is none: those of `phase` in client/ask.go.
    excused: tuple = ()
    # Nobody is refused before its end, whatever is excused.
    served_until_mended: bool = False
    # What may pass beyond one back-off before it has healed, and why there may be more failures meanwhile.
    grace: float = 0
    # Looked at when it is over: gives what is wrong, if anything.
    check: callable = None


@dataclass
class Row:
    """A line of the table."""

    lane: str
    kind: str
    lasted: float = 0
    answers: int = 0
    refused: int = 0
    slowest_ms: int = 0
    rotations: int = 0
    failures: int = 0
    calls: int = 0
    most_calls: int = 0
    healed: float = 0
    healed_within: float = 0
    # How many a client saw, which tells them itself.
    seen: int = 0
    violations: list = field(default_factory=list)


class Lane:
    """The profiles of a world that the faults strike; others of the same world may belong to other lanes."""

    def __init__(self, name, world, profiles, faults, askers, stopping):
        self.name, self.world, self.profiles, self.faults = name, world, profiles, faults
        self.rows = []
        # Spans for which boto3's answers are excused.
        self.excused = []
        self._askers, self._stopping = askers, stopping

    def run(self, chosen):
        for fault in self.faults:
            if (chosen in fault.kind or chosen in self.name) and not self._stopping.is_set():
                self.rows.append(self._strike(fault))

    def target(self, profile):
        return f"{self.world.name}-{profile}"

    def _phase(self, name="", excused=()):
        flags = dict.fromkeys(excused, True)
        return [self._askers.phase(self.target(profile), name, **flags) for profile in self.profiles]

    def _strike(self, fault):
        row = Row(self.name, fault.kind)
        began = time.time()
        self._phase(fault.kind, fault.excused)
        with contextlib.ExitStack() as mending:
            mending.callback(fault.end)
            fault.begin()
            self._stopping.wait(fault.seconds)
            self._until_met(fault, began)
            # What is on its way from here on may be decided on after it was mended.
            mended = time.time()
        ended = time.time()
        healed = [self._heal(profile, ended, fault, row) for profile in self.profiles]
        row.healed, row.healed_within = max(took for took, _ in healed), max(most for _, most in healed)
        if fault.excused:
            self.excused.append((began, time.time() + BOTO3_LATE))
        row.lasted = ended - began
        counted = self._phase()
        self._count(row, counted, began)
        failures = {profile: self.world.heard.failures(profile, began) for profile in self.profiles}
        self._pace(row, began, failures)
        self._judge(fault, row, counted, (began, mended))
        self._stopping.wait(CALM)
        return row

    def _until_met(self, fault, began):
        """Lets a fault last until an attempt has met it: on a machine that is busy one may come late."""

        if fault.causes:
            with contextlib.suppress(AssertionError):
                wait_for(lambda: self._stopping.is_set() or self._met(began) & set(fault.causes), "it is met", pace.LIFE)

    def _met(self, began):
        return {failure["cause"] for profile in self.profiles for failure in self.world.heard.failures(profile, began)}

    def _count(self, row, counted, began):
        row.answers = sum(told["issued"] + told["refused"] for told in counted)
        row.refused = sum(told["refused"] for told in counted)
        row.slowest_ms = max(told["slowest_ms"] for told in counted)
        row.seen = sum(told["violations"] for told in counted)
        heard, profiles = self.world.heard, self.world.profiles
        row.failures = sum(len(heard.failures(profile, began)) for profile in self.profiles)
        row.rotations = sum(len(heard.attempts(profile, began)) for profile in self.profiles) - row.failures
        row.calls = len(self.world.asked(began))
        # Others of the world have profiles that ask the same upstream. An attempt may be under way at either end.
        attempts = sum(len(heard.attempts(profile, began)) + 2 for profile in profiles)
        row.most_calls = self.world.calls_an_attempt * attempts

    def _pace(self, row, began, failures):
        """Attempts are no more than the schedule and the back-off let there be, and calls no more than attempts make."""

        seconds = time.time() - began
        for profile, failed in failures.items():
            rotated = len(self.world.heard.attempts(profile, began)) - len(failed)
            for what, count, most in (
                ("rotations", rotated, pace.most_rotations(seconds)),
                ("failures", len(failed), pace.most_failures(int(seconds) + 1)),
            ):
                if count > most:
                    row.violations.append(f"calls: {count} {what} of {profile} in {seconds:.0f} s, where {most} are allowed")
            row.violations += self._waits(profile, began)
        if row.calls > row.most_calls:
            row.violations.append(f"calls: {row.calls} at the upstream, where {row.most_calls} are allowed")

    def _waits(self, profile, began):
        """Those that the back-off cannot have drawn."""

        in_a_row = 0
        for at, message, fields in self.world.heard.attempts(profile):
            if message != "refresh failed":
                in_a_row = 0
                continue
            longest = pace.longest_wait(fields["cause"], in_a_row)
            in_a_row += 1
            if at >= began and not pace.FLOOR - 0.001 <= fields["retry_ms"] / 1000 <= longest:
                wait = f"{fields['retry_ms']} ms after failure {in_a_row} ({fields['cause']})"
                yield f"back-off: {wait}, of {pace.FLOOR} to {longest} s"

    def _judge(self, fault, row, counted, span):
        began, mended = span
        found = self._met(began)
        if not self._stopping.is_set():
            if fault.causes and not found & set(fault.causes):
                row.violations.append(f"not seen: the relay met {sorted(found) or 'no failure'}, and not {fault.causes}")
            if fault.outlives and not any(told["refused"] for told in counted):
                row.violations.append("not seen: it was to last longer than what was held, and nobody was refused")
            if not row.answers and "stopped" not in fault.excused:
                row.violations.append("not seen: nobody was answered")
            refused = [told for told in counted if told["refused"]]
            if fault.served_until_mended and any(told["first_refusal"] < mended for told in refused):
                row.violations.append("withheld: somebody was refused, though the relay could know what is valid")
            wrong = fault.check and fault.check(began, counted)
            if wrong:
                row.violations.append(wrong)

    def _heal(self, profile, ended, fault, row):
        """Waits for the first rotation since the fault's end: (seconds that it took, seconds that it may take).

        That is the attempt that was planned when the fault ended; or one was under way then, which may take all of its time, and
        may fail still and plan another.
        """

        world = self.world
        known = world.heard.attempts(profile)
        attempt_seconds = world.attempt_seconds + fault.grace

        def within(attempt):
            planned = planned_by(attempt) - ended
            return (planned + pace.AT_ONCE if planned > 0 else world.attempt_seconds) + fault.grace

        def under_way(attempt):
            return attempt[0] <= ended + attempt_seconds

        most = within([attempt for attempt in known if attempt[0] <= ended][-1])
        failed, lag, looked = [], 0, time.time()
        while True:
            for attempt in world.heard.attempts(profile, ended)[len(failed) :]:
                if attempt[1] != "refresh failed":
                    return attempt[0] - ended, most
                failed.append(attempt)
                if under_way(attempt) and (len(failed) == 1 or fault.grace):
                    most = max(most, within(attempt))
            # A machine that stood still took that from the relay too.
            now = time.time()
            lag, looked = lag + max(0, now - looked - TOLERATED), now
            if now > ended + most + lag:
                late = f"{profile} has not rotated {most:.1f} s after the fault's end"
                row.violations.append(f"not healed: {late}\n{self._last(profile)}")
                with contextlib.suppress(AssertionError):
                    wait_for(lambda: self._rotated(profile, ended), "it heals at last", 2 * pace.EMPTY_CEILING)
                return time.time() - ended, most
            time.sleep(0.02)

    def _rotated(self, profile, ended):
        return any(message != "refresh failed" for _, message, _ in self.world.heard.attempts(profile, ended))

    def _last(self, profile):
        failures = self.world.heard.failures(profile)[-3:]
        return "\n".join(f"  {fields['cause']}: {fields['reason']}" for fields in failures)


def planned_by(attempt):
    """When the next one is due."""

    seen, _, fields = attempt
    return seen + (fields["retry_ms"] / 1000 if "retry_ms" in fields else fields["next_s"] + 1)
