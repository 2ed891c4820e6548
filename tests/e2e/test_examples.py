"""The examples below deploy/, run as far as a machine without a container engine can: each container's own command with its own
environment, files and volumes at their own paths, in a network and a mount namespace of their own.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import yaml

from agents import EcsAgent
from harness import EXIT_SECONDS, environment, leaks, spawn, wait_for
from pods import in_a_pod
from toolchain import client_commands

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ECS_AGENT = "169.254.170.2"


def lay_over(folder, path):
    """Lets the test write below a folder of the machine without leaving anything there: the namespace ends with it."""

    upper, work = folder / f"upper{path.replace('/', '-')}", folder / f"work{path.replace('/', '-')}"
    upper.mkdir()
    work.mkdir()
    layers = f"lowerdir={path},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, path], check=True)


def own_machine(tmp_path, binary):
    """The folders that the examples use, empty; the binary where each of them has it."""

    memory = tmp_path / "memory"
    memory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", memory], check=True)
    for path in ("/etc", "/usr/local/bin"):
        lay_over(memory, path)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    shutil.copy(binary, "/usr/local/bin/credential-relay")


def as_on_this_machine(text, aws):
    """An example's text with the test AWS in the place of the accounts, regions and endpoints that it names."""

    for account in ("111122223333", "444455556666"):
        text = text.replace(f"arn:aws:iam::{account}:role/payments", aws.files_role_arn)
    return text.replace("eu-west-1", aws.region)


class Container:
    """One container: its command, environment and the standard streams, as the engine would start it."""

    def __init__(self, folder, name, command, variables, aws, user=None):
        home = folder / name
        home.mkdir()
        self._log = home / "log"
        given = environment(home, CREDENTIAL_RELAY_LOG="trace", AWS_ENDPOINT_URL_STS=aws.endpoint)
        prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        if user:
            os.chown(home, int(user), int(user))
        with open(self._log, "w") as log:
            self.process = spawn([*prefix, *command], {**given, **variables}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self):
        return self._log.read_text()

    def stop(self):
        self.process.terminate()
        return self.process.wait(EXIT_SECONDS)


def healthy(relay, command, variables, aws, folder):
    """Waits as the engine does: the health check's own command, until it says yes."""

    def check():
        assert relay.process.poll() is None, relay.log()
        ran = subprocess.run(command, env={**environment(folder), **variables}, capture_output=True, text=True)
        return ran.returncode == 0

    wait_for(check, lambda: f"the relay is healthy\n{relay.log()[-4000:]}")


def application(folder, variables, aws, name, before=()):
    """A boto3 application with nothing but the example's variables; who it is, by AWS's own word."""

    command, _ = client_commands()["boto3"]
    home = folder / name
    home.mkdir()
    given = {**environment(home), **variables, "AWS_DEFAULT_REGION": aws.region, "AWS_ENDPOINT_URL_STS": aws.endpoint}
    given |= {"CLIENT_KEYS": "1", "AWS_SDK_UA_APP_ID": name}
    ran = subprocess.run([*before, *command], env=given, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    calls = aws.calls_by(name)
    issued = {entry["access_key_id"] for entry in aws.journal("issued", role_arn=aws.files_role_arn)}
    assert calls and {call["access_key_id"] for call in calls} <= issued
    return re.search(r"^done \d+ (\S+)$", ran.stdout, re.MULTILINE).group(1)


def without_image(words):
    """A command of the image, whose binary is elsewhere here."""

    return ["/usr/local/bin/credential-relay", *(words[1:] if words[0] == "/credential-relay" else words)]


def keys_file(aws, path):
    names = {"AccessKeyId": aws.base["access_key_id"], "SecretAccessKey": aws.base["secret_access_key"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"Version": 1, **names}))


