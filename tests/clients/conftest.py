"""The fixtures: two test AWSs and a relay before each. RELAY_BIN is the binary under test."""

import contextlib
import os
import socket
from pathlib import Path

import pytest

import catalogue
import document
from beginning import begin_run
from bench import Bench, chain
from harness import SESSION_SECONDS, Relay, TestAws
from pods import METADATA_SERVICE


def pytest_addoption(parser):
    parser.addoption("--fast", action="store_true", help="only the clients of the fast subset")
    parser.addoption("--part", default="1/1", help="such as 2/3: every third client, from the second on")
    parser.addoption("--rest", action="store_true", help="only the others")


def pytest_configure():
    begin_run("make clients")
    with socket.socket() as tried:
        try:
            tried.bind((METADATA_SERVICE, 0))
        except OSError:
            raise pytest.UsageError(f"{METADATA_SERVICE} is not the loopback's: start this by tests/clients/run") from None


def pytest_generate_tests(metafunc):
    if "client" in metafunc.fixturenames:
        left_out = {fast for option, fast in (("--fast", False), ("--rest", True)) if metafunc.config.getoption(option)}
        chosen = [one for one in catalogue.clients() if one.kind != "absent" and one.fast not in left_out]
        part, parts = map(int, metafunc.config.getoption("--part").split("/"))
        chosen = chosen[part - 1 :: parts]
        cases = [(client, scenario) for client in chosen for scenario in client.scenarios]
        names = [f"{client.id}-{scenario}" for client, scenario in cases]
        metafunc.parametrize("client, scenario", cases, ids=names)


def pytest_sessionfinish():
    # Whatever was chosen to run: the document is of all that is known.
    if document.UPDATE:
        document.write()


class Servers:
    """`quick` ends its sessions after seconds, `calm` after the run."""

    def __init__(self, folder):
        self.binary = Path(os.environ["RELAY_BIN"]).resolve()
        self._reserved = socket.socket()
        self._reserved.bind(("127.0.0.1", 0))  # and nobody listens
        self.dead_port = self._reserved.getsockname()[1]
        self._pairs = contextlib.ExitStack()
        self.quick, self.quick_relay = self._pairs.enter_context(self.pair(folder / "quick", SESSION_SECONDS))
        self.calm, self.calm_relay = self._pairs.enter_context(self.pair(folder / "calm", 36000))
        self.lasting_key = self._lasting_key()

    @contextlib.contextmanager
    def pair(self, folder, session_seconds):
        """A test AWS and a relay before it. That must end well, and must have said nothing secret."""

        relay_folder = folder / "relay"
        relay_folder.mkdir(parents=True)
        aws = TestAws(folder, session_seconds)
        try:
            relay = Relay(self.binary, relay_folder, aws, {"app": chain(aws)})
            try:
                yield aws, relay.ready()
            finally:
                code = relay.stop()[0]
            assert code == 0, relay.log()[-4000:]
            assert relay.leaks() == []
        finally:
            aws.stop()

    def _lasting_key(self):
        """A session of the files role that outlasts the run, for the scripted endpoint."""

        def assume(role_arn, *key):
            answer = self.calm.client("sts", *key).assume_role(RoleArn=role_arn, RoleSessionName="lasting")
            return answer["Credentials"]

        hub = assume(self.calm.hub_role_arn, *self.calm.base.values())
        keys = (hub["AccessKeyId"], hub["SecretAccessKey"], hub["SessionToken"])
        return assume(self.calm.files_role_arn, *keys)

    def stop(self):
        self._pairs.close()
        self._reserved.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    started = Servers(tmp_path_factory.mktemp("servers"))
    yield started
    started.stop()


@pytest.fixture
def bench(client, servers, tmp_path):
    return Bench(client, servers, tmp_path)
