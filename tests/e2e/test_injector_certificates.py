"""The injectors' own certificates at a real API server, which calls them as it does in a cluster.

Lifetimes are of seconds, so that everything is renewed while a test looks.
"""

import base64
import contextlib
import os
import threading
from pathlib import Path

import pytest

from harness import wait_for
from injectors import (
    ACCOUNT,
    CONFIGURATION,
    LEASE,
    LEASES,
    LIFETIME,
    SECRET,
    SECRETS,
    Cluster,
    Replica,
    continuous,
    log_of,
    split,
)
from kube_server import RBAC, Refused

MONTH = "2592000s"


@pytest.fixture(scope="module")
def injector(binary):
    return Path(binary).resolve()


@pytest.fixture(scope="module")
def cluster(kube, tmp_path_factory):
    made = Cluster(kube, tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def replicas(injector, cluster, tmp_path_factory):
    """Three, in a cluster that has nothing yet; none is called before it is ready."""

    folder = tmp_path_factory.mktemp("injectors")
    made = [Replica(injector, folder / f"injector-{number}", cluster, LIFETIME) for number in range(3)]
    try:
        wait_for(lambda: all(each.is_ready() for each in made), lambda: f"all are ready\n{log_of(made)}")
        cluster.balancer.ports = [each.port for each in made]
        wait_for(cluster.creates_pods, lambda: f"pods are injected\n{log_of(made)}")
        yield made
        cluster.secret()
        assert len(cluster.private) > 10
        assert [each for each in made if any(private in each.log() for private in cluster.private)] == []
    finally:
        for each in made:
            each.stop()


def settled(cluster, replicas, before):
    """Waits until no CA is left that was there before, and all replicas serve the same."""

    def look():
        if set(cluster.authorities()) & set(before):
            return None
        return len({replica.shown() for replica in replicas}) == 1

    cluster.secret()
    wait_for(look, lambda: f"the old CA has left\n{log_of(replicas)}")


def test_replicas_share_one_certificate_that_the_api_server_trusts(cluster, replicas):
    secret = cluster.secret()
    assert cluster.bundle() == secret["ca.crt"] and len(split(secret["ca.crt"])) == 1
    wait_for(lambda: len({each.shown(cluster.bundle()) for each in replicas}) == 1, "all show the same")
    lease = cluster.kube.call("GET", f"{LEASES}/{LEASE}")
    assert lease["spec"]["leaseDurationSeconds"] == 15


def rotated(cluster, replicas):
    """Has a new CA made and the old one leave, under continuous pod creation: no pod un-injected, none refused."""

    before = cluster.authorities()
    with continuous(cluster, replicas) as told:
        cluster.ask_for_rotation()
        wait_for(lambda: len(cluster.authorities()) > len(before), "the new CA is trusted beside the old one")
        settled(cluster, replicas, before)
    assert told.wrong == [], f"{told.wrong[:10]}\n{log_of(replicas)}"
    # One a second at least, on a machine that is busy: none of the steps goes by unseen.
    assert told.pods > 40 and told.handshakes > 40, (told.pods, told.handshakes)


def test_a_ca_is_rotated_under_continuous_pod_creation(cluster, replicas):
    rotated(cluster, replicas)


def test_many_leaders_at_once_break_nothing(cluster, replicas):
    """The Lease is deleted again and again, so whoever asks for it gets it."""

    stop = threading.Event()

    def disturb():
        while not stop.wait(0.02):
            with contextlib.suppress(Refused):
                cluster.kube.call("DELETE", f"{LEASES}/{LEASE}")

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    try:
        rotated(cluster, replicas)
    finally:
        stop.set()
        disturbing.join()


def test_the_lease_of_a_replica_that_is_gone_runs_out(cluster, replicas):
    """Whoever took it last may have been killed."""

    cluster.ask_for_rotation()
    wait_for(lambda: len(cluster.authorities()) > 1, "there is a Lease")
    cluster.patch(f"{LEASES}/{LEASE}", {"spec": {"holderIdentity": "gone"}})
    before = len(cluster.authorities())
    cluster.ask_for_rotation()
    wait_for(lambda: len(cluster.authorities()) != before, lambda: f"another one leads\n{log_of(replicas)}")


def test_a_secret_that_is_deleted_is_made_again_and_no_pod_notices(cluster, replicas):
    before = cluster.authorities()
    with continuous(cluster, replicas) as told:
        cluster.kube.call("DELETE", f"{SECRETS}/{SECRET}")
        wait_for(cluster.secret, lambda: f"there is a Secret again\n{log_of(replicas)}")
        settled(cluster, replicas, before)
    assert told.wrong == [], f"{told.wrong[:10]}\n{log_of(replicas)}"


@pytest.mark.parametrize("broken", ["tls.key", "ca.key", "ca.crt"])
def test_rubbish_in_the_secret_is_replaced_and_no_pod_notices(cluster, replicas, broken):
    rubbish = base64.b64encode(b"rubbish").decode()
    with continuous(cluster, replicas) as told:
        cluster.patch(f"{SECRETS}/{SECRET}", {"data": {broken: rubbish}})
        wait_for(lambda: cluster.secret()[broken] != "rubbish", lambda: f"{broken} is replaced\n{log_of(replicas)}")
        if broken != "tls.key":
            wait_for(lambda: len(cluster.authorities()) > 1, "a new CA is trusted")
    assert told.wrong == [], f"{told.wrong[:10]}\n{log_of(replicas)}"
    assert any("is not as the injector made it" in each.log() for each in replicas)


def test_a_ca_bundle_that_is_reset_is_healed(cluster, replicas):
    """As by an upgrade of a chart that has the field: pods are refused until the first look, and not after it."""

    cluster.reset_bundle()
    wait_for(cluster.bundle, lambda: f"the caBundle is back\n{log_of(replicas)}")
    wait_for(cluster.creates_pods, lambda: f"pods are injected\n{log_of(replicas)}")


def test_somebody_else_who_keeps_the_bundle_is_named_and_not_fought_without_end(cluster, replicas):
    """As cert-manager's CA injector, with its annotation left on the webhook configuration."""

    told = "what is written is undone each time"

    def undone():
        if cluster.bundle():
            cluster.reset_bundle()
        return any(told in each.log() for each in replicas)

    wait_for(undone, lambda: f"the fight is told of\n{log_of(replicas)}")
    wait_for(cluster.bundle, lambda: f"the caBundle is back\n{log_of(replicas)}")
    wait_for(cluster.creates_pods, lambda: f"pods are injected\n{log_of(replicas)}")


def test_a_replica_that_may_not_says_which_rule_is_missing(cluster, injector, tmp_path, replicas):
    path = f"{RBAC}/clusterrolebindings/{ACCOUNT}"
    binding = cluster.kube.call("GET", path)
    cluster.kube.call("DELETE", path)
    wait_for(lambda: not cluster.kube.may("GET", CONFIGURATION, cluster.token), "the API server knows that it may no more")
    made = Replica(injector, tmp_path / "forbidden", cluster, LIFETIME)
    try:
        rule = (
            'a ClusterRole with the rule {apiGroups: [\\"admissionregistration.k8s.io\\"], '
            f"resources: [mutatingwebhookconfigurations], resourceNames: [{ACCOUNT}], verbs: [get]}}"
        )
        wait_for(lambda: rule in made.log(), lambda: f"the rule is named\n{made.log()}")
        assert not made.is_ready()
        fresh = {"metadata": {"name": ACCOUNT}, "roleRef": binding["roleRef"], "subjects": binding["subjects"]}
        cluster.kube.call("POST", path.rpartition("/")[0], fresh)
        wait_for(made.is_ready, lambda: f"it is ready with the rule\n{made.log()}")
    finally:
        made.stop()
    wait_for(cluster.creates_pods, "all is well")


def test_a_secret_of_somebody_else_is_left_alone(kube, cluster, injector, tmp_path, replicas):
    for each in replicas:
        each.stop()
    foreign = {"metadata": {"name": SECRET}, "type": "Opaque", "data": {"password": "aHVzaA=="}}
    kube.call("DELETE", f"{SECRETS}/{SECRET}")
    kube.call("POST", SECRETS, foreign)
    made = Replica(injector, tmp_path / "foreign", cluster, MONTH)
    try:
        wait_for(lambda: "is not the injector's, and is left alone" in made.log(), lambda: made.log())
        assert not made.is_ready() and cluster.secret() == {"password": "hush"}
        kube.call("DELETE", f"{SECRETS}/{SECRET}")
        wait_for(made.is_ready, lambda: f"it makes its own\n{made.log()}")
        cluster.balancer.ports = [made.port]
        wait_for(cluster.creates_pods, lambda: f"pods are injected\n{made.log()}")
        distrusted_before_a_look(cluster, made)
    finally:
        made.stop()


def distrusted_before_a_look(cluster, replica):
    """With lifetimes of months a replica looks a few times a minute, and at once when it is told of distrust."""

    told = "a client does not trust the certificate"

    def noticed():
        cluster.reset_bundle()
        cluster.creates_pods()
        wait_for(cluster.creates_pods, lambda: f"pods are injected\n{replica.log()}")
        # A look that was due just then may have healed it before anybody called.
        return told in replica.log()

    wait_for(noticed, lambda: f"distrust is noticed\n{replica.log()}")
