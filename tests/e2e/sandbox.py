"""A pod's network: a namespace of its own, which ends with the test run, and the ways into it and out of it."""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading

from harness import EXIT_SECONDS, environment, spawn

POD_IP = "10.244.0.2"
# Where a pod finds the servers that listen on the machine's loopback: link-local, since those speak plain HTTP.
UPSTREAM = "169.254.77.1"
CLONE_NEWNET = 0x40000000


class Sandbox:
    """Loopback, the pod's own address, and one address behind which the machine's loopback is."""

    def __init__(self, folder):
        addresses = [f"ip addr add {address}/32 dev lo" for address in (POD_IP, UPSTREAM)]
        setup = " && ".join(["ip link set lo up", *addresses, "echo ready && exec cat"])
        self._holder = spawn(
            ["unshare", "--net", "sh", "-euc", setup], environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._listeners = []
        assert self._holder.stdout.readline() == "ready\n", "no network namespace: pods are run as root"
        self.path = f"/proc/{self._holder.pid}/ns/net"

    def close(self):
        for listener in self._listeners:
            # Closing alone would leave accept() waiting.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._holder.stdin.close()
        self._holder.wait(EXIT_SECONDS)
        self._holder.stdout.close()

    def inside(self, work):
        """Does something in the namespace, in a thread that ends with it, and gives what that gives."""

        done = {}

        def enter():
            try:
                with open(self.path) as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
                done["result"] = work()
            except Exception as error:
                done["error"] = error

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if "error" in done:
            raise done["error"]
        return done["result"]

    def reaches(self, port):
        """Lets the pod reach a server on the machine's loopback, at the same port of UPSTREAM."""

        listener = self.inside(lambda: socket.create_server((UPSTREAM, port)))
        self._listeners.append(listener)
        threading.Thread(target=_accept, args=(listener, port), daemon=True).start()


def _accept(listener, port):
    while True:
        try:
            inner, _ = listener.accept()
        except OSError:
            return
        try:
            outer = socket.create_connection(("127.0.0.1", port))
        except OSError:
            inner.close()
            continue
        for pair in ((inner, outer), (outer, inner)):
            threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source, sink):
    """Carries one direction to its end. The last one to end lets go of both: each holds them until then."""

    with contextlib.suppress(OSError):
        while block := source.recv(1 << 16):
            sink.sendall(block)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
