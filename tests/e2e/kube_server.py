"""A real Kubernetes API server: the program of tests/kube in a process of its own.

No controller and no node runs: there are the service accounts, roles and tokens that a test makes, and no pods.
"""

import http.client
import json
import ssl
import subprocess
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import load_pem_private_key

import toolchain
from harness import EXIT_SECONDS, environment, spawn, wait_for, whole_lines
from identities import Issuer

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


class Refused(AssertionError):
    """An answer that is no success, and the Status that it came with."""

    def __init__(self, method, path, status, said):
        super().__init__(f"{method} {path}: {status} {said}")
        self.status = status


class Kube:
    def __init__(self, folder):
        data, written = Path(folder) / "kube", Path(folder) / "kube.log"
        self._folder = data
        data.mkdir()
        with open(written, "w") as log:
            self._process = spawn(
                [toolchain.built("kube") / "kube", "-folder", data],
                environment(folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise AssertionError(f"tests/kube did not start:\n{written.read_text()[-4000:]}")
        described = json.loads(line)
        self.address, self.issuer = described["endpoint"], described["issuer"]
        self.authority = Path(described["ca"]).read_text()
        self._token = described["token"]
        self._trusted = ssl.create_default_context(cadata=self.authority)
        key = load_pem_private_key((data / "service-accounts.key").read_bytes(), None)
        self._signer = Issuer(self.issuer, key)

    def stop(self):
        self._process.stdin.close()
        self._process.wait(EXIT_SECONDS)
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def call(self, method, path, body=None, token=None, kind="application/json"):
        """One request, of an administrator unless with another's token: gives the body, or raises Refused."""

        status, said = self._ask(method, path, body, token, kind)
        # Of a group that it does not serve yet it says "404 page not found".
        said = json.loads(said) if said.startswith(b"{") else said.decode()
        if status >= 300:
            raise Refused(method, path, status, said)
        return said

    def _ask(self, method, path, body=None, token=None, kind="application/json"):
        parts = urlsplit(self.address)
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=30, context=self._trusted)
        headers = {"Authorization": f"Bearer {token or self._token}", "Content-Type": kind}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def may(self, method, path, token):
        """Whether somebody is allowed a request, as the API server knows by now."""

        try:
            self.call(method, path, token=token)
        except Refused as refused:
            if refused.status not in (401, 403):
                raise
            return False
        return True

    def metrics(self):
        status, said = self._ask("GET", "/metrics")
        assert status == 200, said
        return said.decode()

    def asked(self, namespace, name):
        """What a service account has asked so far: verb, resource and the object's name, by the server's own audit."""

        account = f"system:serviceaccount:{namespace}:{name}"
        lines = map(json.loads, whole_lines((self._folder / "audit.log").read_text()))
        told = [line for line in lines if line["user"]["username"] == account]
        return {(line["verb"], line["objectRef"]["resource"], line["objectRef"].get("name")) for line in told}

    def kubeconfig(self):
        """An administrator's, as kubectl and Helm read it."""

        cluster = {"server": self.address, "certificate-authority-data": b64encode(self.authority.encode()).decode()}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": self._token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }

    # Objects of any kind

    def path_of(self, thing, default_namespace="default"):
        """Where an object is, and where one of its kind is made."""

        version = thing["apiVersion"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        kinds = {kind["kind"]: kind for kind in self.call("GET", root)["resources"] if "/" not in kind["name"]}
        assert thing["kind"] in kinds, f"{version} {thing['kind']} is not known to the API server"
        kind = kinds[thing["kind"]]
        namespace = thing["metadata"].get("namespace", default_namespace)
        made = f"{root}/namespaces/{namespace}/{kind['name']}" if kind["namespaced"] else f"{root}/{kind['name']}"
        return f"{made}/{thing['metadata']['name']}", made

    def serves(self, definition):
        """Waits until a custom resource's kind is there."""

        spec = definition["spec"]
        path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}"

        def there():
            try:
                return any(kind["name"] == spec["names"]["plural"] for kind in self.call("GET", path)["resources"])
            except Refused:
                return False

        wait_for(there, f"the API server serves {spec['names']['plural']}")

    def get(self, thing, **where):
        return self.call("GET", self.path_of(thing, **where)[0])

    def create(self, thing, dry_run=False, token=None, **where):
        """Makes it, or says what it would be: the server refuses unknown fields and values that cannot be."""

        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.call("POST", self.path_of(thing, **where)[1] + query, thing, token)

    def patch(self, thing, change, token=None, kind="application/merge-patch+json", **where):
        return self.call("PATCH", self.path_of(thing, **where)[0], change, token, kind)

    def delete(self, thing, **where):
        self.call("DELETE", self.path_of(thing, **where)[0])

    def exists(self, thing, **where):
        try:
            self.get(thing, **where)
        except Refused as refused:
            if refused.status == 404:
                return False
            raise
        return True

    # What tests make

    def namespace(self, name, **labels):
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})

    def read(self, plural, namespace, name):
        return self.call("GET", f"/api/v1/namespaces/{namespace}/{plural}/{name}")

    def service_account(self, namespace, name):
        self.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": name}})

    def token(self, namespace, name, audiences=(), seconds=3600, bound=None):
        """As the kubelet asks for it (TokenRequest): no audience is the API server's own, 600 seconds are the fewest.

        What it is `bound` to, it ends with: a reference to an object.
        """

        wanted = {"spec": {"audiences": list(audiences), "expirationSeconds": seconds, "boundObjectRef": bound}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return self.call("POST", path, wanted)["status"]["token"]

    def expired_token(self, namespace, name, audiences=()):
        """One that ended ten minutes ago, signed with the API server's own key: it issues none that a test could outlive."""

        account = self.call("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")["metadata"]
        bound = {"namespace": namespace, "serviceaccount": {"name": name, "uid": account["uid"]}}
        claims = {"aud": list(audiences) or [self.issuer], "kubernetes.io": bound}
        return self._signer.sign(f"system:serviceaccount:{namespace}:{name}", seconds=-600, **claims)

    def delete_service_account(self, namespace, name):
        self.call("DELETE", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")

    def bind(self, cluster_role, namespace, name):
        """Gives a service account a ClusterRole everywhere. Undone by `unbind`."""

        group = "rbac.authorization.k8s.io"
        binding = {
            "metadata": {"name": f"{namespace}-{name}"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": cluster_role},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
        }
        self.call("POST", f"{RBAC}/clusterrolebindings", binding)

    def unbind(self, namespace, name):
        self.call("DELETE", f"{RBAC}/clusterrolebindings/{namespace}-{name}")

    # What it thinks of a token

    def review(self, token, audiences=(), reviewer=None):
        """A TokenReview's status."""

        return self.call("POST", REVIEWS, {"spec": {"token": token, "audiences": list(audiences)}}, reviewer)["status"]

    def forgets(self, token, audiences=()):
        """Waits until a token is no longer good. One that was found good stays so for 10 s: the API server remembers it."""

        wait_for(lambda: not self.review(token, audiences).get("authenticated"), "the API server takes the token no more")

    def allows(self, reviewer):
        """Waits until this one's TokenReviews are answered: of a binding the API server learns a moment after it is made."""

        wait_for(lambda: self.may_review(reviewer), "the API server lets it review")

    def denies(self, reviewer):
        """Waits until this one's TokenReviews are refused."""

        wait_for(lambda: not self.may_review(reviewer), "the API server lets it review no more")

    def may_review(self, reviewer):
        try:
            return bool(self.review(reviewer, reviewer=reviewer))
        except Refused as refused:
            if refused.status in (401, 403):
                return False
            raise
