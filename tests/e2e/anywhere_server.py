"""IAM Roles Anywhere's CreateSession as AWS makes it, in front of the test AWS, and the PKI of those who ask it.

A request's signature is verified against the certificate that it shows, the certificate up to the trust anchor's CA,
and what the profile and the role allow; only then the role is assumed at the test AWS, whose keys go out. What is
refused is refused in AWS's words, as far as they are known.
"""

import base64
import datetime
import hashlib
import http.server
import json
import threading
import time
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

from moto_server import role, trust, user
from servers import Listening

REGION = "us-east-1"
SKEW = 300  # seconds that a signature's time may be off
PEM = serialization.Encoding.PEM
FORMATS = {
    "pkcs8": serialization.PrivateFormat.PKCS8,
    "traditional": serialization.PrivateFormat.TraditionalOpenSSL,  # PKCS#1 and SEC1
}
KEYS = {
    "rsa": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "rsa1024": lambda: rsa.generate_private_key(public_exponent=65537, key_size=1024),
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def minutes(count):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=count)


class Authority:
    """A CA, or one that another vouches for."""

    def __init__(self, name, above=None):
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._above, self._key = above, KEYS["p256"]()
        self.certificate = (above or self)._sign(self.name, self._key, x509.BasicConstraints(True, None), -60, 600)

    def chain(self):
        """The certificates between one that it issues and the CA at the top, which is not among them."""

        return [self.certificate, *self._above.chain()] if self._above else []

    def identity(self):
        """The CA itself, as nobody should use it."""

        return Identity(self.certificate, [], self._key)

    def issue(self, name, kind="p256", begins=-5, ends=60):
        """A certificate and its key; `begins` and `ends` in minutes from now."""

        key = KEYS[kind]()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._sign(subject, key, x509.BasicConstraints(False, None), begins, ends)
        return Identity(made, self.chain(), key)

    def _sign(self, subject, key, constraints, begins, ends):
        usage = {name: False for name in ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")}
        usage |= {"crl_sign": constraints.ca, "key_cert_sign": constraints.ca, "encipher_only": False, "decipher_only": False}
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(minutes(begins))
            .not_valid_after(minutes(ends))
            .add_extension(constraints, critical=True)
            .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        )
        return builder.sign(self._key, hashes.SHA256())


class Identity:
    """A certificate, those between it and the CA, and its key."""

    def __init__(self, certificate, between, key):
        self.certificate, self.between, self.key = certificate, between, key

    def certificate_pem(self):
        return b"".join(one.public_bytes(PEM) for one in [self.certificate, *self.between]).decode()

    def key_pem(self, form="pkcs8", passphrase=None):
        encryption = serialization.NoEncryption()
        if passphrase:
            encryption = serialization.BestAvailableEncryption(passphrase)
        return self.key.private_bytes(PEM, FORMATS[form], encryption).decode()


class Refused(Exception):
    def __init__(self, status, code, message):
        self.status, self.code, self.message = status, code, message


def denied(message):
    return Refused(403, "AccessDeniedException", message)


class Profile:
    def __init__(self, role_arns, enabled=True, accepts_session_name=True, seconds=3600):
        self.role_arns, self.enabled = role_arns, enabled
        self.accepts_session_name, self.seconds = accepts_session_name, seconds
        self.fault = None  # see Anywhere._answer


