"""Helm's own commands (both major versions, see toolchain.py), against the API server of kube_server.py or none."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

import toolchain
from harness import environment

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "chart"
SCHEMA = CHART / "values.schema.json"
# What of the values is the injector's own configuration.
HANDED_ON = ("sidecar", "relay", "inline", "profiles", "policy")
LIBRARY = ROOT / "deploy" / "library"
EXAMPLES = ROOT / "deploy" / "examples"
VALUES = {path.stem: path for path in sorted((EXAMPLES / "values").glob("*.yaml"))}
# As they would be used: each by itself, and those together that do not exclude each other.
COMBINATIONS = {
    "nothing": [],
    **{name: [path] for name, path in VALUES.items()},
    "all": [path for name, path in VALUES.items() if name not in ("eks", "eks-overlay", "gke-private", "openshift")],
}
# The least that must be said.
LEAST = {
    "image": {"repository": "registry.example/credential-relay"},
    "policy": [{"namespaces": ["*"], "profiles": ["*"]}],
}


class Strict(yaml.SafeLoader):
    """As the API server reads YAML: a key that stands twice is a mistake."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"{sorted(twice)} twice {node.start_mark}")
        return super().construct_mapping(node, deep)


def documents(text):
    return [document for document in yaml.load_all(text, Strict) if document]


def others_kinds():
    """The definitions of the kinds of others."""

    return documents((ROOT / "tests" / "e2e" / "custom_resources.yaml").read_text())


class HelmFailed(AssertionError):
    pass


class Helm:
    def __init__(self, folder, version, kube=None):
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self.version = version
        self._program = toolchain.built("helm") / f"helm{version}"
        self._environment = environment(
            self._folder,
            HELM_CACHE_HOME=str(self._folder / "cache"),
            HELM_CONFIG_HOME=str(self._folder / "configuration"),
            HELM_DATA_HOME=str(self._folder / "data"),
            KUBECONFIG=str(self._folder / "kubeconfig"),
        )
        if kube:
            (self._folder / "kubeconfig").write_text(json.dumps(kube.kubeconfig()))

    def run(self, *arguments, values=()):
        """Gives standard output; raises HelmFailed with all that was said. `values` are maps, or paths of files."""

        given = []
        for index, one in enumerate(values):
            if isinstance(one, dict):
                path = self._folder / f"values-{index}.json"
                path.write_text(json.dumps(one))
                one = path
            given += ["--values", str(one)]
        command = [str(self._program), *map(str, arguments), *given]
        ran = subprocess.run(
            command, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
        )
        if ran.returncode != 0:
            raise HelmFailed(f"{' '.join(command)}\nended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout

    def lint(self, chart=CHART, values=()):
        return self.run("lint", chart, "--strict", values=values)

    def text(self, *arguments, chart=CHART, name="credential-relay", namespace="credential-relay", values=()):
        return self.run("template", name, chart, "--namespace", namespace, *arguments, values=values)

    def template(self, *arguments, **where):
        """The objects that the chart stands for."""

        return documents(self.text(*arguments, **where))

    def install(self, *arguments, chart=CHART, name="credential-relay", namespace="credential-relay", values=()):
        arguments = ("--namespace", namespace, "--create-namespace", *arguments)
        return self.run("install", name, chart, *arguments, values=values)

    def notes(self, **where):
        """What would be said at an installation."""

        return self.install("--dry-run=client", **where).partition("NOTES:")[2]

    def upgrade(self, *arguments, chart=CHART, name="credential-relay", namespace="credential-relay", values=()):
        return self.run("upgrade", name, chart, "--namespace", namespace, *arguments, values=values)

    def uninstall(self, name="credential-relay", namespace="credential-relay"):
        return self.run("uninstall", name, "--namespace", namespace)

    def manifest(self, name="credential-relay", namespace="credential-relay"):
        return documents(self.run("get", "manifest", name, "--namespace", namespace))


def of(objects, kind):
    return [it for it in objects if it["kind"] == kind]


def one(objects, kind, name=None):
    """The one object of its kind, or of its kind and name."""

    found = [it for it in of(objects, kind) if name in (None, it["metadata"]["name"])]
    assert (
        len(found) == 1
    ), f"{len(found)} objects {kind} {name or ''} among {[(it['kind'], it['metadata']['name']) for it in objects]}"
    return found[0]


def configuration(objects):
    """The injector's configuration."""

    name = one(objects, "Deployment")["metadata"]["name"]
    return yaml.safe_load(one(objects, "ConfigMap", name)["data"]["injector.yaml"])


def pod_of(template, name="pod"):
    """The pod that a controller would make of its template."""

    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **template["metadata"]},
        "spec": template["spec"],
    }


