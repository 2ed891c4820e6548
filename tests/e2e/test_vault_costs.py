"""What each login and each credential type costs Vault and AWS: counted, and compared with what docs/vault.md says.

Each row has a role of its own at Vault, so that every call in the journal belongs to one row: by its path, or by its
token, which is known from the reads of the role.
"""

import collections
import contextlib
import itertools
import re
import time
from pathlib import Path

import pytest

from harness import TestAws, wait_for
from vault_world import LOGINS, VaultWorld

PAGE = Path(__file__).resolve().parents[2] / "docs" / "vault.md"
# Sessions, leases and tokens where time shall pass. They are renewed by the rule that those of an hour are renewed by.
SHORT = 20
# What is asked of AWS for new keys before they are served.
SUCCESSES = 2

# The rows of the second table: the type, and the rest of the profile.
ROWS = {
    "assumed_role": ("assumed_role", {}),
    "federation_token": ("federation_token", {}),
    "session_token": ("session_token", {}),
    "iam_user": ("iam_user", {"serve_long_lived_keys": True}),
    "iam_user, get_session_token": ("iam_user", {"get_session_token": {}}),
    "iam_user, a hop": ("iam_user", {"chain": "hop"}),
    "static role": ("static", {"serve_long_lived_keys": True}),
}
PATHS = [
    ("login", r"auth/[^/]+/login(/.*)?"),
    ("look-up", r"auth/token/lookup-self"),
    ("wrapping", r"sys/wrapping/(lookup|unwrap)"),
    ("read", r"aws/(static-)?creds/.*"),
    ("token renewal", r"auth/token/renew-self"),
    ("lease renewal", r"sys/leases/renew"),
    ("revocation", r"(auth/token/revoke-self|sys/leases/revoke)"),
]


class Bench:
    """A relay with a profile for each row: two for each login, which share it."""

    def __init__(self, world, binary, folder):
        self.world = world
        self._roles, self._mounts = {}, {}
        profiles = {}
        for login in LOGINS:
            auth = self._role(login, "assumed_role") and world.auth(login)
            self._mounts[login] = {"approle_wrapped": "approle"}.get(login, login)
            for twin in "ab":
                profiles[f"{login}-{twin}"] = {"source": world.source("assumed_role", auth, self._roles[login])}
        for row, (kind, more) in ROWS.items():
            self._mounts[row] = mount = "k8s-" + re.sub("[^a-z]", "-", row)
            world.mount_kubernetes(mount)
            auth = {"kubernetes": {**world.auth("kubernetes")["kubernetes"], "mount": mount}}
            role = self._role(row, kind)
            if more.get("chain"):
                more = {"chain": [{"role_arn": world.team_arn}]}
            profiles[self.profile(row)] = {"source": world.source(kind, auth, role), **more}
        world.vault.clear()
        self.relay = world.relay(
            binary, folder, profiles, propagation={"successes": SUCCESSES, "settle": "0s"}
        )

    @staticmethod
    def profile(row):
        return "row-" + re.sub("[^a-z]+", "-", row)

    def _role(self, row, kind):
        if kind == "static":
            self._roles[row] = "static"
        else:
            self._roles[row] = re.sub("[^a-z]", "-", row) + "-role"
            self.world.make_role(self._roles[row], kind)
        return self._roles[row]

    def counts(self, row):
        """Vault's calls for a row, by what they were."""

        journal = self.world.vault.journal()
        role = self._roles[row]
        reads = [entry for entry in journal if re.fullmatch(rf"/v1/aws/(static-)?creds/{role}", entry["path"])]
        tokens = {entry["token"] for entry in reads}
        counted = collections.Counter()
        for entry in journal:
            kind = next(kind for kind, path in PATHS if re.fullmatch("/v1/" + path, entry["path"]))
            if kind == "login":
                # Both kinds of AppRole log in at one place; each has one login as long as its token lives.
                theirs = re.match(rf"/v1/auth/{re.escape(self._mounts[row])}/login", entry["path"])
            elif kind == "wrapping":
                theirs = row == "approle_wrapped"
            else:
                theirs = entry.get("token") in tokens
            if theirs:
                assert entry["status"] in (200, 204), entry
                counted[kind] += 1
        if self._mounts[row] == "approle":
            assert counted["login"] == 2
            counted["login"] = 1
        return +counted

    def aws_counts(self, row):
        """The relay's calls to AWS for a row of ROWS."""

        asked = self.relay.ask_admin("/metrics")[2]
        named = rf'credential_relay_upstream_calls_total\{{[^}}]*profile="{self.profile(row)}"[^}}]*\}} (\d+)'
        lines = [line for line in asked.splitlines() if re.match(named, line) and 'upstream="sts"' in line]
        return {re.search('operation="([^"]+)"', line).group(1): int(line.rpartition(" ")[2]) for line in lines}

    def refreshes(self, profile):
        """How often it was fetched or renewed, with success."""

        asked = self.relay.ask_admin("/metrics")[2]
        named = rf'credential_relay_refreshes_total\{{[^}}]*profile="{profile}"[^}}]*\}} (\d+)'
        lines = [match for line in asked.splitlines() if (match := re.match(named, line))]
        return sum(int(match.group(1)) for match in lines if 'result="success"' in match.group(0))


