//! Certificates and keys as files, what is sent with them, and what is made of the answers. RSA,
//! whose keys nothing here can make, is tested end to end (tests/e2e/test_roles_anywhere.py).

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up must end")]

use std::fs;
use std::path::PathBuf;

use aws_smithy_types::base64;
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::*;
use crate::clock::ManualClock;
use crate::config::ClientCertificate;
use crate::config::values::RolesAnywhereArn;
use crate::failure::Advice;
use crate::metrics::Metrics;

/// 2027-01-15T08:00:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLETOKEN";

/// A certificate that is valid in January 2027, and its key, as PEM.
struct Pair {
    certificate: String,
    key: rcgen::KeyPair,
}

fn pair_of(algorithm: &'static rcgen::SignatureAlgorithm) -> Pair {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec!["app".to_owned()]).unwrap();
    parameters.serial_number = Some(rcgen::SerialNumber::from_slice(&[1, 0]));
    parameters.not_before = rcgen::date_time_ymd(2027, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2027, 1, 31);
    Pair { certificate: parameters.self_signed(&key).unwrap().pem(), key }
}

fn pair() -> Pair {
    pair_of(&rcgen::PKCS_ECDSA_P256_SHA256)
}

struct Bench {
    source: RolesAnywhere,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(certificate: &str, key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arn = |kind: &str| {
            let text = format!("arn:aws:rolesanywhere:eu-west-1:111122223333:{kind}/ab-1");
            RolesAnywhereArn::read(&text, kind).unwrap()
        };
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        let settings = Settings {
            trust_anchor_arn: arn("trust-anchor"),
            profile_arn: arn("profile"),
            role_arn: "arn:aws:iam::111122223333:role/app".parse().unwrap(),
            certificate: ClientCertificate { cert: path("tls.crt"), key: path("tls.key") },
            session_name: Some("pod".parse().unwrap()),
            duration: Duration::from_secs(3600),
            region: "eu-west-1".parse().unwrap(),
            endpoint: Some("http://127.0.0.1:9".parse().unwrap()),
            ca_cert: None,
        };
        let clock = ManualClock::starting_at(NOW).clock();
        let metrics = Metrics::new().profile(&"app".parse().unwrap());
        let source = RolesAnywhere::new(&settings, &Transports::default(), clock, metrics).unwrap();
        let bench = Self { source, _folder: folder };
        bench.write(certificate, key);
        bench
    }

    fn write(&self, certificate: &str, key: &str) {
        fs::write(&self.source.settings.certificate.cert, certificate).unwrap();
        fs::write(&self.source.settings.certificate.key, key).unwrap();
    }

    async fn identity(&self, now: Timestamp) -> Result<Identity, Failure> {
        Identity::read(&self.source.settings.certificate, &mut Aside::default(), now).await
    }

    fn answered(&mut self, body: &str) -> Result<Credential, Failure> {
        let started = self.source.clock.now();
        self.source.read(&Response::new(Bytes::from(body.to_owned())), started)
    }
}

/// What the key's PEM must not be found in.
fn assert_tells_nothing_of(key: &str, failure: &Failure) {
    let said = format!("{failure} {failure:?}");
    for line in key.lines().filter(|line| !line.starts_with("-----") && line.len() > 8) {
        assert!(!said.contains(&line[..8]), "{said}");
    }
}

