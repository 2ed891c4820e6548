"""The fixtures. RELAY_BIN is the binary under test; a part that is missing fails the run."""

import os
from pathlib import Path

import pytest

import containers
import images
from beginning import begin_run
from harness import SESSION_SECONDS, Relay, TestAws, two_hops
from helm import Helm, others_kinds
from kube_server import Kube


def pytest_configure():
    begin_run("make e2e")


@pytest.fixture(scope="session")
def binary():
    return Path(os.environ["RELAY_BIN"]).resolve()


@pytest.fixture(scope="session")
def aws(tmp_path_factory):
    """A test AWS whose sessions last seconds, so that everything rotates while a test looks."""

    started = TestAws(tmp_path_factory.mktemp("aws"), SESSION_SECONDS)
    yield started
    started.stop()


@pytest.fixture
def calm_aws(tmp_path):
    """A test AWS whose sessions outlast the test: a call to it that a test sees is one that the test caused."""

    folder = tmp_path / "aws"
    folder.mkdir()
    started = TestAws(folder, 3600)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def module_aws(tmp_path_factory):
    """As `calm_aws`, for all tests of a module."""

    started = TestAws(tmp_path_factory.mktemp("module-aws"), 3600)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def kube(tmp_path_factory):
    """A Kubernetes API server with nothing in it but what it makes itself."""

    with Kube(tmp_path_factory.mktemp("kube")) as started:
        yield started


@pytest.fixture(scope="module")
def cluster(kube):
    """The API server, with the kinds of other projects that the chart makes."""

    for definition in others_kinds():
        kube.create(definition)
    for definition in others_kinds():
        kube.serves(definition)
    return kube


@pytest.fixture(scope="module", params=[3, 4], ids=["helm3", "helm4"])
def helm(request, tmp_path_factory):
    """Each Helm, with no cluster."""

    return Helm(tmp_path_factory.mktemp("helm"), request.param)


@pytest.fixture
def start_relay(binary, tmp_path):
    """Starts relays. Each one must end well, and must have said nothing secret, whatever the test was about."""

    started = []

    def start(aws, **more_profiles):
        folder = tmp_path / f"relay-{len(started)}"
        folder.mkdir()
        profiles = {"payments": two_hops(aws, aws.spoke_role_arn, aws.external_id), **more_profiles}
        started.append(Relay(binary, folder, aws, profiles))
        return started[-1]

    yield start
    for relay in started:
        relay.ends_well()
        assert relay.leaks() == []


@pytest.fixture(scope="session")
def relay_files(tmp_path_factory):
    """An image with what the relay's image is made of: a static binary of what is in this checkout, and a CA bundle."""

    containers.sweep()
    return images.files(tmp_path_factory.mktemp("relay-files"))


@pytest.fixture(scope="session")
def relay_image(relay_files, tmp_path_factory):
    """The relay's image, as its Dockerfile makes it."""

    return containers.build("credential-relay", *images.relay(tmp_path_factory.mktemp("relay-image"), relay_files))


@pytest.fixture(scope="session")
def application(tmp_path_factory):
    """The image of clients/pod/app.py, and the folders of the machine that it needs."""

    return images.application(tmp_path_factory.mktemp("application-image"))
