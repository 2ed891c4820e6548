"""How often the relay may ask an upstream and how soon it must have healed, from its own rules: relay/schedule.rs,
relay/rotation/backoff.rs, relay/sts/client.rs, relay/sources/vault/session.rs. A change of those is one here.
"""

import functools
import random

# Sessions of the test AWS live so long, less up to a second that AWS's whole seconds cut; Vault cuts another.
LIFE = 8
SHORTEST_LIFE = LIFE - 2

# rotation/backoff.rs: the least wait after a failure, and the longest while something is held whose life is some seconds, and
# while nothing is. A wait is drawn from nothing up to a ceiling that doubles from the cause's first, at each failure in a row.
FLOOR = 0.25
FIRST = 1
FIRST_BY_CAUSE = {"throttled": 5, "tls": 60, "misconfigured": 60}
HELD_CEILING = 4
EMPTY_CEILING = 60

# sts/client.rs: one call has so many attempts, which take so long together at most.
STS_ATTEMPTS = 3
STS_OPERATION = 15
# What an attempt takes at an upstream that answers at once, on a machine that is busy.
AT_ONCE = 3
# sources/vault/session.rs: a login that failed is not tried again for so long, at most.
LOGIN_HOLD = 15
# rotation.rs: the clock is looked at this often.
LOOK_AGAIN = 5

# endpoint-contract section 4: what is handed out has more than a tenth of its life left.
LEAST_MS = SHORTEST_LIFE * 100
MOST_MS = LIFE * 100
# endpoint-contract section 5: a hard ceiling for any answer.
ANSWER_LIMIT_MS = 1000
# A refusal is held for 800 ms of them (tests/contract.rs proves it on paused time), so where a machine does much else, as in CI, the
# rest would judge the machine.
BUSY_ANSWER_LIMIT_MS = 3000


def most_rotations(seconds):
    """schedule.rs: a session is renewed when half of it is left, or up to a tenth of it earlier."""

    return 1 + int(seconds / (0.4 * SHORTEST_LIFE))


def longest_wait(cause, failures_before):
    """After a failure that comes after so many in a row."""

    return min(FIRST_BY_CAUSE.get(cause, FIRST) * 2 ** min(failures_before, 16), EMPTY_CEILING)


@functools.cache
def most_failures(seconds):
    """So many failures in a row fit into a time: more come in one of 10,000 times. The waits are drawn as the relay draws them,
    with the lower of the two ceilings, which allows more."""

    drawn = random.Random(8)

    def failures():
        at, count = 0, 0
        while at <= seconds:
            at += max(FLOOR, drawn.uniform(0, min(FIRST * 2 ** min(count, 16), HELD_CEILING)))
            count += 1
        return count

    return sorted(failures() for _ in range(20_000))[-2]
