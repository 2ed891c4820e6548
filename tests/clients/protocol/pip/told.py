"""What the Python programs share: a call for each line they are told, and its outcome as a line. See ../README.md."""

import json
import sys


def chain(error):
    """An exception and what it says that caused it, as a traceback's last lines tell them."""

    told = f"{type(error).__module__}.{type(error).__name__}: {error}".removeprefix("builtins.")
    return f"{told}, caused by {chain(error.__cause__)}" if error.__cause__ else told


def serve(call):
    """`call` makes one signed call and returns what is known of it: the key that it was signed with, who it was made as."""

    for _ in sys.stdin:
        try:
            answer = {"ok": True, **(call() or {})}
        except Exception as error:
            answer = {"ok": False, "error": chain(error)}
        print(json.dumps(answer), flush=True)


def credential(header):
    """The access key of an Authorization header."""

    header = header.decode() if isinstance(header, bytes) else header
    return header.partition("Credential=")[2].partition("/")[0]
