"""The examples below deploy/, run as far as a machine without a container engine can: each container's own command with its own
environment, files and volumes at their own paths, in a network and a mount namespace of their own.
"""

import grp
import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import yaml

from agents import Ecs, World
from harness import EXIT_SECONDS, call_once, environment, leaks, spawn, wait_for
from pods import in_a_pod
from toolchain import client_command

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


def as_on_this_machine(text, aws, role_arn):
    """An example's text with the test AWS's role and region in the place of those that it names."""

    for account in ("111122223333", "444455556666"):
        text = text.replace(f"arn:aws:iam::{account}:role/payments", role_arn)
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


def run_application(folder, variables, aws, name, role_arn, before=()):
    """A boto3 application with nothing but the example's variables must sign as the role, by AWS's own word."""

    command, more = client_command("boto3")
    home = folder / name
    home.mkdir()
    given = {**environment(home), **variables, "AWS_DEFAULT_REGION": aws.region, "AWS_ENDPOINT_URL_STS": aws.endpoint}
    answer = call_once([*before, *command], {**given, **more, "AWS_SDK_UA_APP_ID": name})
    calls = aws.calls_by(name)
    issued = {entry["access_key_id"] for entry in aws.journal("issued", role_arn=role_arn)}
    assert calls and {call["access_key_id"] for call in calls} <= issued
    assert f":assumed-role/{role_arn.rsplit('/', 1)[1]}/" in answer["arn"]


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
    hub = f"{calm_aws.hub_role_arn}\n              - role_arn: "
    text = (DEPLOY / "compose.yaml").read_text()
    compose = yaml.safe_load(as_on_this_machine(text, calm_aws, hub + calm_aws.files_role_arn))
    relay, app = compose["services"]["credential-relay"], compose["services"]["app"]
    assert refused_by_compose(compose) == []
    assert relay["network_mode"] == app["network_mode"] == "service:network" and "network" in compose["services"]
    mount_volumes(calm_aws, compose, relay, app)
    user = relay["user"].split(":")[0]
    # Without a command the image's own.
    command, variables = relay.get("command", ["serve"]), relay["environment"]
    started = Container(tmp_path, "relay", without_image(command), variables, calm_aws, user)
    try:
        healthy(started, without_image(relay["healthcheck"]["test"][1:]), variables, calm_aws, tmp_path)
        run_application(tmp_path, app["environment"], calm_aws, "compose", calm_aws.files_role_arn)
    finally:
        ended = started.stop()
    assert ended == 0 and leaks([started.log()], calm_aws.secrets()) == []


def refused_by_compose(compose):
    """The services that Compose does not create: it copies configs and secrets into a container, which it refuses to do for one
    that is read-only. A file it mounts.
    """

    refused = []
    for name, service in compose["services"].items():
        for kind in ("configs", "secrets"):
            sources = [given if isinstance(given, str) else given["source"] for given in service.get(kind, [])]
            if service.get("read_only") and any("file" not in compose[kind][source] for source in sources):
                refused.append(name)
    return refused


def test_a_config_that_compose_would_copy_into_a_read_only_container_is_found():
    compose = {"services": {"relay": {"read_only": True, "configs": [{"source": "relay"}]}}, "configs": {"relay": {"content": ""}}}
    assert refused_by_compose(compose) == ["relay"]
    compose["configs"]["relay"] = {"file": "./relay.yaml"}
    assert refused_by_compose(compose) == []


def mount_volumes(aws, compose, relay, app):
    """Mounts the volume that both share, with the options that the example gives the engine; lays out the base's folder."""

    for volume in relay["volumes"]:
        name, path, *options = volume.split(":")
        Path(path).mkdir(parents=True, exist_ok=True)
        if options == ["ro"]:
            assert name == "./base"
            keys_file(aws, Path(path) / "base.json")
            continue
        assert f"{name}:{path}:ro" in app["volumes"]
        given = compose["volumes"][name]["driver_opts"]
        subprocess.run(["mount", "-t", given["type"], given["device"], path, "-o", given["o"]], check=True)


def test_an_outage_has_no_engine_replace_what_runs():
    """ECS replaces a task, and Swarm a container, that is unhealthy: readiness, which an outage turns off, is not health."""

    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    task = json.loads((DEPLOY / "ecs-task.json").read_text())
    checks = [service["healthcheck"]["test"] for service in compose["services"].values() if "healthcheck" in service]
    checks += [container["healthCheck"]["command"] for container in task["containerDefinitions"] if "healthCheck" in container]
    assert [check[2:] for check in checks] == [["healthcheck", "--probe", "startup"]] * 2


