"""Pods really run: as the API server gives them once the chart's injector has been asked, by pod_runner.py, with the relay's own image
and boto3 beside it.
"""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import moto_web_identity as oidc
import pod_spec
from harness import http_get, leaks
from moto_server import role, trust
from pod_containers import LocalImage
from pod_runner import PodRun
from pod_sources import RELAY, Cluster, admitted, call_of, on_this_machine, restricted
from release import Release
from sandbox import POD_IP, UPSTREAM
from vault_relay import ROLE, reader
from vault_server import VaultServer

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
RANDOM_USER = 1000650000


@pytest.fixture(scope="module")
def roles(module_aws, kube):
    """Of the test AWS: `payments` by way of the hub, `reports` for the service account of shop alone."""

    iam = module_aws.client("iam", **module_aws.operator)
    may = {"Action": "sts:GetCallerIdentity", "Resource": "*"}
    shop = oidc.trust(oidc.provider(iam, kube.issuer), "system:serviceaccount:shop:default")
    return {
        "payments": role(iam, "pod-payments", trust(module_aws.hub_role_arn), **may),
        "reports": role(iam, "pod-reports", shop, **may),
    }


@pytest.fixture(scope="module")
def namespaces(kube):
    """Those of the pods, which take restricted ones alone, with what a controller would put in each."""

    for name in ("by-hand", "shop", "openshift", "legacy"):
        kube.namespace(name, **RESTRICTED)
        kube.service_account(name, "default")
        root = {"metadata": {"name": "kube-root-ca.crt", "namespace": name}, "data": {"ca.crt": kube.authority}}
        kube.create({"apiVersion": "v1", "kind": "ConfigMap", **root})


@pytest.fixture
def run(kube, namespaces, module_aws, relay_image, application, tmp_path):
    """Runs pods. None of a pod's containers may say a secret, whatever became of it."""

    image, folders = application
    relay, app = LocalImage(relay_image), LocalImage(image, folders)
    images = {"credential-relay:0.1.0": relay, "registry.example/credential-relay:0.1.0": relay, "example/app": app}
    started, cluster = [], Cluster(kube)

    def start(namespace, pod, *others, create=kube.create, reaches=()):
        pod = admitted(create, namespace, pod, *others)
        running = PodRun(pod, images, cluster, tmp_path / pod["metadata"]["name"])
        started.append(running)
        for upstream in (module_aws.endpoint, *reaches):
            running.sandbox.reaches(int(upstream.rpartition(":")[2]))
        return running

    yield start
    secrets = [*module_aws.secrets(), *cluster.tokens]
    secrets += [path.read_text() for path in tmp_path.glob("*/volumes/*/token")]
    apps = [each for running in started for each in running.containers]
    secrets += filter(None, (each.spec.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN") for each in apps))
    for running in started:
        running.close()
    assert leaks([running.log() for running in started], secrets) == []


@pytest.fixture
def injecting(kube, namespaces, binary, tmp_path):
    """Installs the chart, and gives what makes a pod with its injector asked."""

    installed = []

    def install(values):
        release = Release(kube, binary, tmp_path / "release", values)
        installed.append(release)
        return lambda thing: release.injected(thing, dry_run=False) if thing["kind"] == "Pod" else kube.create(thing)

    yield install
    for release in installed:
        release.stop()


def values(aws, roles, **sidecar):
    """The chart's, for pods of this module: `payments` from a user's keys by two hops, `reports` by the service account."""

    hops = [{"role_arn": aws.hub_role_arn}, {"role_arn": roles["payments"]}]
    token_file = "/var/run/secrets/credential-relay/tokens/sts"
    return yaml.safe_load(on_this_machine(aws, "relay: { sts: { region: eu-west-1 } }")) | {
        "image": {"repository": "registry.example/credential-relay", "tag": "0.1.0"},
        "injector": {"drainSeconds": 0},
        "sidecar": {
            "tokens": [{"name": "sts", "audience": oidc.AUDIENCE, "expiration": "10m"}],
            "mounts": [{"secret": "base", "path": "/etc/base"}],
            **sidecar,
        },
        "profiles": {
            "payments": {"source": {"file": {"path": "/etc/base/base.json"}}, "chain": hops},
            "reports": {"source": {"web_identity": {"role_arn": roles["reports"], "token_file": token_file}}},
        },
        "policy": [{"namespaces": ["shop", "openshift"], "profiles": ["*"], "inline_tokens": True}],
    }


def app(name, aws, *does):
    """A container of the application, which does what its arguments name."""

    return {
        "name": name,
        "image": "example/app",
        "args": list(does),
        "env": call_of(aws, {"HOME": "/"}),
        "securityContext": restricted(65000),
    }


def pod(name, *containers, annotations=(), **spec):
    """One that asks for the relay where it has annotations; their prefix is the injector's."""

    asks = {
        "labels": {"credential-relay.io/inject": "true"},
        "annotations": {f"credential-relay.io/{key}": value for key, value in dict(annotations).items()},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **(asks if annotations else {})},
        "spec": {"containers": list(containers), "restartPolicy": "Never", **spec},
    }


def secret(aws, name):
    """The base user's keys, as the `file` source reads them."""

    keys = {"AccessKeyId": aws.base["access_key_id"], "SecretAccessKey": aws.base["secret_access_key"]}
    text = json.dumps({"Version": 1, **keys})
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"base.json": text}}


