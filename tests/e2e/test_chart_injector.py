"""The chart with the injector's program: it takes every configuration that the chart makes, and with the rights of the release alone
it puts the relay into pods.
"""

import re
import subprocess
import textwrap
from base64 import b64decode
from pathlib import Path

import pytest
import yaml

from harness import environment, leaks, wait_for
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
from release import Release

KUBERNETES = ROOT / "deploy" / "kubernetes"
VALUES = [LEAST, KUBERNETES / "values.yaml", EXAMPLES / "values" / "self-check.yaml", {"injector": {"drainSeconds": 0}}]


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


@pytest.fixture(scope="module")
def release(cluster, injector, tmp_path_factory):
    cluster.namespace("payments", **{"pod-security.kubernetes.io/enforce": "restricted"})
    for account in ("default", "payments"):
        cluster.service_account("payments", account)
    made = Release(cluster, injector, tmp_path_factory.mktemp("release"), *VALUES)
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


def test_a_label_that_says_neither_yes_nor_no_is_told(release):
    pod = application()
    label = "credential-relay.io/inject"
    for odd in ("True", "yes", ""):
        pod["metadata"]["labels"][label] = odd
        with pytest.raises(AssertionError, match=f"the label {label}: .*; true or false was expected, in lower case"):
            release.injected(pod)
    pod["metadata"]["labels"][label] = "false"
    assert relay_of(release.injected(pod)) == 0


def test_keys_that_leaked_are_not_trusted_once_their_secret_was_emptied(release):
    """With the rights of the chart's defaults, as docs/certificates.md has it."""

    webhook, secret = one(release.objects, "MutatingWebhookConfiguration"), one(release.objects, "Secret")
    trusted = lambda: release.cluster.get(webhook)["webhooks"][0]["clientConfig"]["caBundle"]
    before = trusted()
    release.scaled_to_nothing()
    assert "-p '{\"data\":null}'" in (ROOT / "docs" / "certificates.md").read_text()
    release.cluster.patch(secret, {"data": None})
    assert "data" not in release.cluster.get(secret)
    release.started_again()
    assert relay_of(release.injected(application())) == 1
    certificates = lambda bundle: set(b64decode(bundle).decode().split("-----END CERTIFICATE-----\n")) - {""}
    assert len(certificates(trusted())) == 1 and not certificates(trusted()) & certificates(before)


def test_every_right_is_used_and_none_is_missing(release):
    release.injected(application())
    role = [thing for thing in release.objects if thing["kind"] in ("Role", "ClusterRole")]
    rules = [rule for thing in role for rule in thing["rules"]]
    # What is made has its name in no rule.
    granted = {
        (verb, *rule["resources"], *rule.get("resourceNames", [release.lease["metadata"]["name"]]))
        for rule in rules
        for verb in rule["verbs"]
    }
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
