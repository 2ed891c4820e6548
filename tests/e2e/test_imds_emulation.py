"""Programs that know the instance metadata service alone, against the relay in its place.

They run in a network of their own, where the relay has the service's real address: no program is told where it is.
"""

import contextlib
import subprocess

from harness import EXIT_SECONDS, Relay, call_once, environment, http_get, spawn, wait_for
from pods import METADATA_SERVICE, in_a_pod
from toolchain import client_command


@contextlib.contextmanager
def pod(aws, binary, folder, **settings):
    """A relay in the place of the metadata service, for a role that may use one bucket."""

    folder.mkdir()
    chain = [{"role_arn": aws.hub_role_arn}, {"role_arn": aws.files_role_arn}]
    emulation = {"imds_emulation": {"listen": f"{METADATA_SERVICE}:80", **settings}}
    relay = Relay(binary, folder, aws, {"files": chain}, settings=emulation)
    try:
        yield relay.ready()
    finally:
        ended = relay.stop()[0]
    assert ended == 0
    assert relay.leaks() == []


def only_imds(relay, home, **more):
    """An application's environment without a word of where credentials are."""

    home.mkdir()
    region = {"AWS_REGION": relay.aws.region, "AWS_DEFAULT_REGION": relay.aws.region}
    bypass = {"NO_PROXY": f"{METADATA_SERVICE},127.0.0.1", "no_proxy": f"{METADATA_SERVICE},127.0.0.1"}
    return environment(home, AWS_ENDPOINT_URL_STS=relay.aws.endpoint, **region, **bypass, **more)


def files_keys(aws):
    return {entry["access_key_id"] for entry in aws.journal("issued", role_arn=aws.files_role_arn)}


@in_a_pod
def test_sdks_that_find_nothing_else_sign_with_what_is_there(calm_aws, binary, tmp_path):
    with pod(calm_aws, binary, tmp_path / "relay") as relay:
        for turn in ("first", "rotated"):
            for name in ("boto3", "go"):
                command, more = client_command(name)
                application = f"imds-{turn}-{name}"
                call_once(command, only_imds(relay, tmp_path / application, AWS_SDK_UA_APP_ID=application, **more))
                calls = calm_aws.calls_by(application)
                issued = calm_aws.journal("issued", role_arn=calm_aws.files_role_arn)
                assert {call["access_key_id"] for call in calls} == {issued[-1]["access_key_id"]}
                assert {call["status"] for call in calls} == {200}
            relay.said("rotate", "files", exit_code=0)


def files_keys(aws):
    return {entry["access_key_id"] for entry in aws.journal("issued", role_arn=aws.files_role_arn)}


def use_s3fs(aws, relay, folder, role):
    """Mounts the bucket, and writes and reads until s3fs has signed with three keys."""

    mount, log = folder / "mount", folder / "s3fs.log"
    folder.mkdir()
    mount.mkdir()
    options = f"iam_role={role},url={aws.endpoint},endpoint={aws.region},use_path_request_style"
    options += f",max_stat_cache_size=0,use_cache={folder}/cache,del_cache"
    with open(log, "w") as said:
        command = ["s3fs", aws.bucket, mount, "-f", "-o", options, "-o", "dbglevel=warn"]
        s3fs = spawn(command, only_imds(relay, folder / "home"), stdout=said, stderr=said)

    def mounted():
        assert s3fs.poll() is None, f"s3fs ended with {s3fs.returncode}\n{log.read_text()}"
        with contextlib.suppress(ConnectionAbortedError):
            return mount.is_mount()

    signed = set()

    def rotated():
        (mount / "note").write_text("through the relay")
        assert (mount / "note").read_text() == "through the relay"
        mine = [entry for entry in aws.journal("request") if "s3fs" in entry["user_agent"]]
        signed.update({entry["access_key_id"] for entry in mine} & files_keys(aws))
        return len(signed) >= 3

    try:
        wait_for(mounted, lambda: f"s3fs has mounted\n{log.read_text()}")
        wait_for(rotated, lambda: f"s3fs signs with three keys, not {signed}\n{log.read_text()}")
    finally:
        subprocess.run(["umount", "--lazy", mount], check=False)
        s3fs.terminate()
        s3fs.wait(EXIT_SECONDS)


@in_a_pod
def test_s3fs_works_through_rotations(aws, binary, tmp_path):
    with pod(aws, binary, tmp_path / "relay") as relay:
        use_s3fs(aws, relay, tmp_path / "s3fs", "files")


@in_a_pod
def test_s3fs_finds_its_role_by_the_first_version_alone(aws, binary, tmp_path):
    with pod(aws, binary, tmp_path / "relay", v1=True) as relay:
        use_s3fs(aws, relay, tmp_path / "s3fs", "auto")


@in_a_pod
def test_a_program_that_does_not_speak_v2_is_told_how(calm_aws, binary, tmp_path):
    with pod(calm_aws, binary, tmp_path / "relay") as relay:
        url = f"http://{METADATA_SERVICE}/latest/meta-data/iam/security-credentials/"
        status, _, body = http_get(url)
        assert status == 401 and "PUT /latest/api/token" in body and "imds_emulation.v1" in body
        relay.heard.append(body)
        forwarded = {"X-Forwarded-For": "10.0.0.9", "X-aws-ec2-metadata-token-ttl-seconds": "60"}
        assert http_get(f"http://{METADATA_SERVICE}/latest/api/token", "PUT", **forwarded)[0] == 403
