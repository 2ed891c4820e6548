"""The Helm chart as both major versions of Helm lint and render it; test_chart_cluster.py has what a cluster says of it."""

import copy
import json
import re

import pytest
import yaml

from helm import CHART, COMBINATIONS, EXAMPLES, LEAST, LIBRARY, ROOT, Helm, HelmFailed, configuration, documents, of, one

# What Helm says of it


# Helm 4 says of each the same, see below: two are enough.
EVERY = [(3, name) for name in COMBINATIONS] + [(4, "nothing"), (4, "all")]


@pytest.mark.parametrize(
    ("helm", "combination"), EVERY, indirect=["helm"], ids=[f"helm{v}-{name}" for v, name in EVERY]
)
def test_it_is_linted_and_rendered_the_same_each_time(helm, combination):
    values = [LEAST, *COMBINATIONS[combination]]
    said = helm.lint(values=values)
    assert "1 chart(s) linted, 0 chart(s) failed" in said and "[WARNING]" not in said
    first = helm.text(values=values)
    assert documents(first)
    # A certificate or a name that is made anew at each rendering would never be at rest under GitOps.
    assert first == helm.text(values=values)


def test_both_helms_render_the_same(tmp_path):
    values = [LEAST, *COMBINATIONS["all"]]
    three, four = (Helm(tmp_path / str(version), version).template(values=values) for version in (3, 4))
    by_name = lambda it: (it["kind"], it["metadata"]["name"])
    assert sorted(three, key=by_name) == sorted(four, key=by_name)


def test_the_image_must_be_named(helm):
    with pytest.raises(
        HelmFailed, match="image.repository is missing: there is no public image, so name the repository"
    ):
        helm.text(values=[{"policy": LEAST["policy"]}])


def test_there_must_be_a_rule(helm):
    with pytest.raises(HelmFailed, match="policy is missing: a pod gets nothing that no rule allows"):
        helm.text(values=[{"image": LEAST["image"]}])


def test_kubernetes_without_native_sidecars_is_refused(helm):
    with pytest.raises(HelmFailed, match="1.29"):
        helm.text("--kube-version", "1.28.9", values=[LEAST])
    assert helm.text("--kube-version", "v1.29.0-eks-036c24b", values=[LEAST])


ALERTS = {"monitoring": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}}
# What is wrong, and words that the message has.
WRONG = [
    ({"injecter": {}}, "injecter"),
    ({"injector": {"replicas": 0}}, "replicas"),
    ({"injector": {"replica": 2}}, "replica"),
    ({"injector": {"port": 443}}, "/injector/port"),
    ({"injector": {"port": "8443"}}, "port"),
    ({"injector": {"runAsUser": 0}}, "runAsUser"),
    ({"injector": {"log": {"level": "verbose"}}}, "level"),
    ({"image": {"digest": "sha256:1234"}}, "digest"),
    ({"image": {"repository": "registry.example/x@sha256:1"}}, "repository"),
    ({"image": {"tag": "a tag"}}, "tag"),
    ({"webhook": {"failurePolicy": "fail"}}, "failurePolicy"),
    ({"webhook": {"timeoutSeconds": 31}}, "30"),
    ({"webhook": {"excludedNamespaces": "kube-system"}}, "excludedNamespaces"),
    ({"webhook": {"namespaceSelector": {"matchLabel": {}}}}, "matchLabel"),
    ({"certificates": {"mode": "cert-manager"}}, "mode"),
    ({"certificates": {"secret": {"caBundle": "-----BEGIN CERTIFICATE-----"}}}, "caBundle"),
    ({"certificates": {"mode": "secret"}}, "certificates.secret.name is missing"),
    ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
    ({"networkPolicy": {"egress": {"ports": []}}}, "ports"),
    ({"serviceAccount": {"create": False}}, "serviceAccount.name is missing"),
    *(({"certificates": {"selfManaged": {"lifetime": given}}}, "lifetime") for given in ("30d", "30m1h", "500ms", "1h30", "")),
    ({"profiles": {"Payments": {}}}, "Payments"),
    ({"profiles": ["payments"]}, "profiles"),
    ({"policy": {"namespaces": []}}, "policy"),
    ({"relay": {"profiles": {}}}, "profiles"),
    ({"monitoring": {"podMonitor": {"interval": "30"}}}, "interval"),
    ({"monitoring": {"serviceMonitor": {"interval": "30s1m"}}}, "interval"),
    ({"test": {"namespace": ""}}, "namespace"),
    ({"test": {"profile": "payments"}}, "test.region is missing"),
    ({"injector": {"drainSeconds": 30}}, "injector.drainSeconds is 30: less than"),
    ({"monitoring": {"prometheusRule": {"enabled": True}}}, "monitoring.serviceMonitor.enabled is false"),
    (ALERTS | {"certificates": {"selfManaged": {"lifetime": "24h"}}}, "certificateHours is 72: less than a third of"),
    (ALERTS | {"certificates": {"selfManaged": {"lifetime": "215h59m"}}}, "certificateHours is 72: less than a third of"),
    (
        ALERTS | {"certificates": {"mode": "certManager", "certManager": {"renewBefore": "72h"}}},
        "certificateHours is 72: less than certificates.certManager.renewBefore (72h)",
    ),
]


