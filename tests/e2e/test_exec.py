"""`exec`: a program that knows nothing of the relay, beside one of its own."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios

import pytest
import toolchain
from harness import environment, leaks, spawn, two_hops, wait_for

# What would give the program other credentials than the relay's.
BYPASS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "a-session-token-of-nobody",
    "AWS_PROFILE": "bypass",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such/token",
    "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/bypass",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/bypass",
    "AWS_EC2_METADATA_DISABLED": "false",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "",
    "no_proxy": "",
}


class Exec:
    """A program that runs under `exec`, with the profile `payments`."""

    def __init__(self, binary, folder, aws, command, chain=None, under=(), terminal=False, stdin=subprocess.DEVNULL, **variables):
        base = folder / "base.json"
        keys = {"AccessKeyId": aws.base["access_key_id"], "SecretAccessKey": aws.base["secret_access_key"]}
        base.write_text(json.dumps({"Version": 1, **keys}))
        chain = chain or two_hops(aws, aws.spoke_role_arn, aws.external_id)
        config = folder / "relay.yaml"
        config.write_text(
            json.dumps(
                {
                    "sts": {"region": aws.region, "endpoint": aws.endpoint},
                    "profiles": {"payments": {"source": {"file": {"path": str(base)}}, "chain": chain}},
                }
            )
        )
        self.home, self.temporary = folder / "home", folder / "tmp"
        (self.home / ".aws").mkdir(parents=True)
        self.temporary.mkdir()
        self._aws = aws
        self.process = None
        self._out, self._err = folder / "out", folder / "err"
        given = environment(self.home, **{"TMPDIR": str(self.temporary), **variables})
        self.command = [*map(str, under), str(binary), "exec", "--config", str(config), "payments", "--", *command]
        self.variables = given
        if terminal:
            return
        with open(self._out, "w") as out, open(self._err, "w") as err:
            self.process = spawn(
                self.command,
                given,
                stdin=stdin,
                stdout=out,
                stderr=err,
            )

    def out(self):
        return self._out.read_text()

    def err(self):
        return self._err.read_text()

    def says(self, line):
        wait_for(lambda: line in self.out().splitlines(), lambda: f"{line}\n{self.err()}")

    def ended(self, seconds=60):
        """Its exit code, once it has left nothing behind."""

        try:
            self.process.wait(seconds)
        finally:
            self.process.kill()
        assert list(self.temporary.iterdir()) == []
        assert leaks([self.err()], self._aws.secrets()) == []
        return self.process.returncode


@pytest.fixture
def execute(binary, tmp_path):
    started = []

    def start(aws, command, **more):
        folder = tmp_path / f"exec-{len(started)}"
        folder.mkdir()
        started.append(Exec(binary, folder, aws, command, **more))
        return started[-1]

    yield start
    for program in started:
        if program.process:
            program.process.kill()
            program.process.wait()


def python(script):
    return [sys.executable, "-c", script]


def test_boto3_signs_through_two_rotations_with_nothing_but_exec(aws, execute):
    command, more = toolchain.client_command("boto3")
    client = {"AWS_ENDPOINT_URL_STS": aws.endpoint, "AWS_SDK_UA_APP_ID": "e2e-exec", "CREDENTIAL_RELAY_LOG": "trace"}
    program = execute(aws, command, stdin=subprocess.PIPE, **{**BYPASS, **more, **client})
    asked = 0

    def rotated():
        nonlocal asked
        answers = [json.loads(line) for line in program.out().splitlines()]
        if len(answers) == asked:
            asked += 1
            program.process.stdin.write("call\n")
            program.process.stdin.flush()
        return len({answer["key"] for answer in answers if answer["ok"]}) >= 3

    wait_for(rotated, lambda: f"three keys\n{program.out()}{program.err()}")
    program.process.stdin.close()
    assert program.ended(100) == 0, program.out() + program.err()
    spoke_keys = {entry["access_key_id"] for entry in aws.journal("issued", role_arn=aws.spoke_role_arn)}
    calls = aws.calls_by("e2e-exec")
    used = {call["access_key_id"] for call in calls}
    assert len(used) >= 3
    assert used <= spoke_keys
    assert [call for call in calls if call["status"] != 200] == []
    assert f"arn:aws:sts::{aws.spoke_account}:assumed-role/spoke/" in program.out()


def test_keys_in_the_home_folder_are_not_found(module_aws, execute, tmp_path):
    script = (
        "import boto3, pathlib; home = pathlib.Path.home() / '.aws';"
        "home.joinpath('credentials').write_text('[default]\\naws_access_key_id=AKIAIOSFODNN7EXAMPLE\\naws_secret_access_key=x\\n');"
        "home.joinpath('config').write_text('[default]\\nregion=eu-north-1\\ncredential_process=false\\n');"
        "session = boto3.session.Session();"
        "print(session.region_name, session.get_credentials().method)"
    )
    program = execute(module_aws, python(script))
    assert program.ended() == 0, program.err()
    assert program.out() == f"{module_aws.region} container-role\n"


@pytest.mark.parametrize(
    "script, code",
    [
        ("pass", 0),
        ("import sys; sys.exit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
    ],
)
def test_the_exit_code_is_the_programs(module_aws, execute, script, code):
    # An hour, as the test AWS grants: nothing is there to be warned of.
    hop = {"role_arn": module_aws.hub_role_arn, "session_name": "an-hour"}
    program = execute(module_aws, python(script), chain=[hop])
    assert program.ended() == code
    assert program.err() == ""


def test_signals_reach_the_program(module_aws, execute):
    script = """
