"""The soak: relays that rotate every few seconds while clients ask, and nothing of them grows. RELAY_BIN is the binary.

Of what a relay takes (memory, threads, descriptors) the most in the last third of the time may exceed the most in the second
third by no more than GROWTH says; the first third is its warm-up.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import build
import worlds
from askers import Askers, Signer
from main import told
from rooms import open_files
from table import table

SAMPLE = 2
GAP_MS = 5
# Memory: the allocator keeps what a moment's most took, and where that falls is chance: some connections to an upstream more at a
# time, 60 kB each. What is lost at each answer is seen within minutes, from some 10 bytes on (a third of five minutes has some
# 40,000 answers of each relay), and in an hour what is lost at each rotation, from 1 kB on (a third has some 350).
# Descriptors: a connection to an upstream for each of two stages, and a name's lookup.
# Threads: those that read files and look up names come and go.
GROWTH = {"memory, kB": 256, "descriptors": 4, "threads": 2}


def taken(pid):
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    memory = int(status["RssAnon"].split()[0])
    return {"memory, kB": memory, "descriptors": open_files(pid), "threads": int(status["Threads"])}


def thirds(samples, what):
    third = len(samples) // 3
    return [max(sample[what] for sample in samples[at : at + third]) for at in (0, third, len(samples) - third)]


class Soak:
    """The relays, which nothing happens to, and their clients."""

    def __init__(self, binary, folder):
        self.aws = worlds.test_aws(folder / "aws")
        chain = worlds.chain(binary, self.aws, folder / "chain")[0]
        vault = worlds.vault(binary, self.aws, folder / "vault")[0]
        self.worlds = [chain, vault, worlds.embedded(binary, folder / "embedded")[0]]
        self.targets = {}
        for world in self.worlds:
            world.relay.ready()
            self.targets |= {f"{world.name}-{profile}": (world.relay, profile, 2) for profile in world.profiles}
        self.askers = Askers(build.CLIENTS.folder / "clients", folder, self.targets, GAP_MS)
        signed = ((chain, "app"), (vault, "session"))
        self.signers = [Signer(f"{world.name}-{profile}", world.relay, profile, folder) for world, profile in signed]
        self.samples = {world.name: [] for world in self.worlds}

    def last(self, seconds):
        began = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            for world in self.worlds:
                self.samples[world.name].append(taken(world.relay.pid))
            time.sleep(max(0, now + SAMPLE - time.monotonic()))

    def finish(self):
        """Ends all, and gives what clients saw that should not be."""

        found = []
        for signer in self.signers:
            signer.stop()
        found += [f"{name}: somebody was refused" for name in self.targets if self.askers.phase(name)["refused"]]
        self.askers.stop()
        found += told(self.askers.violations)
        for signer in self.signers:
            found += told(signer.violations(self.aws, self.askers.served[signer.target], []))
        for world in self.worlds:
            world.relay.known_secrets += self.askers.secrets()
            code, _ = world.stop()
            if code != 0:
                found.append(f"{world.name}: the relay ended with {code}")
            found += [f"{world.name}: a secret was told: {leak}" for leak in world.relay.leaks()]
            failures = [failure for profile in world.profiles for failure in world.heard.failures(profile)]
            found += [f"{world.name}: {failure['cause']}: {failure['reason']}" for failure in failures]
        self.aws.stop()
        return found

    def rows(self):
        for world in self.worlds:
            rotations = sum(len(world.heard.attempts(profile)) for profile in world.profiles)
            for what, growth in GROWTH.items():
                first, second, third = thirds(self.samples[world.name], what)
                grown = "GROWN" if third > second + growth else "flat"
                yield [world.name, rotations, what, first, second, third, second + growth, grown]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3600)
    seconds = parser.parse_args().seconds
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    binary = Path(os.environ["RELAY_BIN"]).resolve()
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        soak = Soak(binary, Path(folder))
        soak.last(seconds)
        found = soak.finish()
    rows = [*soak.rows()]
    print(table(["relay", "rotations", "most of", "1st third", "2nd third", "3rd third", "allowed", ""], rows))
    found += [f"{name}: {what}: {third}, of at most {most}" for name, _, what, _, _, third, most, grown in rows if grown != "flat"]
    signed = sum(len(signer.calls) for signer in soak.signers)
    print(f"\n{seconds} s, {soak.askers.answers()} answers, {signed} signed calls, {len(found)} violations")
    print("\n".join(f"VIOLATION {violation}" for violation in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