@in_a_pod
def test_docker_compose(calm_aws, binary, tmp_path):
    own_machine(tmp_path, binary)
    text = as_on_this_machine((DEPLOY / "compose.yaml").read_text(), calm_aws)
    compose = yaml.safe_load(text.replace(calm_aws.files_role_arn, calm_aws.hub_role_arn + "\n            - role_arn: " + calm_aws.files_role_arn))
    relay, app = compose["services"]["credential-relay"], compose["services"]["app"]
    for given in relay["configs"]:
        path = Path(given["target"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(compose["configs"][given["source"]]["content"])
    for given in relay["secrets"]:
        assert given["source"] in compose["secrets"]
        keys_file(calm_aws, Path(given["target"]))
    volumes(compose, relay, app)
    user = relay["user"].split(":")[0]
    started = Container(tmp_path, "relay", without_image(relay["command"]), {}, calm_aws, user)
    try:
        healthy(started, without_image(relay["healthcheck"]["test"][1:]), {}, calm_aws, tmp_path)
        assert ":assumed-role/files/" in application(tmp_path, app["environment"], calm_aws, "compose")
    finally:
        ended = started.stop()
    assert ended == 0 and leaks([started.log()], calm_aws.secrets()) == []


def volumes(compose, relay, app):
    """Mounts the volumes that both share, with the options that the example gives the engine."""

    for volume in relay["volumes"]:
        name, path = volume.split(":")
        assert f"{name}:{path}:ro" in app["volumes"]
        options = compose["volumes"][name]["driver_opts"]
        Path(path).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", options["type"], options["device"], path, "-o", options["o"]], check=True)


@in_a_pod
def test_an_ecs_task(calm_aws, binary, tmp_path):
    own_machine(tmp_path, binary)
    subprocess.run(["ip", "addr", "add", f"{ECS_AGENT}/32", "dev", "lo"], check=True)
    task = json.loads(as_on_this_machine((DEPLOY / "ecs-task.json").read_text(), calm_aws))
    relay, app = task["containerDefinitions"]
    assert app["dependsOn"] == [{"containerName": relay["name"], "condition": "HEALTHY"}]
    path = Path(relay["mountPoints"][0]["containerPath"])
    assert app["mountPoints"][0]["containerPath"] == str(path)
    # As the image's VOLUME has it made.
    path.mkdir()
    os.chown(path, int(relay["user"]), int(relay["user"]))
    with EcsAgent(calm_aws, calm_aws.hub_role_arn, address=(ECS_AGENT, 80)) as agent:
        # The agent gives every container of the task this variable, and the task's role is the hub.
        by_agent = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": agent.relative_uri}
        variables = {entry["name"]: entry["value"] for entry in relay["environment"]} | by_agent
        started = Container(tmp_path, "relay", without_image(relay["command"]), variables, calm_aws, relay["user"])
        try:
            healthy(started, without_image(relay["healthCheck"]["command"][1:]), variables, calm_aws, tmp_path)
            before, program = app["command"][:-1], app["command"][-1]
            assert program == "/app"
            given = {entry["name"]: entry["value"] for entry in app["environment"]} | by_agent
            assert ":assumed-role/files/" in application(tmp_path, given, calm_aws, "ecs", before)
        finally:
            ended = started.stop()
        assert ended == 0 and leaks([started.log()], [*calm_aws.secrets(), *agent.secrets()]) == []


@in_a_pod
def test_a_plain_host(calm_aws, binary, tmp_path):
    own_machine(tmp_path, binary)
    unit = DEPLOY / "host" / "credential-relay.service"
    settings = [line.split("=", 1) for line in unit.read_text().splitlines() if re.match(r"\w+=", line)]
    settings = {name: value for name, value in settings}
    text = as_on_this_machine((DEPLOY / "host" / "credential-relay.yaml").read_text(), calm_aws)
    hops = f"role_arn: {calm_aws.hub_role_arn}\n      - role_arn: {calm_aws.files_role_arn}"
    config = Path("/etc/credential-relay/config.yaml")
    config.parent.mkdir()
    config.write_text(text.replace(f"role_arn: {calm_aws.files_role_arn}", hops))
    subprocess.run(["useradd", "--system", "--no-create-home", settings["User"]], check=True)
    folder = Path("/run") / settings["RuntimeDirectory"]
    folder.mkdir(int(settings["RuntimeDirectoryMode"], 8))
    shutil.chown(folder, settings["User"], settings["Group"])
    ids = folder.stat()
    keys = {"AWS_ACCESS_KEY_ID": calm_aws.base["access_key_id"]}
    keys["AWS_SECRET_ACCESS_KEY"] = calm_aws.base["secret_access_key"]
    command = shlex.split(settings["ExecStart"])
    started = Container(tmp_path, "relay", command, keys, calm_aws, ids.st_uid)
    try:
        post = shlex.split(settings["ExecStartPost"])
        subprocess.run(post, env=environment(tmp_path), check=True, timeout=60, stdout=subprocess.DEVNULL)
        comment = [line.removeprefix("#   Environment=") for line in unit.read_text().splitlines()]
        given = dict(line.split("=", 1) for line in comment if line.startswith("AWS_"))
        assert ":assumed-role/files/" in application(tmp_path, given, calm_aws, "host")
        # A user who is not of the relay's group cannot read the token.
        token = given["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
        other = subprocess.run(["setpriv", "--reuid=65533", "--clear-groups", "cat", token], capture_output=True)
        assert other.returncode != 0 and b"Permission denied" in other.stderr
    finally:
        ended = started.stop()
    assert ended == 0 and leaks([started.log()], calm_aws.secrets()) == []
