"""A bucket that is mounted by s3fs, of which a file is looked at for each call; see ../README.md for the protocol."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

folder = Path(tempfile.mkdtemp(dir=os.environ["HOME"]))
mount, log = folder / "mount", folder / "s3fs.log"
mount.mkdir()
# The role's name is the profile's. Nothing is remembered, so that each look at a file is a request.
options = f"iam_role=app,url={os.environ['CLIENT_ENDPOINT']},endpoint={os.environ['AWS_REGION']},use_path_request_style"
options += ",max_stat_cache_size=0,attr_timeout=0,entry_timeout=0,retries=1"
s3fs = None


def mounted():
    """Mounts it if it is not, and raises with what s3fs says if it cannot."""

    global s3fs
    if s3fs and s3fs.poll() is None:
        return
    with open(log, "w") as said:
        command = ["s3fs", os.environ["CLIENT_BUCKET"], str(mount), "-f", "-o", options]
        s3fs = subprocess.Popen(command, stdout=said, stderr=said)
    while not os.path.ismount(mount):
        if s3fs.poll() is not None:
            raise OSError("\n".join(re.findall(r"\[(?:CRT|ERR)\] .*|^s3fs: .*", log.read_text(), re.MULTILINE)))
        time.sleep(0.02)


for _ in sys.stdin:
    try:
        mounted()
        os.stat(mount / "hello")
        answer = {"ok": True}
    except OSError as error:
        answer = {"ok": False, "error": str(error)}
    print(json.dumps(answer), flush=True)
subprocess.run(["umount", "--lazy", mount], check=False, stderr=subprocess.DEVNULL)
if s3fs:
    s3fs.terminate()
    s3fs.wait()
