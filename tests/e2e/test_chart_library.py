"""The sidecar without the webhook: the library chart in an example of a team's own chart, and the plain manifests."""

import subprocess

import pytest
import yaml

from harness import environment
from helm import ROOT, Helm, HelmFailed, documents, one, plain_manifest, pod_of


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example chart, its dependency fetched beside a copy of it."""

    folder = tmp_path_factory.mktemp("example")
    for name in ("library", "examples"):
        subprocess.run(["cp", "-r", ROOT / "deploy" / name, folder / name], check=True)
    Helm(folder / "helm", 3).run("dependency", "update", folder / "examples" / "chart", "--skip-refresh")
    return folder / "examples" / "chart"


def by_hand(repository="registry.example/credential-relay", **more):
    return {"relay": {"image": {"repository": repository}, **more}}


def test_the_library_makes_a_pod_that_runs_restricted(helm, cluster, example, binary, tmp_path):
    namespace = f"by-hand-{helm.version}"
    cluster.namespace(namespace, **{"pod-security.kubernetes.io/enforce": "restricted"})
    cluster.service_account(namespace, "default")
    objects = helm.template(chart=example, name="payments", namespace=namespace, values=[by_hand()])
    pod = cluster.create(
        pod_of(one(objects, "Deployment")["spec"]["template"]), dry_run=True, default_namespace=namespace
    )["spec"]
    sidecar, migrate = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always" and sidecar["startupProbe"]["failureThreshold"] == 300
    text = variables(sidecar)["CREDENTIAL_RELAY_CONFIG_TEXT"].replace("$$", "$")
    access = {name: profile["access"] for name, profile in yaml.safe_load(text)["profiles"].items()}
    folders = mounts(sidecar)
    containers = {"migrate": migrate, **{container["name"]: container for container in pod["containers"]}}
    for name, container in containers.items():
        profile = variables(container)["AWS_CONTAINER_CREDENTIALS_FULL_URI"].rsplit("/", 1)[1]
        files = [access[profile]["token_file"], *access[profile].get("more_token_files", [])]
        # The file that the relay writes is the one that this container reads, and no other does.
        volume, read_only = mounts(container)["/var/run/secrets/credential-relay"]
        assert read_only and f"/run/credential-relay/access/{name}/token" in files
        assert folders[f"/run/credential-relay/access/{name}"] == (volume, False)
        others = [mounts(other) for other in containers.values() if other is not container]
        assert all(volume not in {mounted for mounted, _ in other.values()} for other in others)
    assert variables(containers["app"])["NO_PROXY"] == ".example.internal,127.0.0.1,localhost"
    file = tmp_path / "relay.yaml"
    file.write_text(text)
    accepted(binary, "check", "--config", file, home=tmp_path, POD_NAME="pod")


def variables(container):
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def mounts(container):
    return {mount["mountPath"]: (mount["name"], mount.get("readOnly", False)) for mount in container["volumeMounts"]}


def accepted(binary, *arguments, home, **variables):
    ran = subprocess.run(
        [binary, *arguments], env=environment(home, **variables), capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (by_hand(""), "image.repository is missing"),
        (
            by_hand(containers={"app": "paymants"}),
            r'containers.app: there is no profile "paymants" in configuration.profiles; there is payments, reports',
        ),
        (by_hand(containers={"app": None}), "containers.app is missing"),
        (
            by_hand(configuration={"profiles": {"payments": {"access": {"token_file": "/x"}}}}),
            "configuration.profiles.payments.access: leave it out",
        ),
        (by_hand(configuration={"profiles": None}), "configuration.profiles is missing"),
        (by_hand(configuration={"admin": {"listen": "127.0.0.1:9532"}}), "the kubelet asks at the pod's own address"),
        (by_hand(configuration={"admin": {"listen": "0.0.0.0:0"}}), "name a port"),
    ],
    ids=["image", "profile", "container", "access", "profiles", "loopback", "port"],
)
def test_the_library_says_what_is_wrong(helm, example, values, words):
    with pytest.raises(HelmFailed, match=words):
        helm.text(chart=example, values=[values])


def sidecar(helm, example, **settings):
    deployment = one(helm.template(chart=example, values=[by_hand(**settings)]), "Deployment")
    return deployment["spec"]["template"]["spec"]["initContainers"][0]


def test_the_kubelet_asks_where_the_relay_listens(helm, example):
    made = sidecar(helm, example, configuration={"admin": {"listen": "0.0.0.0:9600"}})
    assert made["ports"] == [{"name": "relay-admin", "containerPort": 9600, "protocol": "TCP"}]
    assert made["startupProbe"]["httpGet"] == {"path": "/startupz", "port": "relay-admin"}
    assert made["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "relay-admin"}


def test_behind_a_meshs_proxy_the_probes_are_programs(helm, example):
    made = sidecar(helm, example, execProbes=True, configuration={"admin": {"listen": "127.0.0.1:9532"}})
    for kind, name in (("startupProbe", "startup"), ("livenessProbe", "live")):
        assert made[kind]["exec"]["command"] == ["/credential-relay", "healthcheck", "--probe", name]
        assert "httpGet" not in made[kind]


SIDECAR_ALONE = """
{{ $relay := dict "settings" .Values.relay }}
kind: Parts
containers:
{{ include "credential-relay.sidecar" $relay }}
volumes:
{{ include "credential-relay.volumes" $relay }}
"""


def test_the_librarys_names_fit_and_dollars_stay(helm, example):
    name, settings = "c" * 63, by_hand()
    settings["relay"]["containers"] = {name: "payments", "c" * 62: "payments"}
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/${aws:username}/$(X)/$$"}],
    }
    settings["relay"]["configuration"] = {
        "profiles": {"reports": {"chain": [{"role_arn": "arn:aws:iam::111122223333:role/r", "policy": policy}]}}
    }
    template = example / "templates" / "deployment.yaml"
    kept = template.read_text()
    try:
        template.write_text(SIDECAR_ALONE)
        made = helm.template(chart=example, values=[settings])[0]
    finally:
        template.write_text(kept)
    names = [volume["name"] for volume in made["volumes"]]
    assert all(len(name) <= 63 for name in names) and len(set(names)) == len(names)
    text = variables(made["containers"][0])["CREDENTIAL_RELAY_CONFIG_TEXT"]
    assert "arn:aws:s3:::b/$${aws:username}/$$(X)/$$$$" in text


# The plain manifests


KUBERNETES = ROOT / "deploy" / "kubernetes"


def test_the_plain_manifest_is_what_the_chart_says(tmp_path):
    """Where it is not: `python3 tests/e2e/helm.py` writes it anew."""

    assert (KUBERNETES / "injector.yaml").read_text() == plain_manifest(tmp_path)


def test_the_plain_manifests_are_accepted(cluster):
    cluster.namespace("payments", **{"pod-security.kubernetes.io/enforce": "restricted"})
    for thing in documents((KUBERNETES / "injector.yaml").read_text()):
        cluster.create(thing)
    [deployment] = documents((KUBERNETES / "application.yaml").read_text())
    cluster.create(deployment, dry_run=True)
    # Without what would have the webhook called, which nobody answers here.
    template = deployment["spec"]["template"]
    del template["metadata"]["labels"]["credential-relay.io/inject"]
    cluster.service_account("payments", "default")
    cluster.create(pod_of(template), dry_run=True, default_namespace="payments")