def metric_names(text):
    """What of ours and of the API server's a query names."""

    return set(re.findall(r"\b(?:credential_relay|apiserver)_[a-z_]+", text))


def metrics_of(told):
    """The names that a query may use, by what a program of ours tells Prometheus."""

    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "gauge": [""], "info": ["_info"]}
    families = re.findall(r"^# TYPE (\S+) (\S+)", told, re.MULTILINE)
    return {family + suffix for family, kind in families for suffix in suffixes[kind]}


PLAIN = """\
# The injector without Helm: what the chart renders with values.yaml beside this file. Change the registry and the values,
# and render it again:
#
#   helm template credential-relay deploy/chart --namespace credential-relay --values deploy/kubernetes/values.yaml
#
# The Secret is empty here on purpose, and the webhook has no caBundle: the injector fills both.
apiVersion: v1
kind: Namespace
metadata:
  name: credential-relay
  labels: { pod-security.kubernetes.io/enforce: restricted }
"""


def plain_manifest(folder):
    """What deploy/kubernetes/injector.yaml should be."""

    return PLAIN + Helm(folder, 3).text(values=[ROOT / "deploy" / "kubernetes" / "values.yaml"])


def values_schema(program):
    """What deploy/chart/values.schema.json should be: its own part as it is, and what is handed on to the injector as the program
    itself says.
    """

    ran = subprocess.run([program, "inject", "--schema"], capture_output=True, text=True, check=True)
    injector = without_null(json.loads(ran.stdout.replace("#/$defs/", "#/definitions/")))
    schema = json.loads(SCHEMA.read_text())
    for name in HANDED_ON:
        schema["properties"][name] = injector["properties"][name]
    # The chart's own image is there if this says none; by default there is no short form; and that no rule is there the chart says
    # in its own words.
    schema["properties"]["sidecar"].pop("required", None)
    injector["$defs"]["InlineDocument"].pop("required", None)
    schema["properties"]["policy"].pop("minItems", None)
    schema["definitions"] = {
        name: injector["$defs"][name] for name in sorted(named(schema["properties"], injector["$defs"]))
    }
    return json.dumps(schema, indent=2) + "\n"


def without_null(schema):
    """Helm takes what is null away, and a message that says what else may stand there is hard to read."""

    if isinstance(schema, list):
        return [without_null(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: without_null(value) for key, value in schema.items()}
    several = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    if len(several) == 1:
        del schema["anyOf"]
        schema |= several[0]
    if isinstance(schema.get("type"), list):
        schema["type"] = next(kind for kind in schema["type"] if kind != "null")
    return schema


def named(schema, definitions):
    """The definitions that a schema needs."""

    found, left = set(), set(re.findall(r"#/definitions/(\w+)", json.dumps(schema)))
    while left:
        found |= left
        left = {
            name for one in left for name in re.findall(r"#/definitions/(\w+)", json.dumps(definitions[one]))
        } - found
    return found


if __name__ == "__main__":
    if os.environ.get("RELAY_BIN"):
        SCHEMA.write_text(values_schema(os.environ["RELAY_BIN"]))
    with tempfile.TemporaryDirectory() as written:
        (ROOT / "deploy" / "kubernetes" / "injector.yaml").write_text(plain_manifest(written))
