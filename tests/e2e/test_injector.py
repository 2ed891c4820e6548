"""The injector at a real API server, which asks it, fills in its defaults and checks what comes out: the pods of
tests/inject_cases, pods that are written down and made again, pods that other webhooks change, and pods that are refused.
"""

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from harness import EXIT_SECONDS, wait_for
from identities import Authority
from injectors import CASES, one_of_the_cases
from kube_server import Refused

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
NAMESPACES = ("payments", "team-a-batch", "hosts")
ACCOUNTS = ("default", "api", "nightly", "app", "inliner", "other", "a")
ASKS = {"credential-relay.io/inject": "true"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("injector")


@pytest.fixture(scope="module")
def certificate(folder):
    """One for 127.0.0.1."""

    return Authority(folder).issue("injector", server=True)


@pytest.fixture(scope="module")
def injector(binary, kube, certificate, folder):
    """One that runs, and that the API server asks; gives what it has logged."""

    for namespace in NAMESPACES:
        kube.namespace(namespace)
        for account in ACCOUNTS:
            kube.service_account(namespace, account)
    process, written = one_of_the_cases(binary, folder, certificate)

    def listening():
        assert process.poll() is None, written.read_text()
        lines = [json.loads(line) for line in written.read_text().splitlines() if line.startswith("{")]
        return next((line for line in lines if line["message"] == "listening"), None)

    address = wait_for(listening, "the injector listens")["webhook"]
    kube.call("POST", CONFIGURATIONS, webhook("credential-relay-injector", f"{address}/mutate", certificate))
    # The API server learns of a webhook a moment after it is made.
    wait_for(lambda: create(kube, pod_of("plain"), "?dryRun=All")["spec"].get("initContainers"), "the injector is asked")
    yield lambda: written.read_text()
    process.terminate()
    assert process.wait(EXIT_SECONDS) == 0, written.read_text()


def webhook(name, url, certificate, **more):
    bundle = base64.b64encode(certificate.authority.read_bytes()).decode()
    return {
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": f"{name}.example.com",
                "clientConfig": {"url": url, "caBundle": bundle},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "objectSelector": {"matchLabels": ASKS},
                "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                **more,
            }
        ],
    }


def create(kube, pod, query=""):
    namespace = pod["metadata"]["namespace"]
    return kube.call("POST", f"/api/v1/namespaces/{namespace}/pods{query}", {"apiVersion": "v1", "kind": "Pod", **pod})


def relay_of(pod):
    (relay,) = [one for one in pod["spec"]["initContainers"] if one["name"] == "credential-relay"]
    return relay


def injected_cases():
    """The cases that end well with the common configuration."""

    for file in sorted(CASES.glob("*.pod.yaml")):
        name = file.name.removesuffix(".pod.yaml")
        own = (CASES / f"{name}.injector.yaml").exists() or (CASES / f"{name}.then.yaml").exists()
        if (CASES / f"{name}.json").exists() and not own and name != "not-asked":
            yield name


def pod_of(case):
    """The case's pod, with what the API server wants of any pod."""

    pod = yaml.safe_load((CASES / f"{case}.pod.yaml").read_text())
    pod["metadata"].pop("name", None)
    pod["metadata"].pop("ownerReferences", None)
    pod["metadata"]["generateName"] = f"{case}-"
    pod["spec"].pop("unknownField", None)
    for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
        container.setdefault("image", "example/app")
        container.pop("someday", None)
    for volume in pod["spec"].get("volumes", []):
        if volume.get("projected") == {"sources": []}:
            volume["projected"] = {"sources": [{"configMap": {"name": "some"}}]}
    return pod


@pytest.mark.parametrize("case", list(injected_cases()))
def test_the_api_server_takes_what_comes_out_and_takes_it_again(kube, injector, case):
    made = create(kube, pod_of(case))
    relay = relay_of(made)
    assert relay["restartPolicy"] == "Always" and relay["securityContext"]["readOnlyRootFilesystem"] is True
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert account in [mount["mountPath"] for mount in relay["volumeMounts"]], "the account's own token is there too"

    # As somebody writes a pod down and makes it again, with all defaults in it.
    name = f"{case}-again"
    metadata = {key: made["metadata"][key] for key in ("namespace", "labels", "annotations")}
    again = create(kube, {"metadata": {**metadata, "name": name}, "spec": made["spec"]})
    assert again["spec"] == made["spec"]
    assert wait_for(lambda: outcomes(injector, name), "the injector logs it") == ["unchanged"]


def outcomes(injector, name):
    lines = [json.loads(line) for line in injector().splitlines() if line.endswith("}")]
    return [line["outcome"] for line in lines if line["message"] == "admission" and line["name"] == name]


def test_what_is_wrong_is_an_admission_error(kube, injector):
    pod = pod_of("plain")
    pod["metadata"]["annotations"]["credential-relay.io/profile"] = "paymnets"
    with pytest.raises(Refused) as refused:
        create(kube, pod)
    assert refused.value.status == 403
    assert "credential-relay.io/profile: paymnets: not known here; did you mean payments?" in str(refused.value)


def test_a_pod_that_brings_a_relay_of_its_own_is_refused(kube, injector):
    made = create(kube, pod_of("plain"))
    relay_of(made)["image"] = "example/evil"
    metadata = {key: made["metadata"][key] for key in ("generateName", "namespace", "labels", "annotations")}
    with pytest.raises(Refused, match="image of the container credential-relay"):
        create(kube, {"metadata": metadata, "spec": made["spec"]})


# What a mesh with its proxy as native sidecar and a webhook for logs do, once.
LATER = [
    {"op": "add", "path": "/spec/initContainers/0", "value": {"name": "istio-proxy", "image": "proxy", "restartPolicy": "Always"}},
    {"op": "add", "path": "/spec/containers/-", "value": {"name": "log", "image": "log"}},
    {
        "op": "replace",
        "path": "/spec/initContainers/1/startupProbe",
        "value": {"httpGet": {"path": "/app-health/credential-relay/startupz", "port": 15020}},
    },
]


class Later(BaseHTTPRequestHandler):
    """Another injector, which comes after."""

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        done = any(one["name"] == "log" for one in request["object"]["spec"]["containers"])
        patch = base64.b64encode(json.dumps([] if done else LATER).encode()).decode()
        response = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        said = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass


@pytest.fixture
def later(kube, injector, certificate):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Later)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"https://127.0.0.1:{server.server_port}/"
    kube.call("POST", CONFIGURATIONS, webhook("istio-sidecar-injector", url, certificate, reinvocationPolicy="Never"))
    yield
    kube.call("DELETE", f"{CONFIGURATIONS}/istio-sidecar-injector")
    server.shutdown()


def test_a_pod_that_a_later_webhook_changes_is_looked_at_again(kube, injector, later):
    def look():
        made = create(kube, pod_of("plain"))
        return made if len(made["spec"]["containers"]) == 2 else None

    made = wait_for(look, "the other webhook is asked")
    assert [one["name"] for one in made["spec"]["initContainers"]] == ["istio-proxy", "credential-relay"]
    log = made["spec"]["containers"][1]
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in [one["name"] for one in log["env"]]
    relay = relay_of(made)
    assert relay["startupProbe"]["exec"]["command"][1:] == ["healthcheck", "--probe", "startup"]
    (text,) = [one["value"] for one in relay["env"] if one["name"] == "CREDENTIAL_RELAY_CONFIG_TEXT"]
    access = json.loads(text)["profiles"]["payments"]["access"]
    assert access["token_file"] == "/run/credential-relay/access/app/token"
    assert access["more_token_files"] == ["/run/credential-relay/access/log/token"]