def did(container):
    """What an application did, by the word that named it."""

    return {word: value for line in container.log().splitlines() for word, value in json.loads(line).items()}


def test_the_example_pod(run, module_aws, roles):
    hub = f"{module_aws.hub_role_arn}\n          - role_arn: "
    text = (DEPLOY / "pod.yaml").read_text().replace("arn:aws:iam::111122223333:role/payments", hub + roles["payments"])
    config, example = yaml.safe_load_all(on_this_machine(module_aws, text))
    (container,) = example["spec"]["containers"]
    container["args"] = ["call", "sigterm", "call"]
    container["env"] = [each for each in container["env"] if each["name"] != "AWS_REGION"]
    container["env"] += call_of(module_aws, {"HOME": "/"})
    container["securityContext"]["runAsUser"] = 65000
    running = run("by-hand", example, config, secret(module_aws, "payments-base"))
    running.until(lambda: "call" in did(running["app"]), "the application has called")
    # The endpoint is on the loopback that the pod's containers share, and the kubelet's way in does not lead there.
    with pytest.raises(ConnectionRefusedError):
        running.sandbox.inside(lambda: http_get(f"http://{POD_IP}:9531/"))
    # As an operator runs commands in it: without saying where its configuration is.
    for words in (("status",), ("check", "--connect")):
        assert running[RELAY].runs[-1].runs_well(("/credential-relay", *words)), words
    running.delete()
    running.until_over()
    arn = f"arn:aws:sts::{module_aws.spoke_account}:assumed-role/pod-payments/payments-payments"
    assert did(running["app"]) == {"call": arn, "sigterm": "SIGTERM"}
    # The relay comes first and goes last.
    assert running.events == [
        ("started", RELAY),
        ("started up", RELAY),
        ("started", "app"),
        ("SIGTERM", "app"),
        ("ended", "app", 0),
        ("SIGTERM", RELAY),
        ("ended", RELAY, 0),
    ]


def test_two_containers_with_two_roles_and_a_job_that_ends(run, injecting, module_aws, roles):
    """An init container is served too; each container has its own profile and is refused the other's."""

    does = ["call", "ask=payments", "ask=reports", "files", "write=/here", "write=/var/run/secrets/credential-relay/token"]
    does.append("write=/tmp/here")
    profiles = {"prepares": "payments", "pays": "payments", "reports": "reports"}
    annotations = {"profile": "payments", "profile.reports": "reports", "inline-token.reports": "true"}
    containers = [app("pays", module_aws, *does), app("reports", module_aws, *does, "inline")]
    job = pod("job", *containers, annotations=annotations)
    job["spec"]["volumes"] = [{"name": "scratch", "emptyDir": {}}]
    for container in job["spec"]["containers"]:
        container["volumeMounts"] = [{"name": "scratch", "mountPath": "/tmp"}]
    job["spec"]["initContainers"] = [app("prepares", module_aws, "call")]
    create = injecting(values(module_aws, roles))
    running = run("shop", job, secret(module_aws, "base"), create=create)
    running.until_over()
    found = {name: did(running[name]) for name in profiles}
    for name, profile in profiles.items():
        assert f":assumed-role/pod-{profile}/" in found[name]["call"], found[name]
    assert found["reports"]["inline"] == found["reports"]["call"]
    tokens = {name: token_of(running, name) for name in profiles}
    assert len(set(tokens.values())) == len(profiles)
    for name, other in (("pays", "reports"), ("reports", "payments")):
        own = profiles[name]
        assert (found[name][f"ask={own}"], found[name][f"ask={other}"]) == (200, 401)
        readable = found[name]["files"]
        assert [path for path, content in readable.items() if content in tokens.values()] == [
            path for path, content in readable.items() if content == tokens[name]
        ]
        assert tokens[name] in readable.values()
        assert found[name]["write=/here"] == found[name]["write=/var/run/secrets/credential-relay/token"]
        assert found[name]["write=/here"] == "Read-only file system"
        assert found[name]["write=/tmp/here"] == "written"
    # It ended by itself, and the relay only after it.
    assert running.events[:5] == [
        ("started", RELAY),
        ("started up", RELAY),
        ("started", "prepares"),
        ("ended", "prepares", 0),
        ("started", "pays"),
    ]
    assert running.events[-2:] == [("SIGTERM", RELAY), ("ended", RELAY, 0)]
    assert {("ended", "pays", 0), ("ended", "reports", 0)} <= set(running.events[:-2])