class Anywhere:
    """The service. `seen` has what was asked of it, in order; profiles and trust anchors are known by their ids."""

    def __init__(self, aws, tls=None):
        self.aws = aws
        self.seen = []
        self.anchors, self.profiles = {}, {}
        self.role_arn = None
        self._released = threading.Event()
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = b"".join(self._chunks())
                status, headers, answer = service._answer(self.path, self.headers, body)
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def _chunks(self):
                # AWS's helper sends its body in chunks.
                if self.headers.get("Transfer-Encoding") != "chunked":
                    yield self.rfile.read(int(self.headers.get("Content-Length") or 0))
                    return
                while size := int(self.rfile.readline(), 16):
                    yield self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()

            def log_message(self, *_):
                pass

        self._listening = Listening(Handler, tls)
        self.endpoint = self._listening.address

    def stop(self):
        self._released.set()
        self._listening.stop()

    # What is set up on AWS's side

    def furnish(self):
        """The service's own principal, and a role that trusts it and may assume others."""

        iam = self.aws.client("iam", **self.aws.operator)
        arn, key = user(iam, "rolesanywhere", Action="sts:AssumeRole", Resource="*")
        allowed = {"Action": ["sts:GetCallerIdentity", "sts:AssumeRole"], "Resource": "*"}
        self.role_arn = role(iam, "certified", trust(arn), **allowed)
        self._sts = self.aws.client("sts", **key)
        return self

    def arn(self, kind, name):
        return f"arn:aws:rolesanywhere:{REGION}:{self.aws.spoke_account}:{kind}/{hashlib.md5(name.encode()).hexdigest()}"

    def anchor(self, name, authority, enabled=True):
        arn = self.arn("trust-anchor", name)
        self.anchors[arn] = (authority.certificate, enabled)
        return arn

    def profile(self, name, **settings):
        arn = self.arn("profile", name)
        self.profiles[arn] = Profile(settings.pop("role_arns", [self.role_arn]), **settings)
        return arn

    # What is asked

    def _answer(self, path, headers, body):
        asked = {**dict(parse_qsl(urlsplit(path).query)), **json.loads(body)}
        entry = {"path": path, "headers": dict(headers.items()), "body": body.decode(), "asked": asked, "at": time.time()}
        self.seen.append(entry)
        profile = self.profiles.get(asked.get("profileArn"))
        fault = profile.fault if profile else None
        if fault == "hang":
            self._released.wait()
        if callable(fault):
            return fault()
        try:
            entry["serial"] = authenticate(path, headers, body, self.anchors.get(asked["trustAnchorArn"]))
            answer = self._session(profile, asked, entry["serial"])
            entry["status"] = 201
            return 201, {}, json.dumps(fault["answer"](answer) if fault else answer).encode()
        except Refused as refused:
            entry["status"] = refused.status
            # API Gateway's way to tell the code.
            kind = {"x-amzn-ErrorType": f"{refused.code}:http://internal.amazon.com/"}
            return refused.status, kind, json.dumps({"message": refused.message}).encode()

    def _session(self, profile, asked, serial):
        if profile is None:
            raise Refused(404, "ResourceNotFoundException", "Profile not found")
        if not profile.enabled:
            raise denied("Profile is disabled")
        name = asked.get("roleSessionName")
        if name and not profile.accepts_session_name:
            raise Refused(400, "ValidationException", "Custom role session name is not accepted by this profile")
        if not 900 <= asked["durationSeconds"] <= 43200:
            raise Refused(400, "ValidationException", "durationSeconds must be between 900 and 43200")
        arn = asked["roleArn"]
        seconds = min(asked["durationSeconds"], profile.seconds)
        try:
            if arn not in profile.role_arns:
                raise denied(f"Unable to assume role for {arn}")
            given = self._sts.assume_role(RoleArn=arn, RoleSessionName=name or f"{serial:x}", DurationSeconds=seconds)
        except ClientError:
            raise denied(f"Unable to assume role for {arn}") from None
        keys = given["Credentials"]
        credentials = {
            "accessKeyId": keys["AccessKeyId"],
            "secretAccessKey": keys["SecretAccessKey"],
            "sessionToken": keys["SessionToken"],
            "expiration": keys["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        who = {"arn": given["AssumedRoleUser"]["Arn"], "assumedRoleId": given["AssumedRoleUser"]["AssumedRoleId"]}
        one = {"assumedRoleUser": who, "credentials": credentials, "packedPolicySize": 10, "roleArn": arn, "sourceIdentity": "CN=app"}
        return {"credentialSet": [one], "subjectArn": self.arn("subject", str(serial))}


def authenticate(path, headers, body, anchor):
    """Verifies a request as AWS's user guide says ("Signing process", "Trust model"). Returns the serial number."""

    algorithm, _, rest = headers.get("Authorization", "").partition(" ")
    given = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
    signed = given.get("SignedHeaders", "").split(";")
    needed = {"host", "x-amz-date", "x-amz-x509"} | ({"x-amz-x509-chain"} & {name.lower() for name in headers})
    if not needed <= set(signed) or signed != sorted(signed):
        raise denied("Missing signed headers")
    leaf = decoded(headers["X-Amz-X509"])
    chain = [decoded(one) for one in headers.get("X-Amz-X509-Chain", "").split(",") if one]
    at = headers["X-Amz-Date"]
    stamp = datetime.datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    if abs(time.time() - stamp.timestamp()) > SKEW:
        raise denied("Signature expired")
    scope = f"{at[:8]}/{REGION}/rolesanywhere/aws4_request"
    if given.get("Credential") != f"{leaf.serial_number}/{scope}":
        raise denied("Credential is not scoped to this certificate, date, region and service")

    canonical = canonical_request(path, headers, signed, body)
    to_sign = f"{algorithm}\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    try:
        verify(leaf, algorithm, bytes.fromhex(given.get("Signature", "")), to_sign)
    except (InvalidSignature, ValueError):
        raise denied("Incorrect signature") from None
    check_chain(leaf, chain, anchor)
    return leaf.serial_number


def canonical_request(path, headers, signed, body):
    parts = urlsplit(path)
    pairs = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in parse_qsl(parts.query, True))
    query = "&".join(f"{name}={value}" for name, value in pairs)
    values = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in signed)
    return "\n".join([f"POST\n{parts.path}", query, values, ";".join(signed), hashlib.sha256(body).hexdigest()])


