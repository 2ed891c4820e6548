"""The Helm chart in a real API server, which checks every object as strictly as it can, by both major versions of Helm. No
controller runs there, so Deployments make no pods: what is told is what the server thinks of the objects, of the rights that they
give, and of pods while no injector answers.
"""

import copy
import json
import re
from base64 import b64encode

import pytest

from harness import wait_for
from helm import (
    COMBINATIONS,
    EXAMPLES,
    LEAST,
    ROOT,
    Helm,
    HelmFailed,
    configuration,
    metric_names,
    metrics_of,
    one,
    pod_of,
)
from identities import Authority
from kube_server import RBAC, Refused

INJECTED = "credential-relay.io/inject"
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module", params=[3, 4], ids=["helm3", "helm4"])
def installer(request, cluster, tmp_path_factory):
    """Each Helm, with the API server."""

    return Helm(tmp_path_factory.mktemp("installer"), request.param, cluster)


@pytest.fixture
def installed(installer):
    """A release of the default values, with one profile, gone after the test."""

    values = [LEAST, EXAMPLES / "values" / "vault.yaml"]
    installer.install(values=values)
    yield values
    installer.uninstall()


# What the API server says of it


# Both render the same, so one of them with everything is enough.
EVERY = [(3, name) for name in COMBINATIONS] + [(4, "nothing"), (4, "all")]


@pytest.mark.parametrize(
    ("installer", "combination"), EVERY, indirect=["installer"], ids=[f"helm{v}-{name}" for v, name in EVERY]
)
def test_every_object_is_accepted_and_nothing_stays(installer, cluster, combination):
    values = [LEAST, *COMBINATIONS[combination]]
    namespace = f"{combination}-{installer.version}"
    where = {"namespace": namespace, "values": values}
    installer.install(**where)
    objects = installer.manifest(namespace=namespace)
    for thing in objects:
        assert cluster.exists(thing, default_namespace=namespace), thing["metadata"]
    installer.upgrade(**where)
    installer.uninstall(namespace=namespace)
    for thing in objects:
        assert not cluster.exists(thing, default_namespace=namespace), thing["metadata"]
        # Helm itself does not ask for it: a field that is not known, or stands where none is.
        cluster.create(thing, dry_run=True, default_namespace=namespace)


