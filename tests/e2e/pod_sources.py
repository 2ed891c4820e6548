"""Where the pods come from that pod_runner.py runs: what they are made of, and who made them what they are."""

import base64
import copy
import json

import yaml

from sandbox import UPSTREAM

RELAY = "credential-relay"


class Cluster:
    """What a kubelet asks the API server for."""

    def __init__(self, kube):
        self._kube = kube
        self.tokens = []
        """All service-account tokens that it was given, for the search for leaks."""

    def keys(self, kind, namespace, name):
        """A ConfigMap's or a Secret's texts, by key."""

        found = self._kube.read({"configMap": "configmaps", "secret": "secrets"}[kind], namespace, name)
        data = found.get("data", {})
        return data if kind == "configMap" else {key: base64.b64decode(value).decode() for key, value in data.items()}

    def token(self, pod, audiences, seconds):
        """A service-account token that is bound to the pod."""

        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod.name, "uid": pod.uid}
        self.tokens.append(self._kube.token(pod.namespace, pod.service_account, audiences, seconds, bound))
        return self.tokens[-1]


def admitted(kube, namespace, pod, *others):
    """Gives the API server objects, the Pod last, and gives the Pod as it then is there: defaults, changes by webhooks and all.

    The namespace takes restricted pods alone.
    """

    for each in (*others, pod):
        each = copy.deepcopy(each)
        each["metadata"]["namespace"] = namespace
        made = kube.create(each)
    return made


def on_this_machine(aws, text):
    """A configuration's text with the test AWS's region, reached as a pod reaches it, in the place of its own."""

    endpoint = aws.endpoint.replace("127.0.0.1", UPSTREAM)
    return text.replace("{ region: eu-west-1 }", f"{{ region: {aws.region}, endpoint: {json.dumps(endpoint)} }}")


def call_of(aws, variables):
    """The variables of a container that calls the test AWS, in the place of a region's own."""

    given = {**variables, "AWS_ENDPOINT_URL_STS": aws.endpoint.replace("127.0.0.1", UPSTREAM)}
    given |= {"AWS_REGION": aws.region, "AWS_DEFAULT_REGION": aws.region}
    return [{"name": name, "value": value} for name, value in given.items()]


def by_hand(pod, profiles, configuration, tokens=(), run_as=65532):
    """What the injector makes of a pod, and the ConfigMap that the sidecar is configured by: `profiles` names those containers
    that have one.

    Each has a volume of its own with its access token; `tokens` are projected service-account tokens by name:
    (name, audience). No `run_as` leaves the user to the pod.
    """

    pod = copy.deepcopy(pod)
    spec, name = pod["spec"], f"{pod['metadata']['name']}-relay"
    containers = [each for each in spec.get("initContainers", []) + spec["containers"] if each["name"] in profiles]
    sidecar = _sidecar(name, run_as)
    volumes = [{"name": f"{RELAY}-run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]
    for container in containers:
        profile = profiles[container["name"]]
        volume, folder = f"{RELAY}-access-{container['name']}", f"/run/{RELAY}/{container['name']}"
        volumes.append({"name": volume, "emptyDir": {"medium": "Memory", "sizeLimit": "64Ki"}})
        sidecar["volumeMounts"].append({"name": volume, "mountPath": folder})
        mount = {"name": volume, "mountPath": f"/var/run/secrets/{RELAY}", "readOnly": True}
        container.setdefault("volumeMounts", []).append(mount)
        container.setdefault("env", []).extend(_environment(profile))
        _may_ask(configuration["profiles"][profile], f"{folder}/token")
    if tokens:
        sources = [{"serviceAccountToken": {"path": at, "audience": to, "expirationSeconds": 600}} for at, to in tokens]
        volumes.append({"name": f"{RELAY}-tokens", "projected": {"sources": sources}})
        mount = {"name": f"{RELAY}-tokens", "mountPath": f"/var/run/secrets/{RELAY}/tokens", "readOnly": True}
        sidecar["volumeMounts"].append(mount)
    volumes.append({"name": f"{RELAY}-config", "configMap": {"name": name}})
    spec["initContainers"] = [*_meshes(spec), sidecar, *_others(spec)]
    spec["volumes"] = spec.get("volumes", []) + volumes
    text = yaml.safe_dump(configuration)
    return pod, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"config.yaml": text}}


def _is_mesh(container):
    return container["name"] in ("istio-proxy", "linkerd-proxy")


def _meshes(spec):
    return [each for each in spec.get("initContainers", []) if _is_mesh(each)]


def _others(spec):
    return [each for each in spec.get("initContainers", []) if not _is_mesh(each)]


def _may_ask(profile, token_file):
    access = profile.setdefault("access", {})
    if "token_file" in access:
        access.setdefault("more_token_files", []).append(token_file)
    else:
        access["token_file"] = token_file


def _environment(profile):
    given = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:9531/v1/credentials/{profile}",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": f"/var/run/secrets/{RELAY}/token",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    return [{"name": name, "value": value} for name, value in given.items()]


def _sidecar(config_map, run_as):
    of_pod = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}
    of_pod["POD_SERVICE_ACCOUNT"] = "spec.serviceAccountName"
    variables = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in of_pod.items()]
    settings = {"CREDENTIAL_RELAY_NATIVE_SIDECAR": "true", "CREDENTIAL_RELAY_CONFIG": f"/etc/{RELAY}/config.yaml"}
    variables += [{"name": name, "value": value} for name, value in settings.items()]
    probe = lambda path: {"httpGet": {"path": path, "port": "relay-admin"}}
    return {
        "name": RELAY,
        "image": "registry.example/credential-relay:0.1.0",
        "restartPolicy": "Always",
        "args": ["serve"],
        "env": variables,
        "ports": [{"name": "relay-admin", "containerPort": 9532}],
        "startupProbe": {**probe("/startupz"), "periodSeconds": 1, "failureThreshold": 300},
        "livenessProbe": probe("/livez"),
        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "32Mi"}},
        "securityContext": restricted(run_as),
        "volumeMounts": [
            {"name": f"{RELAY}-config", "mountPath": f"/etc/{RELAY}", "readOnly": True},
            {"name": f"{RELAY}-run", "mountPath": f"/run/{RELAY}"},
        ],
    }


def restricted(run_as=None):
    """What the restricted Pod Security Standard asks of a container, and a root file system that is read-only."""

    user = {} if run_as is None else {"runAsUser": run_as}
    return {
        **user,
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
