"""The relay's CreateSession is what AWS's own credential helper would send, by the helper's own code (tests/rolesanywhere)."""

import base64
import email.message
import hashlib
import json
import subprocess
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import serialization

import toolchain
from anywhere_server import Anywhere, Authority, Refused, authenticate, canonical_request, verify, write
from harness import Relay, end_with_parent, environment


def helper(test, folder, **asked):
    """What the helper says, asked as its command line would."""

    ran = subprocess.run(
        [toolchain.built("rolesanywhere") / "helper", f"-test.run=^{test}$"],
        env=environment(folder, AWS_REGION=asked["region"]),
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        preexec_fn=end_with_parent,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (said,) = [line for line in ran.stdout.splitlines() if line.startswith("said: ")]
    return json.loads(said.removeprefix("said: "))


@pytest.fixture(scope="module")
def anywhere(module_aws):
    service = Anywhere(module_aws).furnish()
    yield service
    service.stop()


def bundle(folder, identity):
    """The certificates between, in a file of their own, as the helper wants them."""

    if not identity.between:
        return ""
    path = folder / "between.pem"
    path.write_text(identity.certificate_pem().split("-----END CERTIFICATE-----\n", 1)[1])
    return str(path)


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("between", [0, 1, 2])
@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_requests_equal_the_helpers(binary, anywhere, module_aws, tmp_path, kind, between, named):
    root = Authority("root")
    authority = root
    for number in range(between):
        authority = Authority(f"between-{number}", above=authority)
    identity = authority.issue("app", kind)
    certificate, key = write(tmp_path, identity, form="traditional")
    anchor, profile = anywhere.anchor("root", root), anywhere.profile("app")
    source = {
        "trust_anchor_arn": anchor,
        "profile_arn": profile,
        "role_arn": anywhere.role_arn,
        "certificate": str(certificate),
        "private_key": str(key),
        "duration": "30m",
        "endpoint": anywhere.endpoint,
        **({"session_name": "pod-+=,.@7"} if named else {}),
    }
    before = len(anywhere.seen)
    folder = tmp_path / "relay"
    folder.mkdir()
    relay = Relay(binary, folder, module_aws, {"app": {"source": {"roles_anywhere": source}}}).ready()
    assert relay.stop()[0] == 0
    (sent,) = anywhere.seen[before:]
    assert sent["status"] == 201

    at = sent["headers"]["x-amz-date"]
    theirs = helper(
        "TestSign",
        tmp_path,
        certificate=str(certificate),
        chain=bundle(tmp_path, identity),
        key=str(key),
        trust_anchor_arn=anchor,
        profile_arn=profile,
        role_arn=anywhere.role_arn,
        session_name=source.get("session_name", ""),
        seconds=1800,
        region="us-east-1",
        endpoint=anywhere.endpoint,
        at=f"{at[:4]}-{at[4:6]}-{at[6:11]}:{at[11:13]}:{at[13:]}",
    )
    assert anywhere.endpoint + sent["path"] == theirs["url"]
    assert sent["body"] == theirs["body"]
    ours = {name: value for name, value in sent["headers"].items() if name.lower() not in ("user-agent", "content-length")}
    theirs["headers"].pop("User-Agent")
    lowered = {name.lower(): value for name, value in ours.items()}
    expected = {name.lower(): value for name, value in theirs["headers"].items()}
    (our_start, _, our_signature) = lowered.pop("authorization").partition("Signature=")
    (their_start, _, their_signature) = expected.pop("authorization").partition("Signature=")
    assert (lowered, our_start) == (expected, their_start)

    # The string that the helper signed is the one that the relay's request has.
    signed = our_start.partition("SignedHeaders=")[2].rstrip(", ").split(";")
    canonical = canonical_request(urlsplit(theirs["url"])._replace(scheme="", netloc="").geturl(), lowered, signed, sent["body"].encode())
    assert theirs["string_to_sign"].endswith(hashlib.sha256(canonical.encode()).hexdigest())
    algorithm = our_start.partition(" ")[0]
    for signature in (our_signature, their_signature):
        verify(identity.certificate, algorithm, bytes.fromhex(signature), theirs["string_to_sign"])
    # ECDSA draws a number for each signature; RSA's are always the same.
    assert (our_signature == their_signature) == (kind == "rsa")


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_the_service_of_these_tests_takes_no_request_that_was_changed(binary, anywhere, module_aws, tmp_path, kind):
    root = Authority("root")
    identity = Authority("between", above=root).issue("app", kind)
    certificate, key = write(tmp_path, identity)
    source = {
        "trust_anchor_arn": anywhere.anchor("root", root),
        "profile_arn": anywhere.profile("app"),
        "role_arn": anywhere.role_arn,
        "certificate": str(certificate),
        "private_key": str(key),
        "endpoint": anywhere.endpoint,
    }
    folder = tmp_path / "relay"
    folder.mkdir()
    relay = Relay(binary, folder, module_aws, {"app": {"source": {"roles_anywhere": source}}}).ready()
    assert relay.stop()[0] == 0
    sent = anywhere.seen[-1]
    body, headers = sent["body"].encode(), {name.lower(): value for name, value in sent["headers"].items()}
    anchor = anywhere.anchors[source["trust_anchor_arn"]]

    def taken(path=sent["path"], body=body, **changed):
        told = email.message.Message()
        for name, value in {**headers, **changed}.items():
            told[name] = value
        try:
            return authenticate(path, told, body, anchor)
        except Refused as refused:
            return refused.message

    assert taken() == identity.certificate.serial_number
    assert taken(body=body.replace(b"3600", b"3601")) == "Incorrect signature"
    assert taken(path=sent["path"].replace("certified", "admin")) == "Incorrect signature"
    assert taken(host="elsewhere") == "Incorrect signature"
    assert taken(**{"x-amz-date": "20200101T000000Z"}) == "Signature expired"
    other = root.issue("app", kind)
    shown = base64.b64encode(other.certificate.public_bytes(serialization.Encoding.DER)).decode()
    assert "not scoped to this certificate" in taken(**{"x-amz-x509": shown})


@pytest.mark.parametrize("kind", ["rsa", "p256"])
def test_the_service_of_these_tests_takes_the_helpers_own_requests(anywhere, module_aws, tmp_path, kind):
    root = Authority("root")
    identity = Authority("between", above=root).issue("app", kind)
    certificate, key = write(tmp_path, identity)
    given = helper(
        "TestSession",
        tmp_path,
        certificate=str(certificate),
        chain=bundle(tmp_path, identity),
        key=str(key),
        trust_anchor_arn=anywhere.anchor("root", root),
        profile_arn=anywhere.profile("app"),
        role_arn=anywhere.role_arn,
        session_name="",
        seconds=900,
        region="us-east-1",
        endpoint=anywhere.endpoint,
        at="2026-11-25T00:00:00Z",
    )
    keys = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    arn = module_aws.client("sts", *keys).get_caller_identity()["Arn"]
    assert f":assumed-role/certified/{identity.certificate.serial_number:x}" in arn
