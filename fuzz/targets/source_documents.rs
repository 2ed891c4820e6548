//! What the other sources read: documents of agents and of the metadata service, of programs and files, shared files of
//! the SDKs, tokens of OIDC issuers, and the certificates and keys of Roles Anywhere. The first line of an input says which.

#![no_main]

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use credential_relay::config::Config;
use credential_relay_fuzz::bench::Bench;
use credential_relay_fuzz::told::CANARY;
use credential_relay_fuzz::upstream::known_canary;
use libfuzzer_sys::fuzz_target;

/// What the relay sends to agents; an input may have it too.
const AGENTS_TOKEN: &str = "authorization-token-of-the-agent";

const STS: &str = "sts: { region: us-east-1, endpoint: 'http://{upstream}' }, ";
const CERTIFICATE: &str = "source: { roles_anywhere: {
    trust_anchor_arn: 'arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/ab-1',
    profile_arn: 'arn:aws:rolesanywhere:eu-west-1:111122223333:profile/ab-1',
    role_arn: 'arn:aws:iam::111122223333:role/app', endpoint: 'http://{upstream}',
    certificate: '{folder}/cert.pem', private_key: '{folder}/key.pem' } }";

const SOURCES: [(&str, &str); 6] = [
    (
        "container",
        "source: { container: { uri: 'http://{upstream}/creds', token_file: '{folder}/token' } }",
    ),
    ("imds", "source: { imds: { endpoint: 'http://{upstream}' } }"),
    ("file", "source: { file: { path: '{folder}/document' } }, serve_long_lived_keys: true"),
    (
        "shared",
        "source: { profile: { name: default, config_file: '{folder}/config', credentials_file: '{folder}/document' } }, serve_long_lived_keys: true",
    ),
    (
        "jwt",
        "source: { web_identity: { role_arn: 'arn:aws:iam::111122223333:role/hub', token_file: '{folder}/document' } }",
    ),
    ("certificate", CERTIFICATE),
];

/// A profile of a shared file that has any of these may run programs and ask others than this upstream.
const FOLLOWED: [&str; 8] =
    ["process", "sso", "role", "source", "web", "endpoint", "login", "service"];

/// What Roles Anywhere answers where the certificate and the key are what is tried.
const CREATED: &str = concat!(
    "201\n\n",
    r#"{"credentialSet":[{"credentials":{"accessKeyId":"ASIAFUZZTEST00000001","secretAccessKey":"S3CRET-key","#,
    r#""sessionToken":"S3CRET-token","expiration":"2027-01-15T09:00:00Z"}}]}"#
);

const DENIED: &str = concat!(
    "403\n\n<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>",
    "<Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>"
);

struct World {
    bench: Bench,
    configs: BTreeMap<&'static str, Config>,
    /// A certificate and its key, in PEM.
    pair: (Vec<u8>, Vec<u8>),
}

impl World {
    fn start() -> Self {
        let bench = Bench::start();
        bench.write("token", AGENTS_TOKEN.as_bytes());
        bench.write("config", b"");
        let config = |(name, profile): (&'static str, &str)| {
            (name, bench.config(&format!("{{ {STS} profiles: {{ p: {{ {profile} }} }} }}")))
        };
        Self { configs: SOURCES.map(config).into(), bench, pair: pair() }
    }

    fn fetch(&self, source: &str, script: &str, secrets: &[&str]) {
        self.bench.fetch(&self.configs[source], script, secrets);
    }

    /// With a document that nobody quotes.
    fn read(&self, source: &str, document: &[u8], script: &str) {
        self.bench.write("document", document);
        // Not even where it is no such document: whatever it is, it may be a secret in the wrong place.
        let canary = document.windows(CANARY.len()).any(|bytes| bytes == CANARY.as_bytes());
        self.fetch(source, script, if canary { &[CANARY] } else { &[] });
    }

    fn sign(&self, certificate: &[u8], key: &[u8], script: &str, secrets: &[&str]) {
        self.bench.write("cert.pem", certificate);
        self.bench.write("key.pem", key);
        self.fetch("certificate", script, secrets);
    }
}

thread_local! {
    static WORLD: World = World::start();
}

/// Of January 2027.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let key = rcgen::KeyPair::generate().expect("a key can be made");
    let mut parameters = rcgen::CertificateParams::new(vec!["app".to_owned()]).expect("a name");
    parameters.not_before = rcgen::date_time_ymd(2027, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2027, 1, 31);
    let certificate = parameters.self_signed(&key).expect("it can be signed");
    (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der()))
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der)).into_bytes()
}

/// At the first of these bytes, if they are there.
fn split<'a>(data: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = data.windows(at.len()).position(|bytes| bytes == at)?;
    Some((&data[..place], &data[place + at.len()..]))
}

fuzz_target!(|data: &[u8]| {
    let Some((name, rest)) = split(data, b"\n") else { return };
    WORLD.with(|world| match name {
        b"container" | b"imds" | b"roles-anywhere" => {
            let script = String::from_utf8_lossy(rest);
            // The others were never sent it, and do not know it for a secret.
            let mut secrets = if name == b"container" { vec![AGENTS_TOKEN] } else { Vec::new() };
            secrets.extend(known_canary(&script));
            match name {
                b"container" => world.fetch("container", &script, &secrets),
                b"imds" => world.fetch("imds", &script, &secrets),
                _ => world.sign(&world.pair.0, &world.pair.1, &script, &secrets),
            }
        }
        b"file" => world.read("file", rest, ""),
        b"jwt" => world.read("jwt", rest, DENIED),
        b"shared" => {
            let lower = String::from_utf8_lossy(rest).to_lowercase();
            if !FOLLOWED.iter().any(|word| lower.contains(word)) {
                world.read("shared", rest, "");
            }
        }
        b"pem" => {
            if let Some((certificate, key)) = split(rest, b"\n===\n") {
                world.sign(certificate, key, CREATED, &[CANARY]);
            }
        }
        // As it is within PEM, where what is changed at random would hardly be base64 any more.
        b"PRIVATE KEY" | b"EC PRIVATE KEY" | b"RSA PRIVATE KEY" => {
            if let Some((certificate, key)) = split(rest, b"\n===\n") {
                let label = str::from_utf8(name).unwrap_or_default();
                world.sign(&pem("CERTIFICATE", certificate), &pem(label, key), CREATED, &[CANARY]);
            }
        }
        _ => {}
    });
});