def test_alerts_that_nothing_can_raise_are_told_at_the_install(installer):
    words = "monitoring.podMonitor is off"
    monitoring = EXAMPLES / "values" / "monitoring.yaml"
    assert words in installer.notes(values=[LEAST, monitoring, {"monitoring": {"podMonitor": {"enabled": False}}}])
    assert words not in installer.notes(values=[LEAST, monitoring])


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_the_injectors_pod_is_restricted(cluster, combination, tmp_path):
    """As the API server's own Pod Security says."""

    namespace = f"restricted-{combination}"
    level = "privileged" if combination == "eks-overlay" else "restricted"
    cluster.namespace(namespace, **{"pod-security.kubernetes.io/enforce": level})
    objects = Helm(tmp_path, 3).template(namespace=namespace, values=[LEAST, *COMBINATIONS[combination]])
    template = one(objects, "Deployment")["spec"]["template"]
    cluster.service_account(namespace, template["spec"]["serviceAccountName"])
    made = cluster.create(pod_of(template), dry_run=True, default_namespace=namespace)
    assert made["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
    assert made["metadata"]["labels"].get(INJECTED) is None
    token = [volume for volume in made["spec"]["volumes"] if volume["name"].startswith("kube-api-access")]
    # Whoever needs no API server cannot ask it.
    assert bool(token) == ("self_managed" in configuration(objects)["certificates"])


def test_releases_of_one_name_stand_beside_each_other(installer, cluster):
    long = "a" * 53
    for namespace in ("first", "second"):
        installer.install(name=long, namespace=f"{namespace}-{installer.version}", values=[LEAST])
    try:
        for namespace in ("first", "second"):
            where = f"{namespace}-{installer.version}"
            objects = installer.manifest(name=long, namespace=where)
            webhook = one(objects, "MutatingWebhookConfiguration")
            service = webhook["webhooks"][0]["clientConfig"]["service"]
            assert service["namespace"] == where and len(service["name"]) <= 63
            assert configuration(objects)["certificates"]["self_managed"]["webhook"] == webhook["metadata"]["name"]
    finally:
        for namespace in ("first", "second"):
            installer.uninstall(name=long, namespace=f"{namespace}-{installer.version}")


# What an upgrade leaves alone


class Kept:
    """What the injector writes into objects of the chart, with the rights that it has."""

    def __init__(self, cluster, objects, folder):
        self._cluster = cluster
        self.webhook, self.secret = (one(objects, kind) for kind in ("MutatingWebhookConfiguration", "Secret"))
        self._bundle = b64encode(Authority(folder).authority.read_bytes()).decode()
        account = injectors_token(cluster, objects)
        called = {"name": self.webhook["webhooks"][0]["name"], "clientConfig": {"caBundle": self._bundle}}
        cluster.patch(self.webhook, {"webhooks": [called]}, account, kind="application/strategic-merge-patch+json")
        cluster.patch(self.secret, {"data": {"tls.crt": self._bundle}}, account)

    def is_there(self):
        webhook, secret = map(self._cluster.get, (self.webhook, self.secret))
        assert webhook["webhooks"][0]["clientConfig"]["caBundle"] == self._bundle
        assert secret["data"] == {"tls.crt": self._bundle}
        return webhook


MORE = {"injector": {"replicas": 3}, "webhook": {"timeoutSeconds": 5}, "commonLabels": {"team": "platform"}}


def test_an_upgrade_leaves_what_the_injector_keeps(installer, cluster, installed, tmp_path):
    """The caBundle and the certificates in their Secret, whether Helm merges (3) or the server does (4)."""

    kept = Kept(cluster, installer.manifest(), tmp_path)
    installer.upgrade(values=[*installed, MORE])
    webhook = kept.is_there()
    assert webhook["webhooks"][0]["timeoutSeconds"] == 5 and webhook["metadata"]["labels"]["team"] == "platform"
    installer.run("rollback", "credential-relay", "1", "--namespace", "credential-relay")
    assert kept.is_there()["webhooks"][0]["timeoutSeconds"] == 10


@pytest.mark.parametrize("server_side", ["auto", "true"])
def test_helm_4_takes_a_release_of_helm_3_over(cluster, tmp_path, server_side):
    three, four = (Helm(tmp_path / str(version), version, cluster) for version in (3, 4))
    three.install(values=[LEAST])
    try:
        kept = Kept(cluster, three.manifest(), tmp_path)
        four.upgrade("--server-side", server_side, values=[LEAST, MORE])
        assert kept.is_there()["webhooks"][0]["timeoutSeconds"] == 5
    finally:
        four.uninstall()


def test_applying_again_leaves_what_the_injector_keeps(cluster, tmp_path):
    """As GitOps does it: the rendered objects, by the server, and whoever else holds a field of theirs loses it."""

    helm = Helm(tmp_path, 3)
    cluster.namespace("by-gitops")
    where = {"namespace": "by-gitops", "name": "gitops"}
    objects = helm.template(values=[LEAST], **where)
    apply(cluster, objects)
    try:
        kept = Kept(cluster, objects, tmp_path)
        apply(cluster, objects)
        assert kept.is_there()["webhooks"][0]["timeoutSeconds"] == 10
        apply(cluster, helm.template(values=[LEAST, MORE], **where))
        assert kept.is_there()["webhooks"][0]["timeoutSeconds"] == 5
    finally:
        for thing in objects:
            cluster.delete(thing)


def apply(cluster, objects):
    for thing in objects:
        path = cluster.path_of(thing)[0]
        cluster.call(
            "PATCH",
            f"{path}?fieldManager=gitops&force=true&fieldValidation=Strict",
            thing,
            kind="application/apply-patch+yaml",
        )


def test_a_bundle_of_ones_own_is_kept_up_to_date(installer, cluster, tmp_path):
    bundles = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        bundles.append(b64encode(Authority(tmp_path / name).authority.read_bytes()).decode())
    values = lambda bundle: [LEAST, {"certificates": {"mode": "secret", "secret": {"name": "tls", "caBundle": bundle}}}]
    installer.install(values=values(bundles[0]))
    try:
        webhook = one(installer.manifest(), "MutatingWebhookConfiguration")
        trusted = lambda: cluster.get(webhook)["webhooks"][0]["clientConfig"].get("caBundle")
        assert trusted() == bundles[0]
        installer.upgrade(values=values(bundles[1]))
        assert trusted() == bundles[1]
        # A chart that has it no more takes it away: it is not another's to keep.
        installer.upgrade(values=values(""))
        assert trusted() is None
    finally:
        installer.uninstall()


def test_from_self_managed_to_a_bundle_of_ones_own(installer, cluster, installed, tmp_path):
    """Helm 4 asks before it takes the caBundle from the injector: docs/install.md says what to answer."""

    webhook = Kept(cluster, installer.manifest(), tmp_path).webhook
    (tmp_path / "own").mkdir()
    bundle = b64encode(Authority(tmp_path / "own").authority.read_bytes()).decode()
    values = [*installed, {"certificates": {"mode": "secret", "secret": {"name": "tls", "caBundle": bundle}}}]
    if installer.version == 4:
        with pytest.raises(HelmFailed, match="conflict.*clientConfig.caBundle"):
            installer.upgrade(values=values)
        installer.upgrade("--force-conflicts", values=values)
    else:
        installer.upgrade(values=values)
    assert cluster.get(webhook)["webhooks"][0]["clientConfig"]["caBundle"] == bundle
    # And never again.
    installer.upgrade(values=[*values, MORE])
    assert cluster.get(webhook)["webhooks"][0]["clientConfig"]["caBundle"] == bundle


# The least privilege


def injectors_token(cluster, objects):
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    token = cluster.token(one(objects, "Deployment")["metadata"]["namespace"], pod["serviceAccountName"])
    # The API server learns of the account's rights a moment after they are given: by its Role, and by its ClusterRole.
    for kind in ("Secret", "MutatingWebhookConfiguration"):
        path, _ = cluster.path_of(one(objects, kind))
        wait_for(lambda path=path: cluster.may("GET", path, token), f"the injector may read {path}")
    return token


def test_the_injector_may_do_what_it_does_and_nothing_else(installer, cluster, installed):
    objects = installer.manifest()
    token = injectors_token(cluster, objects)
    own = {kind: one(objects, kind) for kind in ("Secret", "MutatingWebhookConfiguration")}
    lease = own["Lease"] = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": configuration(objects)["certificates"]["self_managed"]["lease"],
            "namespace": own["Secret"]["metadata"]["namespace"],
        },
    }
    # Here it is made by the injector.
    cluster.call("POST", cluster.path_of(lease)[1], lease, token)
    for thing in own.values():
        assert cluster.call("GET", cluster.path_of(thing)[0], token=token)["metadata"]["name"]
        cluster.patch(thing, {"metadata": {"annotations": {"seen": "true"}}}, token)
    for thing in own.values():
        path, made = cluster.path_of(thing)
        other = copy.deepcopy(thing)
        other["metadata"]["name"] = "another"
        for method, where, body in [
            ("GET", made, None),
            *([] if thing is lease else [("POST", made, other)]),
            ("DELETE", path, None),
            ("PUT", path, thing),
            ("GET", f"{made}/another", None),
        ]:
            forbidden(cluster, method, where, body, token)
    cluster.delete(lease)
    for path in ("/api/v1/pods", "/api/v1/configmaps", "/api/v1/namespaces/default/secrets", f"{RBAC}/clusterroles"):
        forbidden(cluster, "GET", path, None, token)


