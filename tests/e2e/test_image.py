"""The relay's image: what is in it, what it says of itself, and that it runs where nothing is allowed."""

import json
import os
import re
import subprocess

import pytest

import containers
import images
from harness import wait_for

# Of bytes.
IMAGE_LIMIT = 9_000_000
# As the strictest platforms run it: no capability, no way to one, nothing that can be written to, a user that nobody knows.
NOTHING_ALLOWED = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt", "no-new-privileges"]
RANDOM_USER = "1000650000"


@pytest.fixture(scope="module")
def files(relay_image, tmp_path_factory):
    """What the image has, laid out in a folder."""

    folder = tmp_path_factory.mktemp("image")
    container = containers.run("create", relay_image).stdout.strip()
    try:
        containers.run("export", "--output", folder / "image.tar", container)
    finally:
        containers.run("rm", container)
    (folder / "root").mkdir()
    subprocess.run(["tar", "-xf", folder / "image.tar", "-C", folder / "root"], check=True)
    return folder / "root"


def ran(image, *words, options=()):
    """The output of a container that must end well."""

    words = ["--rm", "--network", "none", "--no-healthcheck", *NOTHING_ALLOWED, "--user", RANDOM_USER, *options, image, *words]
    process = containers.start(words, subprocess.PIPE)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output.decode()


def test_what_it_says_of_itself(relay_image):
    described = containers.inspect(relay_image)
    assert described["User"] == "65532:65532"
    assert described["Config"]["Entrypoint"] == ["/credential-relay"]
    assert described["Config"]["Cmd"] == ["serve"]
    assert described["Healthcheck"]["Test"] == ["CMD", "/credential-relay", "healthcheck", "--probe", "startup"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in described["Labels"].items()}
    assert {name: labels[name.lower()] for name in images.LABELS} == images.LABELS
    assert labels["title"] == "credential-relay"
    assert labels["licenses"] == package()["license"]
    assert described["Architecture"] == images.ARCHITECTURE


def package():
    """What Cargo.toml says of the package, as far as it is text."""

    section = re.search(r"^\[package\]\n(.*?)\n\n", (images.ROOT / "Cargo.toml").read_text(), re.DOTALL | re.MULTILINE)[1]
    return dict(re.findall(r'^(\S+) = "(.*)"$', section, re.MULTILINE))


def test_there_is_one_program_in_it_and_it_needs_nothing(files):
    binary = files / "credential-relay"
    has = {str(path.relative_to(files)) for path in files.rglob("*") if path.is_file() and path.stat().st_size > 0}
    assert has == {"credential-relay", "etc/ssl/certs/ca-certificates.crt"}
    needs_nothing(binary)
    assert (files / "run" / "credential-relay").stat().st_uid == 65532
    assert b"BEGIN CERTIFICATE" in (files / "etc/ssl/certs/ca-certificates.crt").read_bytes()


def needs_nothing(binary):
    """Asserts that nothing is linked to it at run time. Returns what its header says."""

    read = ["readelf", "--wide", "--file-header", "--program-headers", "--dynamic", binary]
    headers = subprocess.run(read, capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in headers and "NEEDED" not in headers
    # Where its code is in memory is not the same for every process.
    assert re.search(r"Type: +DYN", headers)
    # Who built it where is nobody's business, and would make each build another.
    text = binary.read_bytes()
    assert not [path for path in (f"{images.ROOT}/", "/.cargo/", "/.cache/", "/.rustup/") if path.encode() in text]
    return headers


def test_it_is_small(relay_image, files):
    binary = (files / "credential-relay").stat().st_size
    image = containers.inspect(relay_image)["Size"]
    print(f"binary {binary} bytes, image {image} bytes")
    assert image <= IMAGE_LIMIT


def test_it_runs_where_nothing_is_allowed(relay_image):
    assert ran(relay_image, "--version").split() == ["credential-relay", package()["version"]]
    # Its development mode stays out.
    assert not re.search(r"^ +dev\b", ran(relay_image, "--help"), re.MULTILINE)


def test_its_health_check_runs(relay_image, tmp_path):
    config = tmp_path / "config.yaml"
    keys = {"Version": 1, "AccessKeyId": "ASIAEXAMPLEOFATEST00", "SecretAccessKey": "of-a-test", "SessionToken": "of-a-test"}
    keys["Expiration"] = "2099-01-01T00:00:00Z"
    base = tmp_path / "base.json"
    base.write_text(json.dumps(keys))
    profiles = {"payments": {"source": {"file": {"path": "/base.json"}}}}
    config.write_text(json.dumps({"profiles": profiles}))
    options = [*NOTHING_ALLOWED, "--network", "none", "--user", "65532:65532", "--env", "CREDENTIAL_RELAY_CONFIG=/config.yaml"]
    for path in (config, base):
        options += ["--volume", f"{path}:/{path.name}:ro"]
    name = f"health-{os.getpid()}"
    with open(tmp_path / "log", "w") as log:
        process = containers.start(["--name", name, *options, relay_image], log)
    try:
        healthy = lambda: containers.run("healthcheck", "run", name, check=False).returncode == 0
        wait_for(healthy, lambda: f"the container is healthy: {(tmp_path / 'log').read_text()}")
        process.terminate()
        assert process.wait(20) == 0, (tmp_path / "log").read_text()
    finally:
        containers.run("rm", "--force", "--time", 0, name)
        process.wait()


def test_a_second_build_is_the_same_image(relay_image, relay_files, tmp_path):
    context, *options = images.relay(tmp_path, relay_files)
    again = f"localhost/again-{os.getpid()}"
    containers.build_anew(again, context, *options, "--no-cache")
    try:
        # The history, and so the id, has the engine's own names of what was between.
        for part in ("RootFS", "Config", "Labels", "Size"):
            assert containers.inspect(again)[part] == containers.inspect(relay_image)[part]
    finally:
        containers.run("rmi", again)
