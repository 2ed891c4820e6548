"""Where a relay runs: a mount namespace of its own, without root's right to read what it may not, by a wall clock that can be
stepped.
"""

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Room:
    """`program` is what to start in the relay's place. Folders of `disks` are small file systems of their own in it."""

    def __init__(self, binary, folder, disks=(), clock=None):
        self._folder = folder
        self.program = folder / "relay-in-its-room"
        self._hosts = folder / "hosts"
        self._hosts.write_text(Path("/etc/hosts").read_text())
        self._resolver = folder / "resolv.conf"
        self._resolver.write_text("options timeout:1 attempts:1\n")
        self._offset = folder / "offset"
        self._offset.write_bytes(bytes(8))
        lines = ["#!/bin/sh", "set -eu"]
        lines += [f"mount --bind {self._hosts} /etc/hosts", f"mount --bind {self._resolver} /etc/resolv.conf"]
        for disk in disks:
            disk.mkdir()
            lines.append(f"mount -t tmpfs -o size=64k,mode=700 tmpfs {disk}")
        preload = f"env LD_PRELOAD={clock} WALL_CLOCK_OFFSET={self._offset}" if clock else ""
        # Root without its capabilities reads what the modes let it, like anybody else.
        lines.append(f'exec setpriv --bounding-set=-all --inh-caps=-all {preload} {binary} "$@"')
        inside = folder / "inside"
        inside.write_text("\n".join(lines) + "\n")
        inside.chmod(0o755)
        self.program.write_text(f'#!/bin/sh\nexec unshare --mount --propagation private {inside} "$@"\n')
        self.program.chmod(0o755)

    def name(self, host, address="127.0.0.1"):
        """Lets the relay find a host by its name."""

        self._hosts.write_text(self._hosts.read_text() + f"{address} {host}\n")

    def forget_names(self, server):
        """The hosts' names are gone, and so is what this name server knew. Gives what brings them back."""

        known, asked = self._hosts.read_text(), self._resolver.read_text()
        self._hosts.write_text("127.0.0.1 localhost\n")
        self._resolver.write_text(f"nameserver {server}\noptions timeout:1 attempts:1\n")

        def back():
            self._hosts.write_text(known)
            self._resolver.write_text(asked)

        return back

    def step(self, seconds):
        """The wall clock is off by so much from now on."""

        with open(self._offset, "r+b") as offset:
            offset.write(seconds.to_bytes(8, "little", signed=True))

    def seen(self, relay, path):
        """A path of the relay's as it is found from outside."""

        return Path(f"/proc/{relay.pid}/root{path}")


def fill(path):
    """Takes what is left of a file system. Gives what frees it."""

    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            pass
    return path.unlink


def limit_files(pid, soft):
    """How many files a process may have open. Gives what it was."""

    asked = ["prlimit", f"--pid={pid}", "--nofile", "--output=SOFT,HARD", "--noheadings", "--raw"]
    before, hard = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
    subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={soft}:{hard}"], check=True)
    return int(before)


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
