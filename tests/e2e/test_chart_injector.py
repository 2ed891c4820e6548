"""The chart with the injector's program: it takes every configuration that the chart makes, and with the rights of the release alone
it puts the relay into pods.
"""

import json
import os
import re
import subprocess
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from harness import EXIT_SECONDS, environment, http_get, leaks, spawn, wait_for
from helm import (
    CHART,
    COMBINATIONS,
    EXAMPLES,
    LEAST,
    ROOT,
    SCHEMA,
    Helm,
    HelmFailed,
    configuration,
    documents,
    metric_names,
    metrics_of,
    one,
    pod_of,
    values_schema,
)
from kube_server import Refused

KUBERNETES = ROOT / "deploy" / "kubernetes"
VALUES = [LEAST, KUBERNETES / "values.yaml", EXAMPLES / "values" / "self-check.yaml", {"injector": {"drainSeconds": 0}}]

# The service account's folder, where a pod has it: in a mount namespace of the process's own.
AS_A_POD = """
mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io/serviceaccount
mount --bind "$1" /run/secrets/kubernetes.io/serviceaccount
shift
exec "$@"
"""


@pytest.fixture(scope="module")
def injector(binary):
    return Path(binary).resolve()


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_the_injector_takes_what_the_chart_makes(injector, tmp_path, combination):
    taken(injector, tmp_path, LEAST, *COMBINATIONS[combination])