def verify(certificate, algorithm, signature, text):
    """Raises InvalidSignature, or ValueError if the algorithm is not the key's."""

    key = certificate.public_key()
    if algorithm == "AWS4-X509-RSA-SHA256" and isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
    elif algorithm == "AWS4-X509-ECDSA-SHA256" and isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, text.encode(), ec.ECDSA(hashes.SHA256()))
    else:
        raise ValueError(algorithm)


def check_chain(leaf, chain, anchor):
    if anchor is None:
        raise Refused(404, "ResourceNotFoundException", "Trust anchor not found")
    authority, enabled = anchor
    if not enabled:
        raise denied("Trust anchor is disabled")
    if leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise denied("Untrusted certificate. Insufficient certificate")
    if not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature:
        raise denied("Untrusted certificate. Insufficient certificate")
    now = datetime.datetime.now(datetime.timezone.utc)
    at = leaf
    for above in [*chain, authority]:
        if not at.not_valid_before_utc <= now <= at.not_valid_after_utc:
            raise denied("Expired certificate")
        try:
            at.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature):
            raise denied("Untrusted Signing Certificate") from None
        at = above


def decoded(der):
    return x509.load_der_x509_certificate(base64.b64decode(der, validate=True))


def write(folder, identity, name="tls", form="pkcs8"):
    """The certificate and its key as files; their paths."""

    certificate, key = Path(folder) / f"{name}.crt", Path(folder) / f"{name}.key"
    put(certificate, identity.certificate_pem())
    put(key, identity.key_pem(form))
    return certificate, key


def put(path, text):
    """The file comes whole: a relay may read it at any time."""

    fresh = path.with_name(f"{path.name}.new")
    fresh.touch(0o600)
    fresh.write_text(text)
    fresh.replace(path)


def secret_lines(identity):
    """The key's lines as PEM has them, for the search for leaks."""

    found = []
    forms = ("pkcs8",) if isinstance(identity.key, ed25519.Ed25519PrivateKey) else FORMATS
    for form in forms:
        lines = [line for line in identity.key_pem(form).splitlines() if "-----" not in line]
        # The first says only what kind of key it is.
        found += [line for line in lines[1:] if len(line) >= 16]
    return found