@pytest.mark.parametrize(("values", "words"), WRONG, ids=[f"{json.dumps(values)[:60]}" for values, _ in WRONG])
@pytest.mark.parametrize("helm", [3], indirect=True, ids=["helm3"])
def test_what_cannot_be_is_refused_by_name(helm, values, words):
    given = copy.deepcopy(LEAST)
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(given.get(key), dict)
        given[key] = given[key] | value if both else value
    with pytest.raises(HelmFailed) as refused:
        helm.text(values=[given])
    said = str(refused.value).split("ended with", 1)[1]
    assert words in said, said


@pytest.mark.parametrize("helm", [4], indirect=True, ids=["helm4"])
def test_helm_4_refuses_by_the_same_schema(helm):
    with pytest.raises(HelmFailed, match="at '': additional properties 'injecter' not allowed"):
        helm.text(values=[LEAST, {"injecter": {}}])


def test_every_value_is_in_the_schema():
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(values, schema, place):
        known = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or not values:
            return
        assert set(known) - {"global"} == set(values), place
        for name, value in values.items():
            if isinstance(value, dict):
                compare(value, known[name], f"{place}.{name}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


def test_its_versions_are_the_programs():
    version = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    chart, library = (yaml.safe_load((folder / "Chart.yaml").read_text()) for folder in (CHART, LIBRARY))
    assert chart["appVersion"] == library["appVersion"] == version
    assert f'$version := "{version}"' in (LIBRARY / "templates" / "_parts.tpl").read_text()


def test_a_digest_outranks_the_tag(helm):
    image = {"repository": "registry.example:5000/team/relay", "tag": "1.2.3"}
    container = lambda: one(helm.template(values=[LEAST | {"image": image}]), "Deployment")["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert container()["image"] == "registry.example:5000/team/relay:1.2.3"
    image["digest"] = f"sha256:{'0' * 64}"
    assert container()["image"] == f"registry.example:5000/team/relay@sha256:{'0' * 64}"


def test_a_changed_configuration_starts_the_injectors_again(helm):
    def checksum(*values):
        template = one(helm.template(values=[LEAST, *values]), "Deployment")["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/configuration"]

    policy = {"policy": [{"namespaces": ["*"], "profiles": ["x"]}]}
    assert checksum() == checksum({"injector": {"replicas": 3}}) != checksum(policy)


def test_an_address_of_ipv6_gets_brackets(helm):
    objects = helm.template(values=[LEAST, {"injector": {"address": "::"}}])
    assert configuration(objects)["listen"] == "[::]:8443"


def test_what_was_given_by_the_chart_can_be_taken_away(helm):
    values = {"injector": {"podLabels": {"sidecar.istio.io/inject": None}, "nodeSelector": {"kubernetes.io/os": None}}}
    pod = one(helm.template(values=[LEAST, values]), "Deployment")["spec"]["template"]
    assert "sidecar.istio.io/inject" not in pod["metadata"]["labels"] and "nodeSelector" not in pod["spec"]


def test_nothing_selects_more_than_the_injectors(helm):
    objects = helm.template(values=[LEAST, *COMBINATIONS["all"]])
    deployment = one(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [one(objects, "Service")["spec"]["selector"]]
    selectors += [
        one(objects, kind)["spec"]["selector"]["matchLabels"] for kind in ("PodDisruptionBudget", "ServiceMonitor")
    ]
    selectors += [one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]]
    selectors += [
        spread["labelSelector"]["matchLabels"]
        for spread in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    ]
    tested = one(objects, "Pod")["metadata"]["labels"]
    for selector in selectors:
        assert selector == deployment["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels.items() and not selector.items() <= tested.items()
    # And the ServiceMonitor finds the Service.
    assert selectors[0].items() <= one(objects, "Service")["metadata"]["labels"].items()


def test_every_right_is_one_that_the_program_uses(helm):
    """Each verb on each kind stands in the program's client of the API server, and each rule has a name."""

    rules = [rule for role in helm.template(values=[LEAST]) for rule in role.get("rules", []) if "verbs" in rule]
    given = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert given == {
        *(("secrets", verb) for verb in ("get", "patch")),
        *(("leases", verb) for verb in ("get", "patch", "create")),
        *(("mutatingwebhookconfigurations", verb) for verb in ("get", "patch")),
    }
    # RBAC cannot bind create to a name.
    assert all((rule["verbs"] == ["create"]) == ("resourceNames" not in rule) for rule in rules)
    assert all(len(rule.get("resourceNames", [1])) == 1 for rule in rules)


@pytest.mark.parametrize("mode", ["certManager", "secret"])
def test_certificates_from_elsewhere_need_no_right(helm, mode):
    values = {"certificates": {"mode": mode, "secret": {"name": "tls"}}}
    objects = helm.template(values=[LEAST, values])
    kinds = {thing["kind"] for thing in objects}
    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Secret", "Lease"}
    assert not one(objects, "Deployment")["spec"]["template"]["spec"]["automountServiceAccountToken"]
    files = configuration(objects)["certificates"]["files"]
    mounts = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert any(files["cert"].startswith(f"{mount['mountPath']}/") for mount in mounts)


def test_cert_manager_is_told_whose_certificate_it_is(helm):
    objects = helm.template(values=[LEAST, EXAMPLES / "values" / "cert-manager.yaml"])
    webhook = one(objects, "MutatingWebhookConfiguration")
    namespace, name = webhook["metadata"]["annotations"]["cert-manager.io/inject-ca-from"].split("/")
    certificate = one(objects, "Certificate", name)
    assert certificate["metadata"]["namespace"] == namespace
    service = webhook["webhooks"][0]["clientConfig"]["service"]
    assert certificate["spec"]["dnsNames"] == [f"{service['name']}.{service['namespace']}.svc"]
    secrets = [
        volume["secret"]["secretName"]
        for volume in one(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
        if "secret" in volume
    ]
    assert secrets == [certificate["spec"]["secretName"]]
    assert "caBundle" not in webhook["webhooks"][0]["clientConfig"]
    # At the CA's renewal the caBundle has the new one at once; with the same key the old certificate is of it too.
    rotated = {it["spec"].get("isCA", False): it["spec"]["privateKey"]["rotationPolicy"] for it in of(objects, "Certificate")}
    assert rotated == {True: "Never", False: "Always"}


def test_argo_cd_leaves_nothing_out_that_the_injector_needs(helm):
    """It never makes a Lease, whatever a chart says: the injector must be able to."""

    for combination in COMBINATIONS.values():
        assert not of(helm.template(values=[LEAST, *combination]), "Lease")


def test_alerts_that_would_be_told_for_ever_can_be_left_out_instead(helm):
    rule = {"enabled": True, "disabled": ["CredentialRelayInjectorDown", "CredentialRelayCertificateEnding"]}
    values = {"monitoring": {"prometheusRule": rule}, "certificates": {"selfManaged": {"lifetime": "24h"}}}
    assert one(helm.template(values=[LEAST, values]), "PrometheusRule")
    for lifetime in ("216h1m", "216h1s", "720h"):
        values = ALERTS | {"certificates": {"selfManaged": {"lifetime": lifetime}}}
        assert one(helm.template(values=[LEAST, values]), "PrometheusRule")


def test_alerts_can_be_left_out_and_are_labelled(helm):
    names = lambda objects: {
        rule["alert"] for group in one(objects, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]
    }
    monitoring = EXAMPLES / "values" / "monitoring.yaml"
    objects = helm.template(values=[LEAST, monitoring])
    every = names(objects)
    for group in one(objects, "PrometheusRule")["spec"]["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning") and rule["labels"]["team"] == "platform"
            assert rule["annotations"]["runbook_url"].endswith(f"#{rule['alert']}")
            assert {"summary", "description"} <= set(rule["annotations"])
    left_out = {"monitoring": {"prometheusRule": {"disabled": ["CredentialRelayAccessRefused"]}}}
    assert names(helm.template(values=[LEAST, monitoring, left_out])) == every - {"CredentialRelayAccessRefused"}


def test_the_monitors_find_what_they_look_for(helm):
    objects = helm.template(values=[LEAST, EXAMPLES / "values" / "monitoring.yaml"])
    ports = {port["name"] for port in one(objects, "Service")["spec"]["ports"]}
    assert one(objects, "ServiceMonitor")["spec"]["endpoints"][0]["port"] in ports
    sidecars = one(objects, "PodMonitor")["spec"]
    # Of all that the injector is asked about these alone are injected.
    assert sidecars["selector"]["matchLabels"] == {"credential-relay.io/inject": "true"}
    assert sidecars["podMetricsEndpoints"][0]["port"] == "relay-admin"
    job = one(objects, "Service")["metadata"]["name"]
    rules = json.dumps(one(objects, "PrometheusRule"))
    assert f'up{{job=\\"{job}\\"}}' in rules and not {"INJECTOR", "LEFT"} & set(re.findall(r"\w+", rules))


def test_every_alert_has_its_heading_in_the_page_on_incidents():
    """`runbookUrl` may lead there: it is put before the alert's name."""

    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    headings = re.findall(r"^### (CredentialRelay\w+)$", (ROOT / "docs" / "incidents.md").read_text(), re.MULTILINE)
    assert headings == alerts


def test_what_helm_test_runs_goes_the_sidecars_way_out(helm):
    given = {"HTTPS_PROXY": "http://proxy.example:3128", "no_proxy": ".example", "CREDENTIAL_RELAY_LOG": "warn"}
    values = {"sidecar": {"env": given}, "test": {"profile": "payments", "region": "eu-west-1"}}
    pod = one(helm.template(values=[LEAST, values]), "Pod")["spec"]
    variables = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    assert variables.pop("CREDENTIAL_RELAY_CONFIG_TEXT")
    assert variables == {"HTTPS_PROXY": "http://proxy.example:3128", "no_proxy": ".example"}
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
