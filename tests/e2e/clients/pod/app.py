"""An application in a pod: does what its arguments name, in order, and prints a line of JSON for each.

call            who a signed call is made as, by a session that knows nothing from before
ask=PROFILE     the status of asking the relay for a profile with this container's own access token
inline          the same by the access token of its environment alone
shared=PATH     the same by a shared-credentials file alone
metadata=URL    the same by the instance metadata service alone
files           the hash of each file that this container can read, by path
write=PATH      what trying to write a file leads to
sigterm         waits for SIGTERM
"""

import hashlib
import json
import os
import signal
import sys
import urllib.error
import urllib.request

# The machine's own Python is not the container's.
NOT_OF_THE_CONTAINER = ("/proc", "/sys", "/dev", *filter(None, os.environ.get("APP_MACHINE", "").split(":")))


def call(_):
    import boto3

    return boto3.Session().client("sts").get_caller_identity()["Arn"]


def inline(_):
    del os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
    return call(_)


def call_by(**variables):
    for name in ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED"):
        os.environ.pop(name, None)
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = "/dev/null"
    os.environ.update(variables)
    return call(None)


def shared(path):
    return call_by(AWS_SHARED_CREDENTIALS_FILE=path, AWS_EC2_METADATA_DISABLED="true")


def metadata(url):
    return call_by(AWS_EC2_METADATA_SERVICE_ENDPOINT=url)


def ask(profile):
    with open(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]) as file:
        token = file.read()
    own = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    request = urllib.request.Request(f"{own.rpartition('/')[0]}/{profile}", headers={"Authorization": token})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def files(_):
    found = {}
    for folder, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if not os.path.join(folder, name).startswith(NOT_OF_THE_CONTAINER)]
        for path in (os.path.join(folder, name) for name in names):
            try:
                with open(path, "rb") as file:
                    found[path] = hashlib.sha256(file.read()).hexdigest()
            except OSError:
                pass
    return found


def write(path):
    try:
        with open(path, "w"):
            return "written"
    except OSError as error:
        return error.strerror


def sigterm(_):
    return signal.Signals(signal.sigwait({signal.SIGTERM})).name


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
for word in sys.argv[1:]:
    name, _, value = word.partition("=")
    does = (call, inline, shared, metadata, ask, files, write, sigterm)
    work = {each.__name__: each for each in does}[name]
    print(json.dumps({word: work(value)}), flush=True)
