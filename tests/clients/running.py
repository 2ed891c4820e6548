"""A client that runs: one long-lived program that is told to call, or a command that is one process a call."""

import contextlib
import json
import re
import selectors
import subprocess
from dataclasses import dataclass

from harness import EXIT_SECONDS, spawn

CALL_SECONDS = 90  # what the most patient client takes to give up on an endpoint that refuses it, twice over


@dataclass
class Answer:
    """What became of a call. `key` is what the client says that it signed with, `arn` who it was, None where it does not tell."""

    ok: bool
    key: str = None
    arn: str = None
    error: str = ""


class NoAnswer(AssertionError):
    """A client that is told to call says neither yes nor no."""


class Program:
    def __init__(self, client, words, environment, log):
        self._client, self._log = client, log
        with open(log, "w") as errors:
            self._process = spawn(words, environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)

    def ask(self):
        """Begins a call; `answer` has what became of it."""

        try:
            self._process.stdin.write("call\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # `answer` tells how it ended

    def answered(self):
        """Whether `answer` would return at once."""

        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return bool(selector.select(0))

    def answer(self, seconds=CALL_SECONDS):
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                self._process.kill()
                raise NoAnswer(f"{self._client.id} does not answer within {seconds} s\n{self._said()}")
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait(EXIT_SECONDS)
            return Answer(False, error=f"ended with {code}: {self._said()}")
        try:
            return Answer(**json.loads(line))
        except (ValueError, TypeError) as wrong:
            raise AssertionError(f"{self._client.id} prints {line!r}, which is no answer: {wrong}") from None

    def call(self, seconds=CALL_SECONDS):
        self.ask()
        return self.answer(seconds)

    def stop(self):
        """It must end by itself once nobody will tell it to call again."""

        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._process.stdin.close()
        try:
            code = self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._process.stdout.close()
        return code

    def _said(self):
        return self._log.read_text(errors="replace")[-4000:]


class Command:
    """One process a call. What a user sees of an error is what it writes to standard error."""

    def __init__(self, client, words, environment, log):
        self._client, self._words, self._environment, self._log = client, words, environment, log
        self._process = None

    def ask(self):
        with open(self._log, "w") as errors:
            self._process = spawn(
                self._words, self._environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
            )

    def answered(self):
        return self._process.poll() is not None

    def answer(self, seconds=CALL_SECONDS):
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise NoAnswer(f"{self._client.id} does not end within {seconds} s") from None
        said = self._log.read_text(errors="replace").strip()
        return Answer(True) if code == 0 else Answer(False, error=said or f"exit code {code}, and not a word")

    def call(self, seconds=CALL_SECONDS):
        self.ask()
        return self.answer(seconds)

    def stop(self):
        return 0


def start(client, words, environment, log):
    kind = {"program": Program, "command": Command}[client.kind]
    return kind(client, words, environment, log)


class Signed:
    """Reads from the test AWS's journal, from now on, with which key each request of an application was signed."""

    def __init__(self, aws):
        self._file = open(aws.journal_path)
        self._file.seek(0, 2)
        self._rest = ""

    def more(self):
        """The requests since the last look, but for those that the relay makes."""

        self._rest += self._file.read()
        whole, _, self._rest = self._rest.rpartition("\n")
        entries = [json.loads(line) for line in whole.splitlines()]
        return [
            entry
            for entry in entries
            if entry["event"] == "request" and entry["access_key_id"] and entry["action"] != "sts:AssumeRole"
        ]

    def close(self):
        self._file.close()


def plain(text, **known):
    """An error as any run would show it: what changes from one run to the next is replaced by what it is."""

    for name, value in sorted(known.items(), key=lambda item: -len(str(item[1]))):
        text = text.replace(str(value), f"<{name.replace('_', ' ')}>")
    text = re.sub(r"<home>/home-\d+", "<home>", text)
    text = re.sub(r"\b(node:|process-)\d+", r"\1<process>", re.sub(r"Node\.js v[\d.]+", "Node.js", text))
    text = re.sub(r"(127\.0\.0\.1(?::|', port=))\d+", r"\g<1>9531", text)
    text = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<id>", text, flags=re.I)
    text = re.sub(r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?", "<time>", text)
    text = re.sub(r"@[0-9a-f]{5,8}\b", "@<hash>", text)
    text = re.sub(r"0x[0-9a-f]+", "<address>", text)
    text = re.sub(r"\S+/registry/src/[^/]+/", "", text)
    text = re.sub(r"\b(thread '\w+') \(\d+\)", r"\1", text)
    text = re.sub(r"\bin \d+\.?\d*(?:[nµm]?s)\b", "in <time>", text)
    return " ".join(text.split())
