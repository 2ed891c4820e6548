"""Runs a Pod, as the API server returned it, the way the kubelet does: its containers by podman, on this machine.

`PodRun.sync` looks at what is there and does what comes next, as the kubelet's own loop does; whoever waits for something
calls it (`PodRun.until`). What it did is in `events`, in order. What happens to a pod:

* Init containers start one after the other. One with restartPolicy Always is a sidecar: the next one waits for its startup
  probe and it goes on running, started again whenever it ends. Any other one must end well before the next one starts.
* Then all containers start. Each one that ends is started again as the pod's restartPolicy says.
* When they have all ended for good, or the pod is deleted and each has got SIGTERM and ended, the sidecars get SIGTERM, the
  last one first, each when the one before has ended. What is left when the grace is over is killed.
"""

import json
import signal
import time
from pathlib import Path

import containers
import pod_spec
from harness import http_get, wait_for
from pod_volumes import Volumes
from sandbox import POD_IP, Sandbox


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
        if ask(probe):
            self._failures, self.started_up = 0, True
            return False
        self._failures += 1
        return self._failures >= probe.failures


class PodRun:
    """A pod that runs. Close it, whatever became of it."""

    RESTARTS = 5

    def __init__(self, pod, images, cluster, folder):
        self.spec = pod_spec.read(pod, POD_IP)
        self.events = []
        self._images = images
        self._folder = Path(folder)
        self._deleted = None
        self._asked_to_end = set()
        self.init = [Running(each) for each in self.spec.init]
        self.containers = [Running(each) for each in self.spec.containers]
        self._all = {each.spec.name: each for each in self.init + self.containers}
        self.sandbox = Sandbox(self._folder)
        self.volumes = None
        try:
            self.volumes = Volumes(self.spec, self._folder / "volumes", cluster)
        except BaseException:
            self.sandbox.close()
            raise

    def close(self):
        for running in self._all.values():
            for run in running.runs:
                run.remove()
        self.volumes.close()
        self.sandbox.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # What tests ask and do

    def __getitem__(self, name):
        return self._all[name]

    def log(self):
        """What all of its containers said."""

        return "\n".join(f"== {name}\n{each.log()}" for name, each in self._all.items())

    def until(self, look, what, seconds=60):
        """Lets the pod go on until `look` gives something true, and returns that."""

        def step():
            self.sync()
            return look()

        return wait_for(step, lambda: f"{what}: {self.events}\n{self.log()[-6000:]}", seconds)

    def until_over(self, seconds=60):
        """Lets the pod go on until nothing of it runs any more."""

        self.until(lambda: all(each.over for each in self._all.values()), "the pod is over", seconds)

    def delete(self):
        """As `kubectl delete` does: the containers get SIGTERM, and the grace begins."""

        self._deleted = time.monotonic()
        for running in self.containers:
            self._ask_to_end(running)
            running.over = not running.alive

    # The loop

    def sync(self):
        for running in self._all.values():
            self._note_end(running)
        self._probe()
        if self._ending():
            self._end()
        elif all(map(self._initialised, self.init)):
            for running in self.containers:
                self._start(running)

    def _ending(self):
        return self._deleted is not None or all(running.over for running in self.containers)

    def _note_end(self, running):
        code = running.runs[-1].ended() if running.runs and not running.over else None
        if code is None or self._has_seen(running):
            return
        self.events.append(("ended", running.spec.name, code))
        again = running.spec.restarts or self.spec.restart == "Always" or (self.spec.restart == "OnFailure" and code != 0)
        if running in self.init and not running.spec.restarts:
            again = code != 0 and self.spec.restart != "Never"
            assert code == 0 or again, f"init container {running.spec.name} failed\n{self.log()[-6000:]}"
        running.over = self._ending() or not again

    def _has_seen(self, running):
        ends = sum(event[:2] == ("ended", running.spec.name) for event in self.events)
        return ends == len(running.runs)

    def _initialised(self, running):
        """Whether the init containers after this one may start. Those before it have been asked before."""

        self._start(running)
        return running.started_up if running.spec.restarts else running.over

    def _start(self, running):
        if running.over or running.alive:
            return
        name = running.spec.name
        assert len(running.runs) <= self.RESTARTS, f"{name} ends again and again\n{self.log()[-6000:]}"
        count = len(running.runs)
        self._folder.joinpath("logs").mkdir(exist_ok=True)
        log = self._folder / "logs" / f"{name}-{count}"
        running.begins(Started(f"{self.spec.uid}-{name}-{count}", self._words(running.spec), log))
        self.events.append(("started", name))

    def _probe(self):
        for running in self._all.values():
            was_up = running.started_up
            if running.alive and running.probe(self._ask):
                self.events.append(("unhealthy", running.spec.name))
                running.runs[-1].kill()
            if running.alive and running.started_up and not was_up:
                self.events.append(("started up", running.spec.name))

    def _ask(self, probe):
        """The kubelet comes from outside of the pod, to its address."""

        try:
            return self.sandbox.inside(lambda: http_get(f"http://{POD_IP}:{probe.port}{probe.path}")[0]) < 400
        except OSError:
            return False

    def _end(self):
        if self._deleted is None:
            self._deleted = time.monotonic()
        if time.monotonic() - self._deleted > self.spec.grace:
            for running in self._all.values():
                if running.alive:
                    self.events.append(("killed", running.spec.name))
                    running.runs[-1].kill()
            return
        for running in [*self.containers, *reversed(self.init)]:
            if running.alive:
                self._ask_to_end(running)
                # The sidecars wait for all containers, and each one for those that started after it.
                if running in self.init:
                    return
            else:
                running.over = True
            if running is self.containers[-1] and any(each.alive for each in self.containers):
                return

    def _ask_to_end(self, running):
        if running.alive and running.spec.name not in self._asked_to_end:
            self._asked_to_end.add(running.spec.name)
            self.events.append(("SIGTERM", running.spec.name))
            running.runs[-1].signal(signal.SIGTERM)

    # How a container is run

    def _words(self, spec):
        image = self._images[spec.image]
        words = ["--no-healthcheck", "--network", f"ns:{self.sandbox.path}", "--hostname", self.spec.name, "--read-only-tmpfs=false"]
        words += self._security_words(spec.security, image)
        if spec.memory:
            words += ["--memory", f"{spec.memory}b"]
        for name, value in spec.environment.items():
            words += ["--env", f"{name}={value}"]
        for folder in image.folders:
            words += ["--volume", f"{folder}:{folder}:ro"]
        for mount in spec.mounts:
            options = ",ro=true" if mount.read_only else ""
            words += ["--mount", f"type=bind,src={self.volumes.path(mount)},dst={mount.path}{options}"]
        if spec.command:
            words += ["--entrypoint", json.dumps(spec.command)]
        return [*words, image.name, *spec.args]

    def _security_words(self, security, image):
        user = image.user if security.user is None else str(security.user)
        if security.group is not None:
            user = f"{user.split(':')[0] or 0}:{security.group}"
        if security.not_root and user.split(":")[0] in ("", "0", "root"):
            raise AssertionError(f"runAsNonRoot, and the user is {user or 'the image does not say which'}")
        words = ["--user", user] if user else []
        if self.spec.fs_group is not None:
            words += ["--group-add", str(self.spec.fs_group)]
        if security.read_only:
            words.append("--read-only")
        if security.no_new_privileges:
            words += ["--security-opt", "no-new-privileges"]
        return words + [f"--cap-drop={name}" for name in security.drop] + [f"--cap-add={name}" for name in security.add]