#[tokio::test]
async fn the_request_is_signed_over_all_that_matters() {
    let (leaf, other) = (pair(), pair());
    let both = format!("{}{}", leaf.certificate, other.certificate);
    let bench = Bench::new(&both, &leaf.key.serialize_pem());
    let identity = bench.identity(NOW).await.unwrap();
    let request = bench.source.request(&identity, NOW).unwrap();
    let query = "profileArn=arn%3Aaws%3Arolesanywhere%3Aeu-west-1%3A111122223333%3Aprofile%2Fab-1\
                 &roleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Fapp\
                 &trustAnchorArn=arn%3Aaws%3Arolesanywhere%3Aeu-west-1%3A111122223333%3Atrust-anchor%2Fab-1";
    assert_eq!(request.uri().to_string(), format!("http://127.0.0.1:9/sessions?{query}"));
    let (der, chain) = (base64::encode(&identity.chain[0]), base64::encode(&identity.chain[1]));
    let hash = |text: &str| {
        let bytes = digest(&SHA256, text.as_bytes());
        bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let body = hash(r#"{"durationSeconds":3600,"roleSessionName":"pod"}"#);
    let names = "content-type;host;x-amz-date;x-amz-x509;x-amz-x509-chain";
    let canonical = format!(
        "POST\n/sessions\n{query}\ncontent-type:application/json\nhost:127.0.0.1:9\n\
         x-amz-date:20270115T080000Z\nx-amz-x509:{der}\nx-amz-x509-chain:{chain}\n\n{names}\n{body}"
    );
    let scope = "20270115/eu-west-1/rolesanywhere/aws4_request";
    let to_sign =
        format!("AWS4-X509-ECDSA-SHA256\n20270115T080000Z\n{scope}\n{}", hash(&canonical));
    let authorization = request.headers()["authorization"].to_str().unwrap();
    let head =
        format!("AWS4-X509-ECDSA-SHA256 Credential=256/{scope}, SignedHeaders={names}, Signature=");
    let signature = authorization.strip_prefix(&head).unwrap();
    let signature: Vec<u8> = (0..signature.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap())
        .collect();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, leaf.key.public_key_raw())
        .verify(to_sign.as_bytes(), &signature)
        .unwrap();
}

#[tokio::test]
async fn a_key_is_read_in_every_form_that_names_it() {
    let pair = pair();
    let bench = Bench::new(&pair.certificate, &pair.key.serialize_pem());
    assert!(bench.identity(NOW).await.is_ok());

    // The SEC1 key within the PKCS#8 one, with and without the curve and the public key.
    let pkcs8 = pair.key.serialize_der();
    let at = pkcs8.windows(5).position(|five| five == [2, 1, 1, 4, 32]).unwrap();
    let scalar = &pkcs8[at + 5..at + 37];
    let curve = [0xa0, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    let sec1 = [&[0x30, 49, 2, 1, 1, 4, 32][..], scalar, &curve].concat();
    let inner = [&[0x30, 37, 2, 1, 1, 4, 32][..], scalar].concat();
    let ec = [
        0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3,
        1, 7,
    ];
    let bare = [&[0x30, 65, 2, 1, 0][..], &ec, &[4, 39], &inner].concat();
    let parameters =
        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    for (label, der) in [("EC PRIVATE KEY", sec1), ("PRIVATE KEY", bare)] {
        let text = base64::encode(&der);
        let pem = format!("{parameters}-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
        bench.write(&pair.certificate, &pem);
        let read = bench.identity(NOW).await.map(|identity| identity.key.algorithm());
        assert_eq!(read.unwrap(), "AWS4-X509-ECDSA-SHA256", "{label}");
    }
}

#[tokio::test]
async fn files_that_are_not_as_they_must_be_are_explained() {
    let (good, other) = (pair(), pair());
    let key = good.key.serialize_pem();
    let p384 = pair_of(&rcgen::PKCS_ECDSA_P384_SHA384);
    let ed25519 = pair_of(&rcgen::PKCS_ED25519);
    let labelled = |label: &str| key.replace("PRIVATE KEY", label);
    let old_style = key.replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1);
    let cert = good.certificate.as_str();
    let (transient, never) = (Cause::Transient, Cause::Misconfigured);
    for (certificate, key, cause, layer, said) in [
        ("", key.as_str(), transient, "certificate", "no PEM certificate is in it"),
        (&cert[..300], &key, transient, "certificate", "a certificate in it cannot be read"),
        (&format!("{cert}{}", &cert[..99]), &key, transient, "certificate", "cannot be read"),
        (&labelled("CERTIFICATE"), &key, transient, "certificate", "is not X.509"),
        (cert, "", transient, "private_key", "no PEM private key"),
        (cert, &key[..90], transient, "private_key", "its PRIVATE KEY cannot be read"),
        (cert, &labelled("EC PRIVATE KEY"), transient, "private_key", "cannot be read"),
        (cert, &labelled("RSA PRIVATE KEY"), transient, "private_key", "it is not the key of"),
        (cert, &labelled("DSA PRIVATE KEY"), never, "private_key", "a DSA PRIVATE KEY"),
        (cert, &labelled("ENCRYPTED PRIVATE KEY"), never, "private_key", "is encrypted"),
        (cert, &old_style, never, "private_key", "is encrypted"),
        (cert, &other.key.serialize_pem(), transient, "private_key", "it is not the key of"),
        (&p384.certificate, &p384.key.serialize_pem(), never, "private_key", "over P-384"),
        (&ed25519.certificate, &ed25519.key.serialize_pem(), never, "private_key", "is Ed25519"),
    ] {
        let bench = Bench::new(certificate, key);
        let failure = bench.identity(NOW).await.err().unwrap();
        assert_eq!(failure.cause, cause, "{failure}");
        assert!(failure.reason.contains(said), "{said}: {failure}");
        assert!(matches!(failure.advice, Advice::Known { layer: found, .. } if found == layer));
        assert_tells_nothing_of(key, &failure);
    }
    let bench = Bench::new(cert, &key);
    fs::remove_file(&bench.source.settings.certificate.key).unwrap();
    let failure = bench.identity(NOW).await.err().unwrap();
    assert_eq!(failure.cause, Cause::NotConfigured);
    assert!(failure.reason.contains("private_key") && failure.reason.contains("tls.key"));
}

#[tokio::test]
async fn files_that_were_renewed_one_after_the_other_heal() {
    let (old, new) = (pair(), pair());
    let bench = Bench::new(&old.certificate, &old.key.serialize_pem());
    assert!(bench.identity(NOW).await.is_ok());
    bench.write(&new.certificate, &old.key.serialize_pem());
    assert_eq!(bench.identity(NOW).await.err().unwrap().cause, Cause::Transient);
    bench.write(&new.certificate, &new.key.serialize_pem());
    assert!(bench.identity(NOW).await.is_ok());
}

#[tokio::test]
async fn a_certificate_counts_in_its_time_alone() {
    let pair = pair();
    let bench = Bench::new(&pair.certificate, &pair.key.serialize_pem());
    let at = |text: &str| Timestamp::parse_rfc3339(text).unwrap();
    for (now, said) in [
        ("2026-12-31T23:59:59Z", "not valid before 2027-01-01T00:00:00Z"),
        ("2027-01-31T00:00:01Z", "has expired at 2027-01-31T00:00:00Z"),
    ] {
        let failure = bench.identity(at(now)).await.err().unwrap();
        assert_eq!(failure.cause, Cause::StaleCaller);
        assert!(failure.reason.contains(said) && failure.reason.contains(now), "{failure}");
    }
    assert!(bench.identity(at("2027-01-31T00:00:00Z")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn answers_are_believed_where_they_make_sense() {
    let pair = pair();
    let mut bench = Bench::new(&pair.certificate, &pair.key.serialize_pem());
    let good = format!(
        r#"{{"credentialSet":[{{"roleArn":"r","credentials":{{"accessKeyId":"ASIAIOSFODNN7EXAMPLE","secretAccessKey":"{SECRET}","sessionToken":"{TOKEN}","expiration":"2027-01-15T08:30:00Z"}}}}],"subjectArn":"s"}}"#
    );
    let credential = bench.answered(&good).unwrap();
    assert_eq!(credential.access_key_id.as_str(), "ASIAIOSFODNN7EXAMPLE");
    assert_eq!(credential.remaining(bench.source.clock.now()), Some(Duration::from_secs(1800)));
    assert_eq!(credential.principal, Principal::Role(bench.source.settings.role_arn.clone()));
    assert!(bench.source.cut_told);
    for (body, said) in [
        (String::new(), "line 1 column 0"),
        (good[..good.len() / 2].to_owned(), "cannot be read"),
        (r#"{"credentialSet":[]}"#.to_owned(), "no credentials"),
        (good.replace("2027-01-15T08:30", "2027-01-15T07:30"), "in the past"),
        (good.replace("2027-01-15T08:30:00Z", "soon"), "is no time"),
        (good.replace("ASIAIOSFODNN7EXAMPLE", SECRET), "accessKeyId"),
        (good.replace(SECRET, ""), "empty"),
        (good.replace(&format!(r#""{SECRET}""#), "7"), "cannot be read"),
    ] {
        let failure = bench.answered(&body).unwrap_err();
        assert_eq!(failure.cause, Cause::Transient);
        let told = format!("{failure:?}");
        assert!(told.contains(said) && !told.contains(SECRET) && !told.contains(TOKEN), "{told}");
    }
}

#[tokio::test]
async fn a_renewal_that_is_late_is_told_once() {
    let pair = pair();
    let mut bench = Bench::new(&pair.certificate, &pair.key.serialize_pem());
    let identity = bench.identity(NOW).await.unwrap();
    bench.source.tell_late_renewal(&identity.certificate, NOW);
    assert_eq!(bench.source.late_told, None);
    let late = Timestamp::parse_rfc3339("2027-01-30T00:00:00Z").unwrap();
    bench.source.tell_late_renewal(&identity.certificate, late);
    assert_eq!(bench.source.late_told.as_deref(), Some("256"));
}

#[tokio::test]
async fn each_partition_has_its_own_address() {
    let pair = pair();
    let bench = Bench::new(&pair.certificate, &pair.key.serialize_pem());
    for (region, address) in [
        ("eu-west-1", "https://rolesanywhere.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", "https://rolesanywhere.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "https://rolesanywhere.cn-north-1.amazonaws.com.cn"),
    ] {
        let region = region.parse().unwrap();
        let settings = Settings { endpoint: None, region, ..bench.source.settings.clone() };
        assert_eq!(endpoint(&settings), address);
    }
    assert_eq!(endpoint(&bench.source.settings), "http://127.0.0.1:9");
}
