"""Who logs in to the real Vault, and by what: JWTs, service accounts and the API server that knows them, certificates,
a signed GetCallerIdentity.
"""

import base64
import datetime
import http.server
import ipaddress
import json
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUDIENCE = "vault"
SERVER_ID = "vault.credential-relay.test"


def signed_caller_identity(aws, role, key, server_id=SERVER_ID):
    """The body of a login by AWS identity; key as in `aws.base`, or with a session_token."""

    asked = AWSRequest(
        "POST",
        aws.endpoint + "/",
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
        data="Action=GetCallerIdentity&Version=2011-06-15",
    )
    if server_id is not None:
        asked.headers["X-Vault-AWS-IAM-Server-ID"] = server_id
    signer = Credentials(key["access_key_id"], key["secret_access_key"], key.get("session_token"))
    SigV4Auth(signer, "sts", aws.region).add_auth(asked)
    asked.headers["Host"] = urlsplit(aws.endpoint).netloc
    coded = {
        "iam_request_url": asked.url,
        "iam_request_body": asked.data if isinstance(asked.data, str) else asked.data.decode(),
        "iam_request_headers": json.dumps({name: [value] for name, value in asked.headers.items()}),
    }
    given = {name: base64.b64encode(value.encode()).decode() for name, value in coded.items()}
    return {"role": role, "iam_http_request_method": "POST", **given}


class Issuer:
    """Signs JWTs (ES256), as an identity provider or the Kubernetes API server does."""

    def __init__(self, name="https://issuer.test", key=None):
        self.name = name
        self._key = key or ec.generate_private_key(ec.SECP256R1())
        self.public_key = (
            self._key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def sign(self, subject, audience=AUDIENCE, seconds=600, **claims):
        now = int(time.time())
        claims = {"iss": self.name, "sub": subject, "aud": [audience], "iat": now, "exp": now + seconds, **claims}
        parts = [coded(json.dumps(part).encode()) for part in ({"alg": "ES256", "typ": "JWT"}, claims)]
        r, s = utils.decode_dss_signature(self._key.sign(".".join(parts).encode(), ec.ECDSA(hashes.SHA256())))
        return ".".join([*parts, coded(r.to_bytes(32, "big") + s.to_bytes(32, "big"))])

    def service_account(self, namespace, name, **more):
        kubernetes = {"namespace": namespace, "serviceaccount": {"name": name, "uid": f"uid-{name}"}}
        return self.sign(f"system:serviceaccount:{namespace}:{name}", **{"kubernetes.io": kubernetes}, **more)


def coded(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class TokenReviews:
    """The one call of the Kubernetes API that Vault makes: POST tokenreviews. `trusted` is who may be found to be real.

    `status` other than 201 is an API server in trouble. tests/kube is a real one.
    """

    authority = ""  # it speaks plainly

    def __init__(self, issuer):
        self.issuer = issuer
        self.status = 201
        self.reviewer = issuer.service_account("vault", "reviewer")
        self.seen = []
        reviews = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = json.dumps(reviews.review(asked)).encode()
                self.send_response(reviews.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def review(self, asked):
        if self.status != 201:
            return {"kind": "Status", "status": "Failure", "message": "etcdserver: request timed out", "code": self.status}
        spec = asked["spec"]
        claims = json.loads(base64.urlsafe_b64decode(spec["token"].split(".")[1] + "=="))
        wanted = spec.get("audiences") or claims["aud"]
        shared = [audience for audience in wanted if audience in claims["aud"]]
        self.seen.append(claims["sub"])
        if claims["exp"] < time.time() or not shared:
            why = "token has expired" if shared else f"token audiences {claims['aud']} is invalid for {wanted}"
            return {**asked, "status": {"authenticated": False, "error": f"[invalid bearer token, {why}]"}}
        account = claims["kubernetes.io"]["serviceaccount"]
        who = {"username": claims["sub"], "uid": account["uid"], "groups": ["system:serviceaccounts"]}
        return {**asked, "status": {"authenticated": True, "user": who, "audiences": shared}}

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


# Longer than any run, the soak's hour among them.
A_DAY = 24 * 3600


class Authority:
    """A CA that issues certificates for servers on 127.0.0.1, or by a host's name, and for clients."""

    def __init__(self, folder):
        self._folder = Path(folder)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "credential-relay tests")])
        made = self._build(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))
        self.authority = self._folder / "ca.pem"
        self.authority.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, name, server=False, seconds=A_DAY, host=None):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        made = self._build(subject, key, x509.BasicConstraints(ca=False, path_length=None), usage, seconds, host)
        return Certificate(self, name, made, key)

    def _build(self, subject, key, constraints, usage=None, seconds=A_DAY, host=None):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(seconds=seconds))
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if usage:
            named = x509.DNSName(host) if host else x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            names = x509.SubjectAlternativeName([named])
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


class Certificate:
    """A certificate and its key as PEM files, and the file of the CA that they are from."""

    def __init__(self, authority, name, made, key):
        folder = authority.authority.parent
        self.authority = authority.authority
        self.certificate, self.key = folder / f"{name}.pem", folder / f"{name}.key"
        self.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.key.touch(0o600)
        self.key.write_bytes(private)
