"""Fresh AWS CLI processes, one signed call each, until they have used CLIENT_KEYS access keys. See ../README.md.

CLIENT_COMMAND is the CLI's path. Its debug log is the one place where it tells which key it signed with.
"""

import json
import os
import re
import subprocess
import sys
import time

command = [os.environ["CLIENT_COMMAND"], "sts", "get-caller-identity", "--output", "json", "--debug"]
wanted = int(os.environ.get("CLIENT_KEYS", "4"))
deadline = time.monotonic() + float(os.environ.get("CLIENT_DEADLINE_SECONDS", "90"))
used = []
calls = 0
while True:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if ran.returncode != 0:
        sys.exit(f"call {calls} failed: exit {ran.returncode}\n{ran.stderr[-4000:]}")
    calls += 1
    for key in re.findall(r"Credential=([A-Z0-9]+)/", ran.stderr):
        if key not in used:
            used.append(key)
            print("key", key, flush=True)
    if len(used) >= wanted:
        print("done", calls, json.loads(ran.stdout)["Arn"], flush=True)
        break
    if time.monotonic() > deadline:
        sys.exit(f"deadline: {len(used)} of {wanted} keys in {calls} calls")
    time.sleep(0.2)
