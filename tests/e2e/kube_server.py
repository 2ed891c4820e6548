"""A real Kubernetes API server: the program of tests/kube in a process of its own.

No controller and no node runs: there are the service accounts, roles and tokens that a test makes, and no pods.
"""

import http.client
import json
import ssl
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import load_pem_private_key

import toolchain
from harness import EXIT_SECONDS, environment, spawn, wait_for
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

    def call(self, method, path, body=None, token=None):
        """One request, of an administrator unless with another's token: gives the body, or raises Refused."""

        parts = urlsplit(self.address)
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=30, context=self._trusted)
        headers = {"Authorization": f"Bearer {token or self._token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            said = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status >= 300:
            raise Refused(method, path, answer.status, said)
        return said

    # What tests make

    def namespace(self, name, **labels):
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})

    def create(self, made):
        """An object of the core group in its namespace, as the server then has it."""

        plural = f"{made['kind'].lower()}s"
        return self.call("POST", f"/api/v1/namespaces/{made['metadata']['namespace']}/{plural}", made)

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