def token_of(running, name):
    """The hash of a container's access token. The pod is over, and its memory is still there."""

    (mount,) = (each for each in running[name].spec.mounts if each.volume.startswith(f"{RELAY}-access-"))
    return hashlib.sha256((running.volumes.path(mount) / "token").read_bytes()).hexdigest()


def test_the_ways_beside_the_endpoint_by_a_config_map(run, injecting, module_aws, roles):
    """The example of docs/delivery.md, with this AWS's base and roles: a file for the relay's own user, and the metadata service."""

    section = (DEPLOY.parent / "docs" / "delivery.md").read_text().partition("## With the injector\n")[2]
    relay = yaml.safe_load(on_this_machine(module_aws, section.partition("```yaml\n")[2].partition("```")[0]))
    given = values(module_aws, roles)
    relay["profiles"]["legacy"] |= given["profiles"]["payments"]
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "legacy"}, "data": {"config.yaml": yaml.safe_dump(relay)}}
    given["policy"][0] |= {"namespaces": ["legacy"], "config_maps": ["legacy"]}
    file = "/var/run/secrets/credential-relay/credentials"
    # What the page has in the environment of the command alone, which the injector does not look at.
    assert f"AWS_SHARED_CREDENTIALS_FILE={file}" in section and "SERVICE_ENDPOINT=http://127.0.0.1:9533" in section
    reads = app("reads", module_aws, f"shared={file}", "metadata=http://127.0.0.1:9533")
    reads["securityContext"] = restricted(65532)
    other = app("other", module_aws, "call", "files")
    made = pod("legacy", reads, other, annotations={"config": "legacy", "profile": "legacy"})
    running = run("legacy", made, config, secret(module_aws, "base"), create=injecting(given))
    running.until_over()
    found, others = did(running["reads"]), did(running["other"])
    for by in (*found.values(), others["call"]):
        assert ":assumed-role/pod-payments/" in by
    assert len(found) == 2 and file not in others["files"] and f"{file.rpartition('/')[0]}/token" in others["files"]


def test_a_random_user_a_mesh_before_it_and_a_relay_that_dies(run, injecting, module_aws, roles):
    """As OpenShift runs a pod: one user of the namespace's range for all, which no image knows, and its group on volumes."""

    mesh = app("istio-proxy", module_aws, "sigterm") | {"restartPolicy": "Always"}
    annotations = {"profile": "payments"}
    does = ["call", "sigterm", "call"]
    plain = pod("plain", app("app", module_aws, *does), annotations=annotations, initContainers=[mesh])
    for container in (mesh, *plain["spec"]["containers"]):
        del container["securityContext"]["runAsUser"]
    plain["spec"]["securityContext"] = {"runAsUser": RANDOM_USER, "fsGroup": RANDOM_USER}
    create = injecting(values(module_aws, roles, run_as="pod"))
    running = run("openshift", plain, secret(module_aws, "base"), create=create)
    running.until(lambda: "call" in did(running["app"]), "the application has called")
    running[RELAY].runs[-1].kill()
    running.until(lambda: len(running[RELAY].runs) == 2 and running[RELAY].started_up, "the relay is back")
    running.delete()
    running.until_over()
    calls = [json.loads(line).get("call") for line in running["app"].log().splitlines()]
    assert [":assumed-role/pod-payments/" in arn for arn in calls if arn] == [True, True]
    assert running.events == [
        ("started", "istio-proxy"),
        ("started", RELAY),
        ("started up", RELAY),
        ("started", "app"),
        ("ended", RELAY, 137),
        ("started", RELAY),
        ("started up", RELAY),
        ("SIGTERM", "app"),
        ("ended", "app", 0),
        ("SIGTERM", RELAY),
        ("ended", RELAY, 0),
        ("SIGTERM", "istio-proxy"),
        ("ended", "istio-proxy", 0),
    ]