def forbidden(cluster, method, path, body, token):
    with pytest.raises(Refused) as refused:
        cluster.call(method, path, body, token)
    assert refused.value.status == 403, refused.value


# While no injector answers


def test_only_pods_that_ask_wait_for_the_injector(installer, cluster, installed):
    namespace = f"applications-{installer.version}"
    cluster.namespace(namespace)
    cluster.service_account(namespace, "default")
    cluster.service_account("credential-relay", "default")
    # The API server learns of a webhook a moment after it is made.
    refused = wait_for(lambda: refusal(cluster, application(namespace, {INJECTED: "true"})), "pods that ask are refused")
    assert refused.status == 500 and 'failed calling webhook "inject.credential-relay.io"' in str(refused)
    for labels in ({}, {INJECTED: "false"}):
        assert cluster.create(application(namespace, labels), dry_run=True)
    # What is neither yes nor no is the injector's to refuse.
    with pytest.raises(Refused, match="failed calling webhook"):
        cluster.create(application(namespace, {INJECTED: "True"}), dry_run=True)
    # Its own namespace is never asked about, so that it can always come back.
    assert cluster.create(application("credential-relay", {INJECTED: "true"}), dry_run=True)
    injector = pod_of(one(installer.manifest(), "Deployment")["spec"]["template"])
    assert cluster.create(injector, dry_run=True, default_namespace="credential-relay")
    cluster.call("DELETE", "/api/v1/namespaces/credential-relay/serviceaccounts/default")