@in_a_pod
def test_an_ecs_task(calm_aws, binary, tmp_path):
    own_machine(tmp_path, binary)
    subprocess.run(["ip", "addr", "add", f"{ECS_AGENT}/32", "dev", "lo"], check=True)
    world = World(calm_aws)
    task = json.loads(as_on_this_machine((DEPLOY / "ecs-task.json").read_text(), calm_aws, world.target))
    relay, app = task["containerDefinitions"]
    assert app["dependsOn"] == [{"containerName": relay["name"], "condition": "HEALTHY"}]
    path = Path(relay["mountPoints"][0]["containerPath"])
    assert app["mountPoints"][0]["containerPath"] == str(path)
    # As the image's VOLUME has it made.
    path.mkdir()
    os.chown(path, int(relay["user"]), int(relay["user"]))
    with Ecs(world, at=(ECS_AGENT, 80)):
        # The agent gives every container of the task this variable.
        by_agent = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/task"}
        variables = {entry["name"]: entry["value"] for entry in relay["environment"]} | by_agent
        started = Container(tmp_path, "relay", without_image(relay["command"]), variables, calm_aws, relay["user"])
        try:
            healthy(started, without_image(relay["healthCheck"]["command"][1:]), variables, calm_aws, tmp_path)
            before, program = app["command"][:-1], app["command"][-1]
            assert program == "/app"
            given = {entry["name"]: entry["value"] for entry in app["environment"]} | by_agent
            run_application(tmp_path, given, calm_aws, "ecs", world.target, before)
        finally:
            ended = started.stop()
        assert ended == 0 and leaks([started.log()], calm_aws.secrets()) == []


@in_a_pod
def test_a_plain_host(calm_aws, binary, tmp_path):
    own_machine(tmp_path, binary)
    unit = DEPLOY / "host" / "credential-relay.service"
    settings = [line.split("=", 1) for line in unit.read_text().splitlines() if re.match(r"\w+=", line)]
    settings = dict(settings)
    comment = [line.removeprefix("#   Environment=") for line in unit.read_text().splitlines()]
    given = dict(line.split("=", 1) for line in comment if line.startswith("AWS_"))
    token = given["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
    hub = f"{calm_aws.hub_role_arn}\n      - role_arn: "
    text = (DEPLOY / "host" / "credential-relay.yaml").read_text()
    config = Path("/etc/credential-relay/config.yaml")
    config.parent.mkdir()
    config.write_text(as_on_this_machine(text, calm_aws, hub + calm_aws.files_role_arn))
    for name in (settings["User"], "payments"):
        subprocess.run(["useradd", "--system", "--no-create-home", "--user-group", name], check=True)
    folder = Path("/run") / settings["RuntimeDirectory"]
    folder.mkdir(int(settings["RuntimeDirectoryMode"], 8))
    shutil.chown(folder, settings["User"], settings["Group"])
    shutil.copy(DEPLOY / "host" / "credential-relay.tmpfiles.conf", "/etc/tmpfiles.d/credential-relay.conf")
    subprocess.run(["systemd-tmpfiles", "--create", "credential-relay.conf"], check=True)
    assert settings["ReadWritePaths"] == str(Path(token).parent)
    subprocess.run(["systemd-analyze", "verify", unit], check=True)
    ids = folder.stat()
    keys = {"AWS_ACCESS_KEY_ID": calm_aws.base["access_key_id"]}
    keys["AWS_SECRET_ACCESS_KEY"] = calm_aws.base["secret_access_key"]
    command = shlex.split(settings["ExecStart"])
    started = Container(tmp_path, "relay", command, keys, calm_aws, ids.st_uid)
    try:
        post = shlex.split(settings["ExecStartPost"])
        waits = environment(tmp_path, MAINPID=str(started.process.pid))
        subprocess.run(post, env=waits, check=True, timeout=60, stdout=subprocess.DEVNULL)
        member = ["setpriv", f"--reuid={pwd.getpwnam('payments').pw_uid}", f"--regid={grp.getgrnam('payments').gr_gid}"]
        run_application(tmp_path, given, calm_aws, "host", calm_aws.files_role_arn)
        # The service's user can read the token, and one who is not of its group cannot.
        subprocess.run([*member, "--clear-groups", "cat", token], check=True, stdout=subprocess.DEVNULL)
        stranger = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"]
        other = subprocess.run([*stranger, "cat", token], capture_output=True)
        assert other.returncode != 0 and b"Permission denied" in other.stderr
    finally:
        ended = started.stop()
    # Where the relay has ended, the unit does not wait for its start to time out before it is started again.
    assert subprocess.run(post, env=waits, capture_output=True, timeout=60).returncode == 1
    assert ended == 0 and leaks([started.log()], calm_aws.secrets()) == []