import signal, sys, time
def heard(number, _):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(9)
for name in ("SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGTERM"):
    signal.signal(getattr(signal, name), heard)
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""
    # Whoever runs the tests may have them ignored.
    names = ("SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGTERM")
    heed = f"import os, signal, sys; [signal.signal(getattr(signal, name), signal.SIG_DFL) for name in {names}];"
    program = execute(module_aws, python(script), under=python(heed + "os.execv(sys.argv[1], sys.argv[1:])"))
    program.says("ready")
    for name in names:
        program.process.send_signal(getattr(signal, name))
        program.says(name)
    assert program.ended() == 9
    assert program.out().split() == ["ready", *names]


def test_what_nohup_has_it_ignore_the_program_ignores(module_aws, execute):
    script = "import signal; print(int(signal.getsignal(signal.SIGHUP)), int(signal.getsignal(signal.SIGTERM)))"
    nohup = ["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh"]
    program = execute(module_aws, python(script), under=nohup)
    assert program.ended() == 0
    assert program.out().split() == ["1", "0"], "SIG_IGN and SIG_DFL"


def test_the_program_of_a_failing_profile_never_starts(module_aws, execute):
    chain = two_hops(module_aws, module_aws.locked_role_arn, "not-the-external-id")
    program = execute(module_aws, python("print('started')"), chain=chain)
    assert program.ended() == 1
    assert program.out() == ""
    assert "hop 2 (" in program.err() and "sts:AssumeRole" in program.err()


def test_a_program_that_is_not_there(module_aws, execute):
    for command, code in ([["no-such-program"], 127], [["/etc/passwd"], 126]):
        program = execute(module_aws, command)
        assert program.ended() == code
        assert f"{command[0]} cannot be executed" in program.err()


def test_the_access_token_is_the_users_alone(module_aws, execute):
    script = (
        "import os; file = os.environ['AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE'];"
        "print(oct(os.stat(file).st_mode & 0o777), oct(os.stat(os.path.dirname(file)).st_mode & 0o777));"
        "print(open(file).read() == os.environ['AWS_CONTAINER_AUTHORIZATION_TOKEN'])"
    )
    program = execute(module_aws, python(script))
    assert program.ended() == 0, program.err()
    assert program.out() == "0o600 0o700\nTrue\n"
    assert os.path.isdir(program.temporary)


class Session:
    """A terminal, and what leads its session: the relay itself, or a shell that starts it."""

    def __init__(self, program, shell=None):
        self.text, self._ended = "", None
        # What is typed reaches the shell too, where the relay is in its group.
        command = ["/bin/sh", "-c", f"trap : INT QUIT; {shell}", "sh", *program.command] if shell else program.command
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            for name in ("SIGINT", "SIGHUP", "SIGQUIT", "SIGTSTP"):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
            os.execve(command[0], command, program.variables)
        # Lines are the programs' own.
        settings = termios.tcgetattr(self._terminal)
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(self._terminal, termios.TCSANOW, settings)

    def read(self):
        while select.select([self._terminal], [], [], 0)[0]:
            try:
                chunk = os.read(self._terminal, 4096)
            except OSError:
                break
            self.text += chunk.decode()
            if not chunk:
                break
        return self.text

    def says(self, line, times=1):
        wait_for(lambda: self.read().splitlines().count(line) >= times, lambda: f"{line}\n{self.text}")

    def types(self, keys):
        os.write(self._terminal, keys)

    def relay(self):
        """The program's parent, as the program said."""

        return int(re.search(r"^relay (\d+)", self.text, re.MULTILINE)[1])

    def has_ended(self):
        self.read()
        if self._ended is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._ended = os.waitstatus_to_exitcode(status) if pid else None
        return self._ended is not None

    def code(self):
        wait_for(self.has_ended, lambda: f"it ends\n{self.text}")
        return self._ended

    def end(self):
        if not self.has_ended():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._terminal)


