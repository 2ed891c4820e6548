"""What a relay says of its rotations, as it says it."""

import json
import threading
import time

OUTCOMES = ("rotated", "unchanged", "refresh failed")


class Heard:
    """Follows a relay's log: of each attempt (when it was read here, its message, its fields). The log's own times are not
    gone by: one of the faults is a wrong clock."""

    def __init__(self, path):
        self._attempts = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._file = open(path, "rb")
        self._rest = b""
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self):
        while True:
            last = self._ended.is_set()
            self._read()
            if last:
                return
            self._ended.wait(0.02)

    def _read(self):
        self._rest += self._file.read()
        whole, _, self._rest = self._rest.rpartition(b"\n")
        for line in whole.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            fields = entry.get("fields", entry)
            if fields.get("message") in OUTCOMES:
                with self._lock:
                    self._attempts.setdefault(fields["profile"], []).append((time.time(), fields["message"], fields))

    def attempts(self, profile, since=0):
        with self._lock:
            return [attempt for attempt in self._attempts.get(profile, []) if attempt[0] >= since]

    def failures(self, profile, since=0):
        return [fields for _, message, fields in self.attempts(profile, since) if message == "refresh failed"]

    def stop(self):
        self._ended.set()
        self._thread.join()
        self._file.close()
