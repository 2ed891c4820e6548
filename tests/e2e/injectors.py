"""Injectors at a real API server: several replicas, each as a pod's process, behind a Service that leads to this machine.

The Service is an ExternalName: the API server calls `localhost`, but wants a certificate of the Service's own name. At
the port waits a balancer, which gives each connection to the next replica that is ready.
"""

import base64
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from harness import EXIT_SECONDS, carry, environment, http_get, spawn, wait_for
from kube_server import RBAC, Refused

NAMESPACE, ACCOUNT = "credential-relay", "credential-relay-injector"
SERVICE = WEBHOOK = LEASE = ACCOUNT
SECRET = "credential-relay-injector-tls"
NAME = f"{SERVICE}.{NAMESPACE}.svc"
CONFIGURATION = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{WEBHOOK}"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
ROTATE = "credential-relay.io/rotate"
# What the tests have of a certificate's life, and for how many seconds at least a CA is trusted before it is used (keeper.rs: a
# twentieth of that).
LIFETIME = "45s"
SETTLE = 2

# What the chart must grant, and no more.
RULES = [
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET], "verbs": ["get", "patch"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [LEASE], "verbs": ["get", "patch"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
]
CLUSTER_RULES = [
    {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations"],
        "resourceNames": [WEBHOOK],
        "verbs": ["get", "patch"],
    }
]

CASES = Path(__file__).parents[1] / "inject_cases"

# The service account's folder, where a pod has it: in a mount namespace of the process's own.
AS_A_POD = """
mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io/serviceaccount
mount --bind "$1" /run/secrets/kubernetes.io/serviceaccount
shift
exec "$@"
"""


def one_of_the_cases(binary, folder, certificate):
    """An injector by the policy of tests/inject_cases, with this certificate: its process, and where its log is."""

    config = yaml.safe_load((CASES / "injector.yaml").read_text())
    config |= {"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}}
    config["certificates"] = {"files": {"cert": str(certificate.certificate), "key": str(certificate.key)}}
    file, written = folder / "injector.json", folder / "injector.log"
    file.write_text(json.dumps(config))
    with open(written, "w") as log:
        process = spawn(
            [binary, "inject", "--config", file, "--drain", "0"],
            environment(folder, CREDENTIAL_RELAY_LOG_FORMAT="json"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    return process, written


class Process:
    """An injector as the process of its pod: with its service account's folder, and the API server's address in its variables."""

    def __init__(self, binary, folder, kube, account, arguments, **variables):
        parts = urlsplit(kube.address)
        cluster = {"KUBERNETES_SERVICE_HOST": parts.hostname, "KUBERNETES_SERVICE_PORT": str(parts.port)}
        rootless = [] if os.geteuid() == 0 else ["--map-root-user"]
        command = ["unshare", "--mount", *rootless, "sh", "-euc", AS_A_POD, "sh", account]
        self._log = folder / "injector.log"
        with open(self._log, "w") as log:
            self._process = spawn(
                [*command, binary, *arguments],
                environment(folder, **variables, **cluster),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        listening = wait_for(self._listening, lambda: f"the injector listens\n{self.log()[-4000:]}")
        self.port, self.admin = urlsplit(listening["webhook"]).port, listening["admin"]

    def _listening(self):
        assert self._process.poll() is None, f"it ended with {self._process.returncode}:\n{self.log()[-4000:]}"
        return next((line for line in self.lines() if line.get("message") == "listening"), None)

    def log(self):
        return self._log.read_text(errors="replace")

    def lines(self):
        for line in self.log().splitlines():
            if line.startswith("{") and line.endswith("}"):
                yield json.loads(line)

    def is_ready(self):
        try:
            return http_get(f"{self.admin}/readyz")[0] == 200
        except OSError:
            return False

    def stop(self):
        """Gives whether it ended by itself, once it was asked to."""

        self._process.terminate()
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True


class Replica(Process):
    """One injector of several."""

    def __init__(self, binary, folder, cluster, lifetime):
        folder.mkdir()
        config = folder / "injector.yaml"
        config.write_text(json.dumps(configuration(lifetime)))
        super().__init__(
            binary,
            folder,
            cluster.kube,
            cluster.account,
            ["inject", "--config", config],
            CREDENTIAL_RELAY_LOG="trace",
            CREDENTIAL_RELAY_LOG_FORMAT="json",
            POD_NAME=folder.name,
        )

    def shown(self, bundle=None):
        """The certificate that it shows, as DER; it must be trusted by `bundle`, PEM, where one is given."""

        context = ssl.create_default_context(cadata=bundle) if bundle else ssl.create_default_context()
        if not bundle:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.port), 10) as plain:
            with context.wrap_socket(plain, server_hostname=NAME) as secure:
                return secure.getpeercert(binary_form=True)


def configuration(lifetime):
    """The injector's, as the chart writes it; of what is not about certificates as little as it takes."""

    return {
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "certificates": {
            "self_managed": {
                "namespace": NAMESPACE,
                "service": SERVICE,
                "secret": SECRET,
                "lease": LEASE,
                "webhook": WEBHOOK,
                "lifetime": lifetime,
            }
        },
        "sidecar": {"image": "registry.example/credential-relay:test"},
        "relay": {"sts": {"region": "eu-west-1"}},
        "profiles": {"payments": {"source": {"imds": {}}}},
        "policy": [{"namespaces": ["*"], "service_accounts": ["*"], "profiles": ["*"]}],
    }


class Balancer:
    """Gives each connection to the next port in `ports`."""

    def __init__(self):
        self.ports = []
        self._turn = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client:
            ports = list(self.ports)
            if not ports:
                return
            self._turn += 1
            try:
                server = socket.create_connection(("127.0.0.1", ports[self._turn % len(ports)]), 10)
            except OSError:
                return
            with server:
                carry(client, server)

    def stop(self):
        self._listener.close()


class Cluster:
    """What the chart would have installed."""

    def __init__(self, kube, folder):
        self.kube = kube
        self._folder = folder
        self.balancer = Balancer()
        self.private = set()
        for namespace in (NAMESPACE, "apps"):
            kube.namespace(namespace)
        kube.service_account(NAMESPACE, ACCOUNT)
        kube.service_account("apps", "default")
        self._grant()
        service = {"type": "ExternalName", "externalName": "localhost"}
        kube.call("POST", f"/api/v1/namespaces/{NAMESPACE}/services", {"metadata": {"name": SERVICE}, "spec": service})
        kube.call("POST", CONFIGURATION.rpartition("/")[0], self.webhooks())
        self.account = folder / "account"
        self.account.mkdir()
        self.token = kube.token(NAMESPACE, ACCOUNT)
        self.private.add(self.token)
        (self.account / "token").write_text(self.token)
        (self.account / "ca.crt").write_text(kube.authority)
        (self.account / "namespace").write_text(NAMESPACE)

    def _grant(self):
        subject = [{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": ACCOUNT}]
        metadata = {"metadata": {"name": ACCOUNT}}
        for kind, rules, path in (
            ("Role", RULES, f"{RBAC}/namespaces/{NAMESPACE}/roles"),
            ("ClusterRole", CLUSTER_RULES, f"{RBAC}/clusterroles"),
        ):
            self.kube.call("POST", path, {**metadata, "rules": rules})
            role = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": ACCOUNT}
            bindings = path.removesuffix("s") + "bindings"
            self.kube.call("POST", bindings, {**metadata, "roleRef": role, "subjects": subject})

    def webhooks(self):
        service = {"namespace": NAMESPACE, "name": SERVICE, "path": "/mutate", "port": self.balancer.port}
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": WEBHOOK},
            "webhooks": [
                {
                    "name": "inject.credential-relay.io",
                    "clientConfig": {"service": service},
                    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                    "objectSelector": {"matchLabels": {"credential-relay.io/inject": "true"}},
                    "failurePolicy": "Fail",
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "timeoutSeconds": 10,
                }
            ],
        }

    # What there is

    def secret(self):
        """The Secret's data, decoded; none if there is none. What of it is private is remembered."""

        try:
            found = self.kube.call("GET", f"{SECRETS}/{SECRET}")
        except Refused as refused:
            assert refused.status == 404, refused
            return None
        data = {name: base64.b64decode(value).decode() for name, value in found.get("data", {}).items()}
        keys = [line for name in ("tls.key", "ca.key") for line in data.get(name, "").splitlines()]
        self.private.update(line for line in keys if len(line) == 64)
        return data

    def bundle(self):
        (webhook,) = self.kube.call("GET", CONFIGURATION)["webhooks"]
        return base64.b64decode(webhook["clientConfig"].get("caBundle", "")).decode()

    def authorities(self):
        return split(self.bundle())

    # What somebody does

    def annotate(self, path, name, value):
        self.patch(path, {"metadata": {"annotations": {name: value}}})

    def patch(self, path, body, kind="application/merge-patch+json"):
        self.kube.call("PATCH", path, body, kind=kind)

    def ask_for_rotation(self):
        self.annotate(f"{SECRETS}/{SECRET}", ROTATE, "now")

    def reset_bundle(self):
        reset = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]
        self.patch(CONFIGURATION, reset, "application/json-patch+json")

    def create_pod(self):
        """Whether a pod that asks for it came out with the relay in it."""

        annotations = {"credential-relay.io/profile": "payments"}
        metadata = {"generateName": "app-", "labels": {"credential-relay.io/inject": "true"}, "annotations": annotations}
        spec = {"containers": [{"name": "app", "image": "app:test"}]}
        made = self.kube.call("POST", "/api/v1/namespaces/apps/pods", {"metadata": metadata, "spec": spec})
        return any(each["name"] == "credential-relay" for each in made["spec"].get("initContainers", []))

    def creates_pods(self):
        try:
            return self.create_pod()
        except Refused:
            return False

    def stop(self):
        self.balancer.stop()


def split(pem):
    end = "-----END CERTIFICATE-----\n"
    return [part + end for part in pem.split(end) if part.strip()]


@contextmanager
def continuous(cluster, replicas):
    """While it lasts, pods are made without a break, and each replica is asked by whoever trusts what the caBundle just said.

    Gives what went wrong, and how often all went well.
    """

    told = Told()
    stop = threading.Event()

    def pods():
        # A moment between two, so that the machine has time for the injectors themselves.
        while not stop.wait(0.02):
            try:
                injected = cluster.create_pod()
                told.pods += injected
                if not injected:
                    told.wrong.append("a pod was not injected")
            except Exception as error:  # noqa: BLE001: whatever it is, it is told
                told.wrong.append(f"{time.strftime('%T')} {error}")

    def handshakes():
        while not stop.is_set():
            read_at, bundle = time.monotonic(), cluster.bundle()
            for replica in replicas:
                try:
                    replica.shown(bundle)
                    told.handshakes += 1
                except Exception as error:  # noqa: BLE001
                    # Who was held up for longer than a CA is trusted before its use knows less than the API server does.
                    if time.monotonic() - read_at < SETTLE:
                        told.wrong.append(f"{time.strftime('%T')} {replica.port}: {error}")
            stop.wait(0.02)

    threads = [threading.Thread(target=work) for work in (pods, handshakes)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class Told:
    def __init__(self):
        self.wrong, self.pods, self.handshakes = [], 0, 0


def log_of(replicas):
    return "\n".join(f"== {Path(replica._log).parent.name}\n{replica.log()[-6000:]}" for replica in replicas)