@pytest.fixture
def bench(binary, tmp_path):
    """Starts one; the test AWS's sessions live for so long, and so do tokens and leases."""

    with contextlib.ExitStack() as closing:

        def start(seconds):
            folder = tmp_path / "aws"
            folder.mkdir()
            aws = TestAws(folder, seconds)
            closing.callback(aws.stop)
            world = VaultWorld(tmp_path, aws, token_ttl=f"{seconds}s", lease=f"{seconds}s")
            closing.callback(world.stop)
            made = Bench(world, binary, tmp_path / "relay")
            closing.callback(made.relay.ends_well)
            made.relay.ready()
            return made

        yield start


def table(heading):
    """A table of the page as rows of cells, by the first one; a cell of several names stands for each."""

    lines = PAGE.read_text().split(f"\n{heading}\n")[1].splitlines()
    lines = list(itertools.dropwhile(lambda line: not line.startswith("|"), lines))
    rows = [line.strip("|").split("|") for line in itertools.takewhile(lambda line: line.startswith("|"), lines)]
    return {
        name: [cell.strip() for cell in cells[1:]]
        for cells in rows[2:]
        for name in re.findall(r"`([^`]+)`", cells[0])
    }


def number(cell):
    """What a cell says, with N for the successes that new keys must have."""

    return eval(re.match(r"[N0-9 +.]*", cell).group(0) or "0", {"N": SUCCESSES})


def test_what_a_start_and_a_forced_rotation_cost(bench):
    """Everything lives for an hour, so that nothing happens that was not asked for."""

    bench = bench(3600)
    logins, kinds = table("### What a login costs"), table("### What a profile costs")
    assert (set(logins), set(kinds)) == (set(LOGINS), set(ROWS))
    for login in LOGINS:
        counted = bench.counts(login)
        # Two profiles read, and share the rest.
        assert counted.pop("read") == 2, login
        assert counted.total() == number(logins[login][0]), (login, counted)
    for row in ROWS:
        counted, asked = bench.counts(row), bench.aws_counts(row)
        assert counted == {"login": 1, "read": number(kinds[row][0])}, row
        assert sum(asked.values()) == number(kinds[row][1]), (row, asked)

    rotations = [bench.relay.command("rotate", bench.profile(row)) for row in ROWS]
    for process in rotations:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    for row in ROWS:
        counted, asked = bench.counts(row), bench.aws_counts(row)
        assert counted == {"login": 1, "read": number(kinds[row][0]) + number(kinds[row][2])}, row
        assert sum(asked.values()) == number(kinds[row][1]) + number(kinds[row][3]), (row, asked)
    assert bench.relay.leaks() == []


def test_what_renewals_cost(bench):
    """Everything lives for seconds, and is renewed by the same shares of its life as what lives for an hour."""

    began = time.monotonic()
    bench = bench(SHORT)
    logins, kinds = table("### What a login costs"), table("### What a profile costs")
    moving = [row for row in ROWS if row != "static role"]
    wait_for(
        lambda: all(bench.refreshes(bench.profile(row)) >= 3 for row in moving),
        "two renewals of each profile",
    )
    for row in moving:
        vault, aws = number(kinds[row][4]), number(kinds[row][5])

        def agree():
            """Between two renewals: neither call more, nor one less."""

            renewals = bench.refreshes(bench.profile(row)) - 1
            counted, asked = bench.counts(row), bench.aws_counts(row)
            if bench.refreshes(bench.profile(row)) - 1 != renewals:
                return False
            first_aws = number(kinds[row][1])
            if sum(asked.values()) != first_aws + aws * renewals:
                return False
            if row.startswith("iam_user"):
                # The user stays, and so does the login: what is renewed is its lease, and the token before it.
                exact = counted["token renewal"] == counted["lease renewal"]
                extended = renewals if row == "iam_user" else counted["lease renewal"]
                total = vault * extended
                return (
                    exact
                    and counted["lease renewal"] <= renewals
                    and counted["token renewal"] + counted["lease renewal"] == total
                    and (counted["login"], counted["read"]) == (1, 1)
                )
            return counted["read"] == 1 + vault * renewals and not counted["lease renewal"]

        wait_for(agree, lambda: f"{row}: {bench.counts(row)}, {bench.aws_counts(row)} as {PAGE} says")
    assert bench.counts("static role") == {"login": 1, "read": 1}

    for login in LOGINS:
        counted, lives = bench.counts(login), (time.monotonic() - began) / SHORT
        spent = counted["login"] + counted["look-up"] + counted["token renewal"] - 1
        # At the rate that the page says for an hour's token, which is a rate for each life.
        assert spent <= number(logins[login][1]) * lives + 1, (login, counted, lives)
        assert counted["lease renewal"] == counted["revocation"] == 0
    assert bench.relay.leaks() == []


def test_the_rates_an_hour_follow_from_the_counts():
    renewals = float(re.search(r"\| 1h \| .* \| ([0-9.]+) \|", (PAGE.parent / "configuration.md").read_text()).group(1))
    for row, cells in table("### What a profile costs").items():
        if row != "static role":
            assert number(cells[6]) == round(renewals * number(cells[4]), 1), row