def application(namespace, labels):
    container = {"name": "app", "image": "example/app"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app", "namespace": namespace, "labels": labels},
        "spec": {"containers": [container]},
    }


def test_uninstalling_frees_pods_that_ask(installer, cluster):
    installer.install(values=[LEAST])
    installer.uninstall()
    namespace = f"freed-{installer.version}"
    cluster.namespace(namespace)
    cluster.service_account(namespace, "default")
    asks = application(namespace, {INJECTED: "true"})
    # The API server learns a moment later that the webhook is gone.
    wait_for(lambda: created(cluster, asks), lambda: f"pods that ask are free: {refusal(cluster, asks)}")


# Metrics


@pytest.fixture(scope="module")
def without_injectors(cluster, tmp_path_factory):
    """Pods that asked while no injector answered, with either failurePolicy."""

    installer = Helm(tmp_path_factory.mktemp("unanswered"), 3, cluster)
    cluster.namespace("unanswered")
    cluster.service_account("unanswered", "default")
    asks = application("unanswered", {INJECTED: "true"})
    installer.install(values=[LEAST])
    try:
        wait_for(lambda: not created(cluster, asks), "pods are refused")
        installer.upgrade(values=[LEAST, {"webhook": {"failurePolicy": "Ignore"}}])
        wait_for(lambda: created(cluster, asks), "pods start without credentials")
    finally:
        installer.uninstall()


def created(cluster, pod):
    return refusal(cluster, pod) is None


def refusal(cluster, pod):
    """Why the API server would not make it, if it would not."""

    try:
        cluster.create(pod, dry_run=True)
    except Refused as refused:
        return refused
    return None


def test_alerts_and_dashboard_name_metrics_that_exist(helm, cluster, without_injectors, start_relay, calm_aws):
    """What a relay says of itself, its README (for what only another source brings), and the API server."""

    objects = helm.template(values=[LEAST, EXAMPLES / "values" / "monitoring.yaml"])
    rules = [rule for group in one(objects, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    dashboard = json.loads(one(objects, "ConfigMap", "credential-relay-dashboard")["data"]["credential-relay.json"])
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    named = metric_names("\n".join([rule["expr"] for rule in rules] + panels + [json.dumps(dashboard["templating"])]))
    # Those of the injector are in test_chart_injector.py.
    named = {name for name in named if not name.startswith("credential_relay_injector_")}
    relay = start_relay(calm_aws).ready()
    said = relay.ask_admin("/metrics")[2]
    known = metrics_of(said)
    known |= {
        f"credential_relay_{name}"
        for name in re.findall(r"`([a-z_]+)`", README.split("Metrics, all with", 1)[1].split("## ", 1)[0])
    }
    ours = {name for name in named if name.startswith("credential_relay_")}
    assert ours and ours <= known, ours - known
    theirs = {name for name in named if name.startswith("apiserver_")}
    known = metric_names(cluster.metrics())
    assert theirs and theirs <= known, theirs - known
    # And the labels that a dashboard or an alert asks for.
    decisions = set(re.findall(r'decision="([a-z_]+)"', said))
    asked = {
        word
        for rule in rules
        for words in re.findall(r'decision=~"([a-z_|]+)"', rule["expr"])
        for word in words.split("|")
    }
    assert asked <= decisions, asked - decisions
