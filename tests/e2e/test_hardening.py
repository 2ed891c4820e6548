"""What the process gives up by itself: dumps, debuggers, files beyond its folders, and system calls.

The machine that runs this has Landlock and seccomp; where one is missing is played by a filter around the relay.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from agents import relay_at, served
from harness import EXIT_SECONDS, environment, spawn, wait_for
from identities import Authority
from injectors import one_of_the_cases

USER = 65532  # as in the image

# Landlock's first call has one number everywhere; seccomp's is the machine's.
LANDLOCK, SECCOMP = 444, {"x86_64": 317, "aarch64": 277}[os.uname().machine]
ENOSYS, EINVAL = 38, 22
IPC_LOCK = 14  # the number of CAP_IPC_LOCK

# A filter for system calls that answers these with an error, and then the relay.
WITHOUT = """#!{python}
import ctypes, os, struct, sys
def step(code, yes, no, value):
    return struct.pack("HBBI", code, yes, no, value)
steps = [step(0x20, 0, 0, 0)]  # load the call's number
for call, error in {calls}:
    steps += [step(0x15, 0, 1, call), step(0x06, 0, 0, 0x00050000 | error)]
steps.append(step(0x06, 0, 0, 0x7FFF0000))  # all others pass
code = ctypes.create_string_buffer(b"".join(steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0, ctypes.get_errno()
os.execv({binary!r}, [{binary!r}, *sys.argv[1:]])
"""

# Another process of the relay's user: what it gets of the relay, each as an error's number or 0.
NEIGHBOUR = """
import ctypes, json, struct, sys
pid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
def opened(name):
    try:
        open(f"/proc/{pid}/{name}", "rb").read(1)
        return 0
    except OSError as error:
        return error.errno
def attached():
    return ctypes.get_errno() if libc.ptrace(16, pid, None, None) else 0
def copied():
    to = ctypes.create_string_buffer(1)
    local = struct.pack("PN", ctypes.addressof(to), 1)
    remote = struct.pack("PN", 0x400000, 1)
    done = libc.process_vm_readv(pid, local, 1, remote, 1, 0)
    return ctypes.get_errno() if done < 0 else 0
files = {name: opened(name) for name in ("environ", "mem", "maps")}
print(json.dumps({**files, "attach": attached(), "copy": copied()}))
"""


def keys(number):
    secret = f"secret-of-the-test-number-{number:03}"
    return {"Version": 1, "AccessKeyId": f"AKIAIOSFODNN7EXAM{number:03}", "SecretAccessKey": secret}


class Volume:
    """A folder as the kubelet makes it: files are links through `..data`, which is swapped for the next."""

    def __init__(self, folder):
        self.folder, self.number = folder, 0
        folder.mkdir()
        self.file, self.deep = folder / "keys.json", folder / "aws/keys.json"
        self.file.symlink_to("..data/keys.json")
        (folder / "aws").symlink_to("..data/aws")
        self.next()

    def next(self):
        self.number += 1
        data = self.folder / f"..{self.number}"
        (data / "aws").mkdir(parents=True)
        for file in (data / "keys.json", data / "aws/keys.json"):
            file.write_text(json.dumps(keys(self.number)))
        link = self.folder / "..new"
        link.symlink_to(data.name)
        link.rename(self.folder / "..data")
        if self.number > 1:
            shutil.rmtree(self.folder / f"..{self.number - 1}")
        return keys(self.number)["AccessKeyId"]

    def lead_to(self, target):
        link = self.folder / "..link"
        link.symlink_to(target)
        link.rename(self.file)


def of_file(path, **more):
    return {"source": {"file": {"path": str(path)}}, "serve_long_lived_keys": True, **more}


def threads(pid):
    """What each thread's status says."""

    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        # Those that read files come and go.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = (thread / "status").read_text().splitlines()
            found.append(dict(line.split(":\t", 1) for line in lines if ":\t" in line))
    return found


def hardened(log):
    """The line that says what is on, and all warnings."""

    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return next(line for line in lines if line.get("message") == "hardened"), [
        line["message"] for line in lines if line["level"] == "WARN"
    ]


def rotated(relay, profile):
    asked = relay.command("rotate", profile)
    said = "".join(asked.communicate(timeout=60))
    relay.heard.append(said)
    return asked.returncode == 0, said


def key_of(relay, profile):
    return json.loads(relay.ask_for(profile)[2])["AccessKeyId"]


def test_a_volume_may_be_swapped_and_a_link_that_leads_out_is_denied(binary, module_aws, tmp_path):
    volume = Volume(tmp_path / "volume")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keys.json").write_text(json.dumps(keys(900)))
    profiles = {"pod": of_file(volume.file), "deep": of_file(volume.deep)}
    with relay_at(binary, tmp_path / "relay", module_aws, profiles) as relay:
        said, warnings = hardened(relay.ready().log())
        assert "confined by Landlock" in said["files"] and said["calls"] == "filtered", said
        assert not [warning for warning in warnings if "sandbox" in warning]
        assert key_of(relay, "pod") == keys(1)["AccessKeyId"]
        second = volume.next()
        for profile in profiles:
            assert rotated(relay, profile)[0]
            assert key_of(relay, profile) == second
        volume.lead_to(outside / "keys.json")
        done, why = rotated(relay, "pod")
        assert not done and "sandbox denies it: it leads to" in why and str(outside) in why, why
        assert "sandbox denies it" in json.dumps(relay.status("pod"))
        assert key_of(relay, "pod") == second, "the last good keys stay"
        volume.lead_to("..data/keys.json")
        third = volume.next()
        assert rotated(relay, "pod")[0]
        assert key_of(relay, "pod") == third
        # A folder of the same name is another one.
        volume.folder.rename(tmp_path / "before")
        fresh = Volume(tmp_path / "volume")
        done, why = rotated(relay, "pod")
        assert not done and "was made anew" in why, why
        assert key_of(relay, "pod") == third and fresh.number == 1


def test_every_thread_is_in_it_and_there_are_no_dumps(binary, module_aws, tmp_path):
    volume = Volume(tmp_path / "volume")
    with relay_at(binary, tmp_path / "relay", module_aws, {"pod": of_file(volume.file)}) as relay:
        served(relay, "pod")
        found = threads(relay.pid)
        assert len(found) > 1, "the log's, and those that read files"
        for thread in found:
            assert (thread["NoNewPrivs"], thread["Seccomp"]) == ("1", "2"), thread
        limits = Path(f"/proc/{relay.pid}/limits").read_text()
        assert "Max core file size        0                    0 " in limits


@pytest.mark.parametrize("capable", [True, False])
def test_memory_is_locked_where_it_may_be_and_the_log_says_where_not(binary, module_aws, tmp_path, capable):
    limited = tmp_path / "limited"
    incapable = [] if capable else ["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]
    words = shlex.join(["prlimit", "--memlock=65536:65536", *incapable, str(binary)])
    limited.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    limited.chmod(0o755)
    volume = Volume(tmp_path / "volume")
    with relay_at(limited, tmp_path / "relay", module_aws, {"pod": of_file(volume.file)}) as relay:
        served(relay, "pod")
        said, _ = hardened(relay.log())
        (status,) = [thread for thread in threads(relay.pid) if thread["Pid"] == str(relay.pid)]
        kilobytes = int(status["VmLck"].removesuffix("kB"))
        if capable and int(status["CapEff"], 16) >> IPC_LOCK & 1:
            assert said["memory"] == "locked" and kilobytes > 0, (said, kilobytes)
        else:
            assert said["memory"].startswith("may be swapped: there is a limit on locked memory (RLIMIT_MEMLOCK)")
            assert "CAP_IPC_LOCK" in said["memory"] and kilobytes == 0, (said, kilobytes)


def test_another_process_of_its_user_gets_nothing_of_it(binary):
    """As in a pod that shares its processes, with one user for all containers."""

    with tempfile.TemporaryDirectory(prefix="relay-") as made:
        folder = Path(made)
        own = folder / "credential-relay"
        shutil.copy(binary, own)
        (folder / "keys.json").write_text(json.dumps(keys(1)))
        config = folder / "relay.yaml"
        admin = {"listen": "127.0.0.1:0", "socket": str(folder / "admin.sock")}
        profile = of_file(folder / "keys.json", access={"token_file": str(folder / "token")})
        whole = {"endpoint": {"listen": "127.0.0.1:0"}, "admin": admin, "profiles": {"pod": profile}}
        config.write_text(json.dumps(whole))
        os.chown(folder, USER, USER)
        as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        log = open(folder / "log", "w+")
        relay = spawn([*as_user, own, "serve", "--config", config], environment(folder), stderr=log)
        other = spawn([*as_user, "sleep", "600"], environment(folder))
        try:
            wait_for(lambda: '"rotated"' in (folder / "log").read_text(), (folder / "log").read_text)
            wait_for(lambda: b"sleep" in Path(f"/proc/{other.pid}/cmdline").read_bytes(), "the other one runs")

            def got(process):
                ran = subprocess.run(
                    [*as_user, shutil.which("python3", path="/usr/bin:/bin"), "-c", NEIGHBOUR, str(process.pid)],
                    capture_output=True,
                    text=True,
                )
                assert ran.returncode == 0, ran.stderr
                return json.loads(ran.stdout)

            assert got(other)["environ"] == 0, "the same of any other process is had"
            assert got(relay) == {"environ": 13, "mem": 13, "maps": 13, "attach": 1, "copy": 1}
            # What it must do with its own files in /proc, and others with its socket, it does as before.
            for command in ("status", "healthcheck"):
                ran = subprocess.run(
                    [*as_user, own, command, "--config", config], env=environment(folder), capture_output=True, text=True
                )
                assert ran.returncode == 0, ran.stderr
        finally:
            relay.terminate()
            # It was attached to, and left stopped.
            other.kill()
            for process in (relay, other):
                process.wait(EXIT_SECONDS)
            log.close()


def without(folder, binary, *calls):
    wrapper = folder / "without"
    wrapper.write_text(WITHOUT.format(python=sys.executable, calls=calls, binary=str(binary)))
    wrapper.chmod(0o755)
    return wrapper


MISSING = {
    "landlock": ((LANDLOCK, ENOSYS), "this kernel has no Landlock"),
    "seccomp": ((SECCOMP, EINVAL), "system calls are not filtered"),
}


@pytest.mark.parametrize("missing", MISSING)
def test_without_it_the_relay_serves_with_a_warning(binary, module_aws, tmp_path, missing):
    call, words = MISSING[missing]
    volume = Volume(tmp_path / "volume")
    wrapper = without(tmp_path, binary, call)
    with relay_at(wrapper, tmp_path / "relay", module_aws, {"pod": of_file(volume.file)}) as relay:
        served(relay, "pod")
        said, warnings = hardened(relay.log())
        (warning,) = [warning for warning in warnings if "sandbox" in warning]
        assert "is not whole" in warning and words in warning, warning
        assert said["files" if missing == "landlock" else "calls"] == "open"
        # Whichever is left denies programs.
        config = yaml.safe_load(relay.config.read_text())
        config["profiles"]["other"] = {"source": {"process": {"command": ["/bin/true"]}}}
        relay.config.write_text(json.dumps(config))
        os.kill(relay.pid, signal.SIGHUP)
        wait_for(lambda: "it runs programs, which the relay's sandbox denies" in relay.log(), relay.log)


@pytest.mark.parametrize("missing", MISSING)
def test_where_it_is_required_the_relay_does_not_start_without(binary, tmp_path, missing):
    call, words = MISSING[missing]
    config = tmp_path / "relay.yaml"
    admin = {"listen": "127.0.0.1:0", "socket": str(tmp_path / "s")}
    profile = of_file(tmp_path / "keys.json", access={"token_file": str(tmp_path / "token")})
    whole = {"endpoint": {"listen": "127.0.0.1:0"}, "admin": admin, "profiles": {"pod": profile}}
    config.write_text(json.dumps({**whole, "sandbox": "required"}))
    ran = subprocess.run(
        [without(tmp_path, binary, call), "serve", "--config", config],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 3, ran.stderr
    assert "sandbox: it is required and cannot be had" in ran.stderr and words in ran.stderr


@pytest.mark.parametrize("off", ["setting", "programs"])
def test_it_is_off_by_its_setting_and_where_programs_run(binary, module_aws, tmp_path, off):
    volume = Volume(tmp_path / "volume")
    profile, settings = of_file(volume.file), {"sandbox": "off"}
    if off == "programs":
        profile = {"source": {"process": {"command": ["/bin/cat", str(volume.file)]}}, "serve_long_lived_keys": True}
        settings = None
    with relay_at(binary, tmp_path / "relay", module_aws, {"pod": profile}, settings=settings) as relay:
        served(relay, "pod")
        said, warnings = hardened(relay.log())
        assert said["sandbox"].startswith("open: "), said
        assert not [warning for warning in warnings if "sandbox" in warning]
        assert {(thread["NoNewPrivs"], thread["Seccomp"]) for thread in threads(relay.pid)} == {("0", "0")}


def test_the_injector_is_in_one_too(binary, tmp_path):
    certificate = Authority(tmp_path).issue("injector", server=True)
    injector, written = one_of_the_cases(binary, tmp_path, certificate)
    try:
        wait_for(lambda: '"listening"' in written.read_text(), written.read_text)
        said, warnings = hardened(written.read_text())
        assert "confined by Landlock" in said["files"] and said["calls"] == "filtered", said
        assert not [warning for warning in warnings if "sandbox" in warning]
        found = threads(injector.pid)
        assert {(thread["NoNewPrivs"], thread["Seccomp"]) for thread in found} == {("1", "2")}
    finally:
        injector.terminate()
        assert injector.wait(EXIT_SECONDS) == 0, written.read_text()


def test_a_program_under_exec_is_not_in_it(binary, tmp_path):
    config = tmp_path / "relay.yaml"
    (tmp_path / "keys.json").write_text(json.dumps(keys(1)))
    config.write_text(json.dumps({"profiles": {"pod": of_file(tmp_path / "keys.json")}}))
    ran = subprocess.run(
        [binary, "exec", "--config", config, "--", "cat", "/proc/self/status", "/proc/self/limits"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    own = Path("/proc/self/limits").read_text().splitlines()
    assert "NoNewPrivs:\t0\n" in ran.stdout and "Seccomp:\t0\n" in ran.stdout
    assert next(line for line in own if line.startswith("Max core")) in ran.stdout
