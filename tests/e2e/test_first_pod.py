"""docs/first-pod.md, docs/migration.md and the README: each page's values are what the chart and the injector take, and each pod of theirs is
admitted by a real API server that such a release is installed in.
"""

import json
import re
from pathlib import Path

import pytest
import yaml

from helm import ROOT, documents, one, pod_of
from release import Release
from test_chart_injector import taken

PAGES = [(ROOT / name).read_text() for name in ("docs/first-pod.md", "docs/migration.md", "README.md")]


def blocks(kind):
    """The pages' blocks of YAML that are marked as this kind, by their names."""

    return {
        name: text
        for page in PAGES
        for name, text in re.findall(rf"```yaml {kind}=([a-z-]+)\n(.+?)```", page, re.DOTALL)
    }


VALUES, PODS = blocks("values"), blocks("pod")


def test_the_pages_have_what_is_tested_here():
    assert set(VALUES) == {"eks", "vault", "irsa", "pod-identity", "keys", "readme"} and set(PODS) == {"eks", "vault"}


@pytest.mark.parametrize("name", VALUES)
def test_the_values_are_right(binary, tmp_path, name):
    taken(Path(binary), tmp_path, yaml.safe_load(VALUES[name]))


@pytest.fixture(scope="module")
def shop(cluster):
    cluster.namespace("shop")
    cluster.service_account("shop", "payments")


@pytest.mark.parametrize("name", PODS)
def test_the_pod_is_admitted_with_the_relay_in_it(binary, cluster, shop, tmp_path, name):
    release = Release(cluster, Path(binary), tmp_path, yaml.safe_load(VALUES[name]))
    try:
        [thing] = documents(PODS[name])
        pod = thing if thing["kind"] == "Pod" else pod_of(thing["spec"]["template"])
        pod["metadata"]["namespace"] = "shop"
        made = release.injected(pod)
        # What the page's `helm test` makes, with the namespace and the account that the page has made by then.
        tested = release.injected(one(release.helm.template(values=[yaml.safe_load(VALUES[name])]), "Pod"))
        assert [container["name"] for container in tested["spec"]["initContainers"]] == ["credential-relay"]
    finally:
        release.stop()
    relay, *_ = made["spec"]["initContainers"]
    assert relay["name"] == "credential-relay"
    told = next(entry["value"] for entry in relay["env"] if entry["name"] == "CREDENTIAL_RELAY_CONFIG_TEXT")
    assert list(yaml.safe_load(told)["profiles"]) == ["payments"], json.dumps(told)
    [app] = made["spec"]["containers"]
    given = {entry["name"]: entry.get("value") for entry in app["env"]}
    assert given["AWS_CONTAINER_CREDENTIALS_FULL_URI"].endswith("/payments")
