"""The main job: six SDKs, with nothing but the standard variables, sign calls across rotations and never see a failure.

What happened is read from the test AWS's journal, not from what the relay or the clients say of themselves.
"""

import time

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from catalogue import clients
from harness import SESSION_SECONDS, wait_for
from running import Signed, start

KEYS = 4
PAUSE = 0.2  # between two calls of a client: the six of them share a small machine


class Clients:
    """The clients of tests/clients' fast subset, all at once."""

    def __init__(self, relay, profile, folder):
        self.signed = {}
        self.told = {}
        self._journal = Signed(relay.aws)
        self._due, self._running = {}, {}
        for client in (client for client in clients() if client.fast):
            home = folder / f"home-{client.id}"
            home.mkdir()
            words, more = client.run_with()
            given = relay.client_environment(profile, home, f"e2e-{client.id}", **more)
            self._running[client.id] = start(client, words, given, folder / f"client-{client.id}.log")
            self.signed[client.id], self.told[client.id] = set(), set()
            self._running[client.id].ask()

    def sign(self):
        """Lets each call until it has signed with so many keys."""

        try:
            wait_for(self._all_have_signed, lambda: f"{KEYS} keys each: {self.signed}")
        finally:
            codes = {name: running.stop() for name, running in self._running.items()}
            self._journal.close()
        assert set(codes.values()) == {0}, codes

    def _all_have_signed(self):
        for request in self._journal.more():
            name = request["user_agent"].rpartition("app/e2e-")[2].split(" ")[0]
            self.signed[name].add(request["access_key_id"])
        for name, running in self._running.items():
            if name in self._due:
                if time.monotonic() >= self._due[name] and len(self.signed[name]) < KEYS:
                    del self._due[name]
                    running.ask()
            elif running.answered():
                answer = running.answer()
                assert answer.ok, f"{name}: a call failed: {answer.error}"
                self.told[name].update({answer.key} - {None})
                self._due[name] = time.monotonic() + PAUSE
        return len(self._due) == len(self._running) and all(len(keys) >= KEYS for keys in self.signed.values())


def test_every_sdk_signs_through_rotations_without_a_failed_call(aws, start_relay, tmp_path):
    began = time.time()
    relay = start_relay(aws).ready()
    running = Clients(relay, "payments", tmp_path)
    running.sign()
    took = time.time() - began

    assert len(running.signed) >= 6
    spoke_keys = {entry["access_key_id"] for entry in aws.journal("issued", role_arn=aws.spoke_role_arn)}
    expiries = aws.expiries()
    for name, told in running.told.items():
        calls = aws.calls_by(f"e2e-{name}")
        used = {call["access_key_id"] for call in calls}
        assert len(used) >= KEYS, f"{name} used {len(used)} keys in {len(calls)} calls"
        assert told <= used, f"{name} says that it used {told}, the journal {used}"
        assert used <= spoke_keys, f"{name} used a key that is not of the spoke role"
        assert {call["action"] for call in calls} == {"sts:GetCallerIdentity"}
        assert [call for call in calls if call["status"] != 200] == [], f"{name} had a call refused"
        late = [call for call in calls if call["at"] >= expiries[call["access_key_id"]]]
        assert late == [], f"{name} used a key that had expired"

    # One session of each role per rotation, however many requests: a rotation is due after 0.4 of a lifetime at the earliest.
    rotations = took / (0.4 * (SESSION_SECONDS - 1)) + 1
    for role in (aws.hub_role_arn, aws.spoke_role_arn):
        issued = [entry for entry in aws.journal("issued", role_arn=role) if entry["at"] >= began]
        assert len(issued) <= rotations, f"{len(issued)} sessions of {role} in {took:.0f} s"

    assert relay.ask_admin("/readyz")[0] == 200
    assert relay.ask_admin("/livez")[0] == 200
    status, kind, text = relay.ask_admin("/metrics")
    assert status == 200
    parse = parse_openmetrics if "openmetrics" in kind else parse_text
    assert [family for family in parse(text) if family.samples], text

    exit_code, seconds = relay.stop()
    assert exit_code == 0, f"SIGTERM: ended with {exit_code} in {seconds:.1f} s"
