"""The clients: one Go program with many that judge every answer, and boto3 programs that sign calls to the test AWS."""

import collections
import json
import subprocess
import threading
import time

import pace
from catalogue import client
from harness import EXIT_SECONDS, environment, spawn, wait_for
from running import start

# An answer of AWS's to a key that it does not take (any more).
DEAD_KEY = ("ExpiredToken", "InvalidClientTokenId", "InvalidAccessKeyId", "SignatureDoesNotMatch")
# What botocore says when the endpoint gave it nothing.
NOTHING_GIVEN = ("CredentialRetrievalError", "MetadataRetrievalError", "NoCredentialsError")

# The Go program waits so long for an answer: `patience` in client/ask.go.
LAST_ANSWER = 20
# A boto3 program has a good call this often, on the average of a run: ten times as often where nothing is wrong.
GOOD_CALL_EVERY = 5


class Askers:
    """The Go program. `targets` are names with (relay, profile, number of clients)."""

    def __init__(self, program, folder, targets, gap_ms, limit_ms=pace.ANSWER_LIMIT_MS):
        self.secrets_file = folder / "served-secrets"
        self.secrets_file.touch(0o600)
        self.violations = []
        self.served = collections.defaultdict(dict)
        self.gone = {}
        self.ended_phases = collections.defaultdict(list)
        self._log = folder / "askers.log"
        given = {
            "targets": [
                {
                    "name": name,
                    "uri": f"{relay.endpoint}/v1/credentials/{profile}",
                    "token_file": str(relay.token_path(profile)),
                    "clients": clients,
                    "least_ms": pace.LEAST_MS,
                    "most_ms": pace.MOST_MS,
                }
                for name, (relay, profile, clients) in targets.items()
            ],
            "gap_ms": gap_ms,
            "limit_ms": limit_ms,
            "secrets_file": str(self.secrets_file),
        }
        self._lock = threading.Lock()
        with open(self._log, "w") as log:
            self._process = spawn(
                [program, "ask", json.dumps(given)],
                environment(folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout.readline(), self._log.read_text()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            told = json.loads(line)
            match told["event"]:
                case "violation":
                    self.violations.append(told)
                case "served":
                    self.served[told["target"]][told["key"]] = told
                case "gone":
                    self.gone.setdefault(told["target"], told)
                case "phase":
                    self.ended_phases[told["target"]].append(told)

    def phase(self, target, name="", **excused):
        """Begins a phase of a target, and gives what was counted in the one that ends by it."""

        before = len(self.ended_phases[target])
        with self._lock:
            self._process.stdin.write(json.dumps({"target": target, "name": name, **excused}) + "\n")
            self._process.stdin.flush()
        wait_for(lambda: len(self.ended_phases[target]) > before, lambda: f"the clients' count\n{self._log.read_text()}")
        return self.ended_phases[target][before]

    def until_gone(self, target):
        """Waits until a client has found that the target's relay is not there any more: the first may rest as it goes."""

        wait_for(lambda: target in self.gone, lambda: f"a client finds {target} gone\n{self._log.read_text()}")

    def stopped(self, target):
        """The process of a target's relay has been stopped just now."""

        with self._lock:
            self._process.stdin.write(json.dumps({"target": target, "stopped_at": time.time()}) + "\n")
            self._process.stdin.flush()

    def secrets(self):
        return set(self.secrets_file.read_text().split())

    def answers(self):
        return sum(told["issued"] + told["refused"] for ended in self.ended_phases.values() for told in ended)

    def stop(self):
        self._process.stdin.close()
        code = self._process.wait(LAST_ANSWER + EXIT_SECONDS)
        self._reader.join(EXIT_SECONDS)
        self._process.stdout.close()
        assert code == 0, f"the clients ended with {code}\n{self._log.read_text()}"


class Signer:
    """A boto3 program that calls the test AWS without a pause, and what became of each call, and of itself."""

    def __init__(self, target, relay, profile, folder):
        self.target, self.application = target, f"chaos-{target}"
        self.calls = []
        self._broken = []
        home = folder / f"home-{target}"
        home.mkdir()
        boto3 = client("boto3")
        words, own = boto3.run_with()
        given = relay.client_environment(profile, home, self.application, **own)
        self._program = start(boto3, words, given, folder / f"signer-{target}.log")
        self._began = time.time()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    def _call(self):
        try:
            while not self._ended.wait(0.1):
                began = time.time()
                answer = self._program.call()
                self.calls.append((began, time.time(), answer))
        except Exception as error:  # noqa: BLE001: whatever it is, it is told
            self._breaks(f"after {len(self.calls)} calls: {error}")

    def stop(self):
        self._ended.set()
        self._thread.join()
        seconds = time.time() - self._began
        code = self._program.stop()
        if code != 0:
            self._breaks(f"it ended with {code}")
        good = sum(answer.ok for _, _, answer in self.calls)
        if good < seconds / GOOD_CALL_EVERY:
            self._breaks(f"{good} good calls in {seconds:.0f} s")

    def _breaks(self, detail):
        self._broken.append(self._violation("broken", time.time(), detail))

    def violations(self, aws, served, excused):
        """By the test AWS's journal and what was served: a key that was dead when the call began, and none though one is held. And
        what is wrong with the program.
        """

        yield from self._broken
        ends = aws.expiries()
        requests = aws.calls_by(self.application)
        for began, ended, answer in self.calls:
            if answer.ok or any(from_ <= ended and began <= to for from_, to in excused):
                continue
            if any(words in answer.error for words in DEAD_KEY):
                made = [call for call in requests if began <= call["at"] <= ended]
                if any(call["status"] >= 400 and ends.get(call["access_key_id"], 0) < began for call in made):
                    yield self._violation("expired", ended, f"signed with a key that was dead before: {answer.error}")
            elif any(words in answer.error for words in NOTHING_GIVEN):
                ended_with_margin = ended + pace.MOST_MS / 1000
                held = [one for one in served.values() if one["first"] < began and one["expires"] > ended_with_margin]
                if held:
                    yield self._violation("withheld", ended, f"though {held[0]['key']} is valid: {answer.error}")
            else:
                yield self._violation("unexpected", ended, answer.error)

    def _violation(self, what, at, detail):
        return {"target": self.target, "phase": "", "what": f"boto3: {what}", "at": at, "detail": detail[:400]}


class Flood:
    """Connections that do nothing, or next to it."""

    def __init__(self, program, folder, relay, connections, slow=False):
        given = {"address": relay.endpoint.removeprefix("http://"), "connections": connections, "slow": slow}
        self._process = spawn(
            [program, "flood", json.dumps(given)], environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def opened(self):
        """Waits until all were opened once: how many were."""

        told = json.loads(self._process.stdout.readline())
        return told["made"]

    def stop(self):
        self._process.stdin.close()
        self._process.wait(EXIT_SECONDS)
        self._process.stdout.close()
