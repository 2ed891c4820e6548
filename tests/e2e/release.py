"""The chart's release in a cluster of the tests, with the injector's program in the place of its pods."""

import json

from harness import http_get, wait_for
from helm import Helm, configuration, one
from injectors import Process
from kube_server import Refused


class Release:
    """What Helm installed, and one injector as the process of its pod."""

    def __init__(self, cluster, injector, folder, *values):
        self.cluster, self._folder, self._injector = cluster, folder, injector
        self.helm = Helm(folder / "helm", 3, cluster)
        self.helm.install(values=values)
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
        account.mkdir(exist_ok=True)
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
        self._process = Process(self._injector, self._folder, self.cluster, account, arguments, **variables)
        wait_for(self._process.is_ready, lambda: f"the injector is ready\n{self.log()}")

    def log(self):
        return self._process.log()[-4000:]

    def metrics(self):
        return http_get(f"{self._process.admin}/metrics")[2]

    def lead_here(self):
        """Lets the API server call the port that the kernel gave the injector; an upgrade sets it back."""

        webhook = one(self.objects, "MutatingWebhookConfiguration")
        called = {"name": webhook["webhooks"][0]["name"], "clientConfig": {"service": {"port": self._process.port}}}
        self.cluster.patch(webhook, {"webhooks": [called]}, kind="application/strategic-merge-patch+json")

    def injected(self, pod, dry_run=True):
        """The pod as the API server makes it, once it has learned of the webhook as it is now."""

        def made():
            try:
                return self.cluster.create(pod, dry_run, default_namespace="payments")
            except Refused as refused:
                assert refused.status == 500 and "failed calling webhook" in str(refused), f"{refused}\n{self.log()}"
                return None

        return wait_for(made, lambda: f"the API server reaches the injector\n{self.log()}")

    def scaled_to_nothing(self):
        """Ends the injector; started_again() makes another."""

        assert self._process.stop(), f"the injector does not end\n{self.log()}"

    def started_again(self):
        self._start()
        self.lead_here()

    def stop(self):
        self.scaled_to_nothing()
        self.helm.uninstall()
        # The one thing that an uninstall leaves: the chart did not make it.
        self.cluster.delete(self.lease)

    @property
    def lease(self):
        named = configuration(self.objects)["certificates"]["self_managed"]
        where = {"name": named["lease"], "namespace": named["namespace"]}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": where}
