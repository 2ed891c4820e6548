"""docs/incidents.md: its commands, at a real Vault, the test AWS and relays that serve what has leaked.

There is no cluster here: `kubectl` stands for the one pod, whose relay it runs commands at. Of AWS's commands those that
change something are carried out, and of each the words are looked up in what AWS's own CLI is made from.
"""

import json
import re
import shlex
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from harness import Relay, wait_for
from moto_server import role, trust
from vault_cli import Cli
from vault_world import VaultWorld, served

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "incidents.md").read_text()
# Code is indented by four columns more than what it stands in.
BLOCKS = [
    re.sub(r"^ +", "", block, flags=re.MULTILINE)
    for block in re.findall(r"(?:^(?: {4}| {7})\S.*\n(?: {8,}\S.*\n)*)+", PAGE, re.MULTILINE)
]
KUBECTL = """#!/bin/sh
[ "$1" != get ] || {{ echo shop payments-1; exit; }}
while [ "$1" != -- ]; do shift; done
shift 2
exec '{relay}' "$@" --config '{config}'
"""


def block(words):
    (found,) = [block for block in BLOCKS if words in block]
    return found


def rotate_every_pod(relay, folder):
    """Step 3, as it stands."""

    programs = folder / "programs"
    programs.mkdir()
    kubectl = programs / "kubectl"
    kubectl.write_text(KUBECTL.format(relay=relay.binary, config=relay.config))
    kubectl.chmod(0o755)
    given = {**relay.environment, "PATH": f"{programs}:{relay.environment['PATH']}"}
    ran = subprocess.run(["bash", "-ec", block("rotate payments </dev/null")], env=given, capture_output=True, text=True)
    relay.heard += [ran.stdout, ran.stderr]
    assert ran.returncode == 0, ran.stdout + ran.stderr


def caller(aws, document):
    client = aws.client("sts", document["AccessKeyId"], document["SecretAccessKey"], document.get("Token"))
    return client.get_caller_identity()["Arn"]


def test_keys_of_a_user_are_gone_and_others_are_served(binary, module_aws, tmp_path):
    world = VaultWorld(tmp_path, module_aws)
    world.make_role("payments", "iam_user")
    source = world.source("iam_user", world.auth("kubernetes"), "payments")
    relay = world.relay(binary, tmp_path / "relay", {"payments": {"source": source, "serve_long_lived_keys": True}})
    try:
        leaked = served(relay.ready(), "payments")
        cli = Cli(world.vault)
        listed, revoked = block("vault lease revoke").splitlines()
        assert len(json.loads(cli.run(shlex.split(listed)))["data"]["keys"]) == 1
        cli.run(shlex.split(revoked, comments=True))
        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            wait_for(lambda: not caller(module_aws, leaked), "it is gone")
        rotate_every_pod(relay, tmp_path)
        other = served(relay, "payments")
        assert other["AccessKeyId"] != leaked["AccessKeyId"]
        assert "/vault-" in caller(module_aws, other)
    finally:
        ended = relay.stop()[0]
        world.stop()
    assert ended == 0
    assert relay.leaks() == []


def test_a_roles_sessions_are_denied_what_the_page_says(binary, module_aws, tmp_path):
    aws = module_aws
    iam = aws.client("iam", **aws.operator)
    arn = role(iam, "payments", trust("*"), Action="sts:*", Resource="*")
    relay = Relay(binary, tmp_path, aws, {"payments": [{"role_arn": aws.hub_role_arn}, {"role_arn": arn}]})
    try:
        leaked = served(relay.ready(), "payments")
        text = block("put-role-policy")
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        (document,) = re.findall(r"--policy-document '(.*)'$", text.replace("'$now'", now), re.MULTILINE | re.DOTALL)
        iam.put_role_policy(RoleName="payments", PolicyName="RevokeOlderSessions", PolicyDocument=document)
        (statement,) = json.loads(document)["Statement"]
        assert statement["Condition"] == {"DateLessThan": {"aws:TokenIssueTime": now}}
        client = aws.client("iam", leaked["AccessKeyId"], leaked["SecretAccessKey"], leaked["Token"])
        with pytest.raises(ClientError, match="AccessDenied"):
            client.list_users()
        rotate_every_pod(relay, tmp_path)
        assert served(relay, "payments")["AccessKeyId"] != leaked["AccessKeyId"]
        for arguments in sorted(set(re.findall(r"(?:^|`)relay ((?:status|check|rotate)[ \w-]*)", "\n".join([PAGE, *BLOCKS]), re.MULTILINE))):
            words = arguments.split()
            relay.said(*words, *["payments"] * (words == ["rotate"]), exit_code=0)
    finally:
        ended = relay.stop()[0]
    assert ended == 0
    assert relay.leaks() == []


def test_aws_knows_each_of_its_commands():
    session = botocore.session.Session()
    commands = re.findall(r"(?:^|`|; )(aws (?:iam|cloudtrail) [^`#\n]+)", "\n".join(BLOCKS) + PAGE, re.MULTILINE)
    assert len(commands) >= 6, commands
    for command in commands:
        _, service, name, *_ = command.split()
        model = session.get_service_model(service)
        operations = {xform_name(known, "-"): known for known in model.operation_names}
        assert name in operations, command
        members = model.operation_model(operations[name]).input_shape.members
        options = {xform_name(member, "-") for member in members} | {"query"}
        assert set(re.findall(r"--([a-z-]+)", command)) <= options, command
