"""Runs a Pod, as the API server returned it, the way the kubelet does: its containers by podman, on this machine.

`PodRun.sync` looks at what is there and does what comes next, as the kubelet's own loop does; whoever waits for something
calls it (`PodRun.until`). What it did is in `events`, in order. What happens to a pod:

* Init containers start one after the other. One with restartPolicy Always is a sidecar: the next one waits for its startup
  probe and it goes on running, started again whenever it ends. Any other one must end well before the next one starts.
* Then all containers start. Each one that ends is started again as the pod's restartPolicy says.
* When they have all ended for good, or the pod is deleted and each has got SIGTERM and ended, the sidecars get SIGTERM, the
  last one first, each when the one before has ended. What is left when the grace is over is killed.
"""

import contextlib
import signal
import time
from pathlib import Path

import pod_spec
from harness import http_get, wait_for
from pod_containers import Running, Started, command_line
from pod_spec import Get
from pod_volumes import Volumes
from sandbox import POD_IP, Sandbox


class PodRun:
    """A pod that runs. Close it, whatever became of it."""

    RESTARTS = 5

    def __init__(self, pod, images, cluster, folder):
        self.spec = pod_spec.read(pod, POD_IP, cluster)
        self.events = []
        self._images = images
        self._folder = Path(folder)
        self._folder.mkdir()
        self._deleted = None
        self._asked_to_end = set()
        self.init = [Running(each) for each in self.spec.init]
        self.containers = [Running(each) for each in self.spec.containers]
        self._all = {each.spec.name: each for each in self.init + self.containers}
        with contextlib.ExitStack() as made:
            self.sandbox = Sandbox(self._folder)
            made.callback(self.sandbox.close)
            self.volumes = Volumes(self.spec, self._folder / "volumes", cluster)
            made.callback(self.volumes.close)
            self._made = made.pop_all()

    def close(self):
        with self._made:
            for running in self._all.values():
                for run in running.runs:
                    run.remove()

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

    def until(self, look, what):
        """Lets the pod go on until `look` gives something true, and returns that."""

        def step():
            self.sync()
            return look()

        return wait_for(step, lambda: f"{what}: {self.events}\n{self.log()[-6000:]}")

    def until_over(self):
        """Lets the pod go on until nothing of it runs any more."""

        self.until(lambda: all(each.over for each in self._all.values()), "the pod is over")

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
        code = running.runs[-1].ended() if running.runs else None
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
        log = self._folder / f"{name}-{count}.log"
        image = self._images[running.spec.image]
        words = command_line(self.spec, running.spec, image, self.sandbox, self.volumes)
        running.begins(Started(f"{self.spec.uid}-{name}-{count}", words, log))
        self.events.append(("started", name))

    def _probe(self):
        for running in self._all.values():
            was_up = running.started_up
            if running.alive and running.probe(lambda asks, of=running: self._ask(of, asks)):
                self.events.append(("unhealthy", running.spec.name))
                running.runs[-1].kill()
            if running.alive and running.started_up and not was_up:
                self.events.append(("started up", running.spec.name))

    def _ask(self, running, asks):
        if not isinstance(asks, Get):
            return running.runs[-1].runs_well(asks)
        # The kubelet comes from outside of the pod, to its address.
        try:
            return self.sandbox.inside(lambda: http_get(f"http://{POD_IP}:{asks.port}{asks.path}")[0]) < 400
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
                # It may have ended since this turn began.
                self._note_end(running)
                running.over = True
            if running is self.containers[-1] and any(each.alive for each in self.containers):
                return

    def _ask_to_end(self, running):
        if running.alive and running.spec.name not in self._asked_to_end:
            self._asked_to_end.add(running.spec.name)
            self.events.append(("SIGTERM", running.spec.name))
            running.runs[-1].signal(signal.SIGTERM)