def taken(injector, tmp_path, *values):
    config = tmp_path / "injector.yaml"
    config.write_text(yaml.safe_dump(configuration(Helm(tmp_path, 3).template(values=values))))
    ran = subprocess.run(
        [injector, "inject", "--config", config, "--check"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_values_of_the_page_on_installing_are_right(injector, tmp_path):
    page = (ROOT / "docs" / "install.md").read_text()
    [values] = [
        textwrap.dedent(block)
        for block in re.findall(r"```yaml\n(.+?)```", page, re.DOTALL)
        if "# values.yaml" in block
    ]
    taken(injector, tmp_path, yaml.safe_load(values))


def test_the_values_schema_says_of_them_what_the_injector_says(injector):
    """Where it does not: RELAY_BIN=… python3 tests/e2e/helm.py writes it anew."""

    assert SCHEMA.read_text() == values_schema(injector)


# What the injector would say once it runs is said before anything is installed.
HANDED_ON = [
    (
        {"profiles": {"p": {"source": {"vault": {"rol": "x"}}}}},
        "at '/profiles/p/source/vault': additional properties 'rol' not allowed",
    ),
    ({"profiles": {"p": {"chain": [{"role_arm": "x"}]}}}, "at '/profiles/p/chain/0': missing property 'role_arn'"),
    ({"policy": [{"namespace": ["a"]}]}, "at '/policy/0': missing property 'namespaces'"),
    ({"sidecar": {"resources": {"limit": {}}}}, "at '/sidecar/resources': additional properties 'limit' not allowed"),
    ({"relay": {"profiles": {}}}, "at '/relay': additional properties 'profiles' not allowed"),
]


@pytest.mark.parametrize(("values", "words"), HANDED_ON, ids=["source", "hop", "policy", "sidecar", "relay"])
def test_a_mistake_in_what_is_handed_on_is_told_by_helm(tmp_path, values, words):
    with pytest.raises(HelmFailed) as refused:
        Helm(tmp_path, 3).text(values=[LEAST | values])
    assert words in str(refused.value)


def test_what_helm_test_runs_tells_whose_credentials_it_got(binary, start_relay, calm_aws, tmp_path):
    """The test pod's own command and variables, beside a sidecar that serves."""

    relay = start_relay(calm_aws).ready()
    sts = {"relay": {"sts": {"region": calm_aws.region, "endpoint": calm_aws.endpoint}}}
    pod = one(Helm(tmp_path, 3).template(values=[*VALUES, sts, {"test": {"region": ""}}]), "Pod")
    [container] = pod["spec"]["containers"]
    given = {entry["name"]: entry["value"] for entry in container["env"]}
    ran = subprocess.run(
        [binary, *container["args"]],
        env=relay.client_environment("payments", tmp_path, "helm-test") | given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0 and calm_aws.spoke_role_arn.rsplit("/", 1)[1] in said, said
    assert leaks([said], calm_aws.secrets()) == []


class Release:
    """What Helm installed, and one injector as the process of its pod."""

    def __init__(self, cluster, injector, folder):
        self.cluster, self._folder, self._injector = cluster, folder, injector
        self.helm = Helm(folder / "helm", 3, cluster)
        self.helm.install(values=VALUES)
        self.objects = self.helm.manifest()
        self.account = one(self.objects, "ServiceAccount")["metadata"]
        # Here the way from the API server to a Service is its name alone, and to a port of this machine.
        by_name = {
            "type": "ExternalName",
            "externalName": "localhost",
            "selector": None,
            "clusterIP": None,
            "clusterIPs": None,
        }
        cluster.patch(one(self.objects, "Service"), {"spec": by_name})
        self._start()
        self.lead_here()

    def _start(self):
        account = self._folder / "account"
        account.mkdir()
        namespace, name = self.account["namespace"], self.account["name"]
        (account / "token").write_text(self.cluster.token(namespace, name))
        (account / "ca.crt").write_text(self.cluster.authority)
        (account / "namespace").write_text(namespace)
        given = configuration(self.objects)
        given["listen"], given["admin"]["listen"] = "127.0.0.1:0", "127.0.0.1:0"
        config = self._folder / "injector.yaml"
        config.write_text(json.dumps(given))
        [container] = one(self.objects, "Deployment")["spec"]["template"]["spec"]["containers"]
        arguments = [config if argument.endswith("/injector.yaml") else argument for argument in container["args"]]
        variables = {entry["name"]: entry.get("value", "injector") for entry in container["env"]}
        address = urlsplit(self.cluster.address)
        variables |= {"KUBERNETES_SERVICE_HOST": address.hostname, "KUBERNETES_SERVICE_PORT": str(address.port)}
        rootless = [] if os.geteuid() == 0 else ["--map-root-user"]
        command = ["unshare", "--mount", *rootless, "sh", "-euc", AS_A_POD, "sh", account]
        self._log = self._folder / "injector.log"
        with open(self._log, "w") as log:
            self._process = spawn(
                [*command, self._injector, *arguments],
                environment(self._folder, **variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        listening = wait_for(self._listening, lambda: f"the injector listens\n{self.log()}")
        self._port, self._admin = int(listening["webhook"].rpartition(":")[2]), listening["admin"]
        wait_for(self._ready, lambda: f"the injector is ready\n{self.log()}")

    def _listening(self):
        assert self._process.poll() is None, self.log()
        lines = (json.loads(line) for line in self.log().splitlines() if line.startswith("{"))
        return next((line for line in lines if line.get("message") == "listening"), None)

    def _ready(self):
        try:
            return http_get(f"{self._admin}/readyz")[0] == 200
        except OSError:
            return False

    def log(self):
        return self._log.read_text(errors="replace")[-4000:]

    def metrics(self):
        return http_get(f"{self._admin}/metrics")[2]

    def lead_here(self):
        """Lets the API server call the port that the kernel gave the injector; an upgrade sets it back."""

        webhook = one(self.objects, "MutatingWebhookConfiguration")
        called = {"name": webhook["webhooks"][0]["name"], "clientConfig": {"service": {"port": self._port}}}
        self.cluster.patch(webhook, {"webhooks": [called]}, kind="application/strategic-merge-patch+json")

    def injected(self, pod):
        """The pod as the API server makes it, once it has learned of the webhook as it is now."""

        def made():
            try:
                return self.cluster.create(pod, dry_run=True, default_namespace="payments")
            except Refused as refused:
                assert refused.status == 500 and "failed calling webhook" in str(refused), f"{refused}\n{self.log()}"
                return None

        return wait_for(made, lambda: f"the API server reaches the injector\n{self.log()}")

    def stop(self):
        self._process.terminate()
        self._process.wait(EXIT_SECONDS)
        self.helm.uninstall()


@pytest.fixture(scope="module")
def release(cluster, injector, tmp_path_factory):
    cluster.namespace("payments", **{"pod-security.kubernetes.io/enforce": "restricted"})
    for account in ("default", "payments"):
        cluster.service_account("payments", account)
    made = Release(cluster, injector, tmp_path_factory.mktemp("release"))
    yield made
    made.stop()


def application():
    [deployment] = documents((KUBERNETES / "application.yaml").read_text())
    return pod_of(deployment["spec"]["template"])


def relay_of(pod):
    return [container["name"] for container in pod["spec"].get("initContainers", [])].count("credential-relay")


def test_the_examples_application_gets_the_relay(release):
    assert relay_of(release.injected(application())) == 1


def test_an_upgrade_leaves_the_injector_trusted(release):
    release.helm.upgrade(values=[*VALUES, {"webhook": {"timeoutSeconds": 9}}])
    release.lead_here()
    assert relay_of(release.injected(application())) == 1


def test_helm_test_makes_a_pod_that_is_injected(release):
    tested = one(release.helm.template(values=VALUES), "Pod")
    assert relay_of(release.injected(tested)) == 1


def test_every_right_is_used_and_none_is_missing(release):
    release.injected(application())
    role = [thing for thing in release.objects if thing["kind"] in ("Role", "ClusterRole")]
    rules = [rule for thing in role for rule in thing["rules"]]
    granted = {(verb, *rule["resources"], *rule["resourceNames"]) for rule in rules for verb in rule["verbs"]}
    asked = lambda: release.cluster.asked(release.account["namespace"], release.account["name"])
    wait_for(lambda: granted <= asked(), lambda: f"{granted - asked()} is used\n{release.log()}")
    assert asked() == granted


def test_alerts_and_dashboard_name_metrics_of_the_injector_that_exist(release):
    texts = "".join((CHART / "files" / name).read_text() for name in ("alerts.yaml", "dashboard.json"))
    told = release.metrics()
    named = {name for name in metric_names(texts) if name.startswith("credential_relay_injector_")}
    assert named and named <= metrics_of(told), named - metrics_of(told)
    outcomes = {word for words in re.findall(r'outcome=~"([a-z_|]+)"', texts) for word in words.split("|")}
    assert outcomes <= set(re.findall(r'outcome="([a-z_]+)"', told))
