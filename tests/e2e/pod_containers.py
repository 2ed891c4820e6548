"""The containers of a pod that runs: each one's runs by podman, how they are told to run, and what their probes say."""

import json
import time

import containers


class LocalImage:
    """What stands on this machine for an image that a pod names: an image of the store, and folders of the machine in it."""

    def __init__(self, name, folders=()):
        self.name = name
        self.folders = folders
        described = containers.inspect(name)
        self.user = described["User"] or described["Config"].get("User", "")


class Started:
    """One run of a container."""

    def __init__(self, name, words, log):
        self.name = name
        self.log = log
        with open(log, "w") as output:
            self._process = containers.start(["--name", name, *words], output)

    def ended(self):
        """Its exit code, or None while it runs."""

        return self._process.poll()

    def signal(self, number):
        """The engine hands it on."""

        self._process.send_signal(number)

    def kill(self):
        """Ends it with SIGKILL, which the engine cannot hand on."""

        containers.run("kill", self.name, check=False)

    def runs_well(self, command):
        """Whether a program in it ends with 0."""

        return containers.run("exec", self.name, *command, check=False).returncode == 0

    def remove(self):
        containers.run("rm", "--force", "--time", 0, self.name, check=False)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


class Running:
    """A container of the pod: its runs, and what its probes said."""

    def __init__(self, spec):
        self.spec = spec
        self.runs = []
        self.started_up = False
        self.over = False
        """Whether it has ended and is not to be started again."""
        self._asked = 0.0
        self._failures = 0

    @property
    def alive(self):
        return bool(self.runs) and self.runs[-1].ended() is None

    def log(self):
        return "".join(run.log.read_text(errors="replace") for run in self.runs)

    def begins(self, run):
        self.runs.append(run)
        self.started_up, self._asked, self._failures = self.spec.startup is None, 0.0, 0

    def probe(self, ask):
        """Asks the probe whose turn it is, if its period is over. Gives whether the container must be killed."""

        probe = self.spec.liveness if self.started_up else self.spec.startup
        if probe is None or time.monotonic() - self._asked < probe.period:
            return False
        self._asked = time.monotonic()
        if ask(probe.asks):
            if not self.started_up:
                # The other probe's turn begins at once.
                self._asked = 0.0
            self._failures, self.started_up = 0, True
            return False
        self._failures += 1
        return self._failures >= probe.failures


def command_line(pod, spec, image, sandbox, volumes):
    """How podman is told to run a container of a pod."""

    words = ["--no-healthcheck", "--network", f"ns:{sandbox.path}", "--hostname", pod.name]
    words += _security_words(spec.security, image, pod.fs_group)
    if spec.memory:
        words += ["--memory", f"{spec.memory}b"]
    for name, value in spec.environment.items():
        words += ["--env", f"{name}={value}"]
    for folder in image.folders:
        words += ["--volume", f"{folder}:{folder}:ro"]
    for mount in spec.mounts:
        options = ",ro=true" if mount.read_only else ""
        words += ["--mount", f"type=bind,src={volumes.path(mount)},dst={mount.path}{options}"]
    if spec.command:
        words += ["--entrypoint", json.dumps(spec.command)]
    return [*words, image.name, *spec.args]


def _security_words(security, image, fs_group):
    user = image.user if security.user is None else str(security.user)
    if security.group is not None:
        user = f"{user.split(':')[0] or 0}:{security.group}"
    if security.not_root and user.split(":")[0] in ("", "0", "root"):
        raise AssertionError(f"runAsNonRoot, and the user is {user or 'the image does not say which'}")
    words = ["--user", user] if user else []
    if fs_group is not None:
        words += ["--group-add", str(fs_group)]
    if security.read_only:
        # Really: the engine would make some folders for temporary files.
        words += ["--read-only", "--read-only-tmpfs=false"]
    if security.no_new_privileges:
        words += ["--security-opt", "no-new-privileges"]
    return words + [f"--cap-drop={name}" for name in security.drop] + [f"--cap-add={name}" for name in security.add]
