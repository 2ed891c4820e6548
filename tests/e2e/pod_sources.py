"""Where the pods come from that pod_runner.py runs: what they are made of, and who made them what they are."""

import base64
import copy
import json

from kube_server import Refused
from sandbox import UPSTREAM

RELAY = "credential-relay"


class Cluster:
    """What a kubelet asks the API server for."""

    def __init__(self, kube):
        self._kube = kube
        self.tokens = []
        """All service-account tokens that it was given, for the search for leaks."""

    def keys(self, kind, namespace, name, optional=False):
        """A ConfigMap's or a Secret's texts, by key; none of one that is optional and not there."""

        try:
            found = self._kube.read({"configMap": "configmaps", "secret": "secrets"}[kind], namespace, name)
        except Refused as refused:
            if not optional or refused.status != 404:
                raise
            return {}
        data = found.get("data", {})
        return data if kind == "configMap" else {key: base64.b64decode(value).decode() for key, value in data.items()}

    def token(self, pod, audiences, seconds):
        """A service-account token that is bound to the pod."""

        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod.name, "uid": pod.uid}
        self.tokens.append(self._kube.token(pod.namespace, pod.service_account, audiences, seconds, bound))
        return self.tokens[-1]


def admitted(create, namespace, pod, *others):
    """Gives the API server objects, the Pod last, and gives the Pod as it then is there: defaults, changes by webhooks and all.

    The namespace takes restricted pods alone.
    """

    for each in (*others, pod):
        each = copy.deepcopy(each)
        each["metadata"]["namespace"] = namespace
        made = create(each)
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
