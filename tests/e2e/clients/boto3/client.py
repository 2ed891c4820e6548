"""A long-lived boto3 client: signed calls until it has used CLIENT_KEYS access keys. See ../README.md."""

import os
import re
import sys
import time

import boto3

wanted = int(os.environ.get("CLIENT_KEYS", "4"))
deadline = time.monotonic() + float(os.environ.get("CLIENT_DEADLINE_SECONDS", "90"))
used = []


def note_key(request, **_):
    header = request.headers["Authorization"]
    header = header.decode() if isinstance(header, bytes) else header
    key = re.search("Credential=([^/]+)/", header).group(1)
    if key not in used:
        used.append(key)
        print("key", key, flush=True)


sts = boto3.client("sts")
sts.meta.events.register("before-send.sts", note_key)
calls = 0
while True:
    try:
        arn = sts.get_caller_identity()["Arn"]
    except Exception as error:
        sys.exit(f"call {calls} failed: {error!r}")
    calls += 1
    if len(used) >= wanted:
        print("done", calls, arn, flush=True)
        break
    if time.monotonic() > deadline:
        sys.exit(f"deadline: {len(used)} of {wanted} keys in {calls} calls")
    time.sleep(0.2)