@pytest.fixture
def vault(kube, namespaces, module_aws, tmp_path):
    """Gives an application of shop's its role, once the API server says that it is that service account's."""

    kube.namespace("vault")
    kube.service_account("vault", "reviewer")
    kube.bind("system:auth-delegator", "vault", "reviewer")
    judge = SimpleNamespace(address=kube.address, authority=kube.authority, reviewer=kube.token("vault", "reviewer"))
    bound = {"bound_service_account_names": ["default"], "bound_service_account_namespaces": ["shop"], "audience": "vault"}
    folder = tmp_path / "vault"
    folder.mkdir()
    with VaultServer(folder) as server:
        server.mount_kubernetes(judge)
        server.mount_aws(module_aws)
        server.aws_role("payments", "assumed_role", role_arns=[reader(module_aws)])
        server.policy("payments", {"aws/creds/payments": ["update"]})
        server.api("POST", "auth/kubernetes/role/payments", {**bound, "token_policies": ["payments"], "token_ttl": "1h"})
        yield server


def test_a_service_account_that_vault_has_the_api_server_judge(run, injecting, vault, module_aws, roles):
    given = values(module_aws, roles)
    login = {"role": "payments", "token_file": "/var/run/secrets/credential-relay/tokens/vault"}
    given["relay"]["vault"] = {"address": vault.address.replace("127.0.0.1", UPSTREAM), "auth": {"kubernetes": login}}
    given["sidecar"] = {
        "tokens": [{"name": "vault", "audience": "vault", "expiration": "10m"}],
        # What another namespace's pods need, and this one has not.
        "mounts": [{"secret": "of-others", "path": "/etc/of-others"}],
    }
    given["profiles"] = {"payments": {"source": {"vault": {"role": "payments", "credential_type": "assumed_role"}}}}
    asks = pod("from-vault", app("app", module_aws, "call"), annotations={"profile": "payments"})
    running = run("shop", asks, create=injecting(given), reaches=[vault.address])
    running.until_over()
    assert f":assumed-role/{ROLE}/" in did(running["app"])["call"]
    # A native sidecar gives its login back when the application is over.
    assert [line["path"] for line in vault.journal("/v1/auth/")] == ["/v1/auth/kubernetes/login", "/v1/auth/token/revoke-self"]


@pytest.mark.parametrize(
    "where, field",
    [
        ("spec", {"hostNetwork": True}),
        ("spec", {"hostAliases": [{"ip": "10.0.0.1"}]}),
        ("container", {"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]}),
        ("container", {"lifecycle": {"preStop": {"exec": {"command": ["true"]}}}}),
        ("container", {"securityContext": {"privileged": True}}),
        ("container", {"volumeMounts": [{"name": "a", "mountPath": "/a", "mountPropagation": "Bidirectional"}]}),
    ],
)
def test_what_the_runner_does_not_do_it_says(where, field):
    """A pod is not run as something else than what it says."""

    container = {"name": "app", "image": "example/app", **(field if where == "container" else {})}
    given = pod("plain", container, **(field if where == "spec" else {}))
    with pytest.raises(pod_spec.Unsupported):
        pod_spec.read(given, "10.0.0.1", None)


def test_variables_in_values():
    """As Kubernetes documents it: what is not known stays, and a $ is escaped by another."""

    known = {"A": "1"}
    said = {"$(A)": "1", "$(B)": "$(B)", "$$(A)": "$(A)", "$$$(A)": "$1", "$A $": "$A $", "a: $$b": "a: $b", "$(A": "$(A"}
    assert {text: pod_spec.expanded(text, known) for text in said} == said


def test_variables_from_elsewhere():
    class Knows:
        def keys(self, kind, namespace, name):
            return {"A": f"{kind} {namespace}/{name}", "B": "b"}

    reference = lambda kind: {"name": "x", "key": "A"} if kind.endswith("KeyRef") else {"fieldPath": "metadata.labels['none']"}
    container = {"name": "app", "image": "example/app", "envFrom": [{"prefix": "MORE_", "configMapRef": {"name": "c"}}]}
    container["env"] = [{"name": f"OF_{kind}", "valueFrom": {kind: reference(kind)}} for kind in ("secretKeyRef", "fieldRef")]
    container["env"].append({"name": "BOTH", "value": "$(MORE_B), $(OF_secretKeyRef)"})
    given = pod("plain", container)
    given["metadata"]["namespace"] = "shop"
    assert pod_spec.read(given, "10.0.0.1", Knows()).containers[0].environment == {
        "MORE_A": "configMap shop/c",
        "MORE_B": "b",
        "OF_secretKeyRef": "secret shop/x",
        "OF_fieldRef": "",
        "BOTH": "b, secret shop/x",
    }