@pytest.fixture
def on_terminal(execute):
    sessions = []

    def start(aws, command, shell=None):
        sessions.append(Session(execute(aws, command, terminal=True), shell))
        return sessions[-1]

    yield start
    for session in sessions:
        session.end()


COUNTS = """
import os, signal, sys, time
heard = {}
def count(number, _):
    heard[number] = heard.get(number, 0) + 1
    print(signal.Signals(number).name, heard[number], flush=True)
def tell(number, _):
    print(signal.Signals(number).name, flush=True)
def done(*_):
    print("in all", sum(heard.values()), flush=True)
    sys.exit(5)
signal.signal(signal.SIGINT, count)
signal.signal(signal.SIGQUIT, count)
signal.signal(signal.SIGUSR1, done)
signal.signal(signal.SIGUSR2, tell)
signal.signal(signal.SIGCONT, tell)
print("relay", os.getppid(), flush=True)
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""

# What is started below: the relay as the session's leader (a container's), in a shell's group
# (a script's), and with the terminal on other streams than standard input.
WAYS = {
    "leader": None,
    "script": '"$@"; exit $?',
    "without standard input": '"$@" < /dev/null; exit $?',
    "before a pipe": '{ "$@"; echo "code $?"; } | cat; exit 5',
    "after a pipe": 'true | "$@"; exit $?',
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_typed_or_sent_arrives_once(module_aws, on_terminal, way):
    session = on_terminal(module_aws, python(COUNTS), WAYS[way])
    session.says("ready")
    # What is typed would end `cat`.
    if way != "before a pipe":
        session.types(b"\x03")
        session.says("SIGINT 1")
        session.types(b"\x1c")
        session.says("SIGQUIT 1")
    else:
        os.kill(session.relay(), signal.SIGQUIT)
        session.says("SIGQUIT 1")
        os.kill(session.relay(), signal.SIGINT)
        session.says("SIGINT 1")
    os.kill(session.relay(), signal.SIGINT)
    session.says("SIGINT 2")
    # What comes a second time is on its way by now, and is there before this is.
    os.kill(session.relay(), signal.SIGUSR2)
    session.says("SIGUSR2")
    os.kill(session.relay(), signal.SIGUSR1)
    assert session.code() == 5
    assert "in all 3" in session.text.splitlines()


@pytest.mark.parametrize("way", ["leader", "script", "without standard input", "before a pipe"])
def test_an_interactive_program_has_the_terminal(module_aws, on_terminal, way):
    script = """
import sys
terminal = open("/dev/tty")
print("ready", flush=True)
print("got", terminal.readline().strip(), flush=True)
sys.exit(5)
"""
    session = on_terminal(module_aws, python(script), WAYS[way])
    session.says("ready")
    session.types(b"a line\n")
    session.says("got a line")
    assert session.code() == 5


def test_a_script_has_the_terminal_again_afterwards(module_aws, on_terminal):
    session = on_terminal(module_aws, python("print('ready')"), '"$@"; read line; echo "got $line"; exit 6')
    session.says("ready")
    session.types(b"a line\n")
    session.says("got a line")
    assert session.code() == 6


def test_a_stop_typed_stops_the_relay_too_and_both_go_on(module_aws, on_terminal):
    shell = 'set -m; "$@"; echo "stopped $?"; fg; echo "ended $?"; exit 7'
    session = on_terminal(module_aws, python(COUNTS), shell)
    session.says("ready")
    session.types(b"\x1a")
    session.says(f"stopped {128 + signal.SIGTSTP}")
    # Before that what is typed is the shell's.
    session.says("SIGCONT")
    session.types(b"\x03")
    session.says("SIGINT 1")
    os.kill(session.relay(), signal.SIGUSR1)
    session.says("ended 5")
    assert session.code() == 7


def test_a_stop_typed_where_the_relay_cannot_stop_does_no_harm(module_aws, on_terminal):
    session = on_terminal(module_aws, python(COUNTS))
    session.says("ready")
    session.types(b"\x1a")
    session.types(b"\x03")
    session.says("SIGINT 1")
    os.kill(session.relay(), signal.SIGUSR1)
    assert session.code() == 5
