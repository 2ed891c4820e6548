//! The golden file `tests/vault_failures.json` and the table of `docs/vault-failures.md`. With
//! `UPDATE_GOLDEN=1` both are written anew: look at the difference.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, InvalidMessage};
use serde::{Deserialize, Serialize};

use super::*;
use crate::config::{Source, Tls};
use crate::failure::{Advice, Outlook};

#[derive(Deserialize, Serialize)]
struct Case {
    kind: String,
    login: String,
    namespace: String,
    operation: String,
    path: String,
    how: String,
    said: Vec<String>,
    retry_after_s: Option<u64>,
    cause: String,
    /// As `check --connect` prints it.
    prints: Vec<String>,
}

impl Case {
    fn given(&self) -> Given {
        let (words, status) = match self.how.rsplit_once(' ') {
            Some((words, status)) if status.parse::<u16>().is_ok() => {
                (words, status.parse().unwrap())
            }
            _ => (self.how.as_str(), 0),
        };
        let how = match words {
            "status" => How::Status(status),
            "page" => How::Page(status),
            "unreadable" => How::Unreadable(status),
            "redirected" => How::Redirected,
            "tls" => How::Tls,
            "not sent" => How::NotSent,
            "not made" => How::NotMade,
            other => panic!("{other}"),
        };
        Given {
            operation: operation(&self.operation),
            path: self.path.clone(),
            how,
            said: text::tidy(&self.said),
            retry_after: self.retry_after_s.map(Duration::from_secs),
        }
    }

    fn context(&self) -> Context {
        let namespace = self.namespace.parse().unwrap();
        Context::of_secrets(&settings(&self.login), &namespace)
    }
}

fn operation(name: &str) -> Operation {
    use Operation::*;
    let all = [
        Login,
        RenewToken,
        LookUpToken,
        RevokeToken,
        LookUpWrapping,
        Unwrap,
        ReadCredentials,
        ReadStatic,
        RenewLease,
        RevokeLease,
    ];
    all.into_iter().find(|operation| operation.as_str() == name).unwrap()
}

fn settings(login: &str) -> Vault {
    let mount = || login.parse().unwrap();
    let role = || "payments".parse().unwrap();
    let file = |name: &str| PathBuf::from("/var/run/secrets").join(name);
    let login = match login {
        "kubernetes" => {
            Login::Kubernetes { mount: mount(), role: role(), token_file: file("vault-token") }
        }
        "approle" => Login::AppRole {
            mount: mount(),
            role_id: RoleId::Plain("59d6d1ca-47bb-4e7e-a40b-8be3bc5a0ba8".to_owned()),
            secret_id: SecretId::File(file("secret-id")),
        },
        "jwt" => Login::Jwt { mount: mount(), role: role(), token_file: file("jwt") },
        "aws" => Login::Aws {
            mount: mount(),
            role: role(),
            server_id: None,
            region: "us-east-1".parse().unwrap(),
            endpoint: None,
            credentials: Box::new(Source::Environment),
        },
        "cert" => Login::Cert { mount: mount(), name: Some(role()) },
        "userpass" => {
            Login::Userpass { mount: mount(), username: role(), password_file: file("password") }
        }
        "token_file" => Login::TokenFile { path: file("token") },
        "token" => Login::Token,
        other => panic!("{other}"),
    };
    Vault {
        address: "https://vault.example:8200".parse().unwrap(),
        tls: Tls::default(),
        timeout: Duration::from_secs(5),
        redirect_hosts: Vec::new(),
        auth_namespace: VaultNamespace::Root,
        login,
    }
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn compare(path: &str, right: &str) {
    let path = golden(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, right).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    let differs = found.lines().zip(right.lines()).find(|(found, right)| found != right);
    assert_eq!(differs, None, "{}: UPDATE_GOLDEN=1 writes it anew", path.display());
    assert_eq!(found.lines().count(), right.lines().count(), "{}", path.display());
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(golden("tests/vault_failures.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_failure_is_told_as_the_golden_file_says() {
    let mut cases = cases();
    for case in &mut cases {
        let (failure, kind) = told(&case.given(), &case.context());
        assert_eq!(kind.name, case.kind, "{}", failure.reason);
        let Advice::Known { layer, fix } = failure.advice else { panic!("{}", case.kind) };
        case.cause = failure.cause.as_str().to_owned();
        case.prints = vec![
            format!("payments: FAILED at {failure}"),
            format!("layer: {layer}"),
            format!("fix: {fix}"),
        ];
    }
    let mut right = serde_json::to_string_pretty(&cases).unwrap();
    right.push('\n');
    compare("tests/vault_failures.json", &right);
}

#[test]
fn every_kind_occurs_in_the_golden_file_and_has_a_name_of_its_own() {
    let named: Vec<&str> = kind::all().map(|kind| kind.name).collect();
    let names: BTreeSet<&str> = named.iter().copied().collect();
    assert_eq!(names.len(), named.len());
    let cases = cases();
    let occur: BTreeSet<&str> = cases.iter().map(|case| case.kind.as_str()).collect();
    assert_eq!(names, occur);
}

#[test]
fn every_name_is_filled_in_and_no_request_id_is_told() {
    for case in cases() {
        let (failure, kind) = told(&case.given(), &case.context());
        let reason = failure.reason.replace("{ capabilities = ", "").replace("] }", "");
        assert!(!reason.contains(['{', '}']), "{}: {reason}", kind.name);
        assert!(!reason.contains("11111111"), "{}: {reason}", kind.name);
        assert!(!kind.fix.contains('{'), "{}: a fix is the same for all", kind.name);
    }
}

#[test]
fn a_refused_login_heals_when_what_it_logs_in_by_does() {
    for kind in kind::all() {
        if matches!(kind.on, On::Login | On::LoginBy(_) | On::GivenToken | On::Wrapping) {
            assert_eq!(kind.cause.outlook(), Outlook::MayHeal, "{}", kind.name);
        }
    }
}

#[test]
fn what_somebody_asks_to_wait_is_kept() {
    let case = cases().into_iter().find(|case| case.retry_after_s == Some(30)).unwrap();
    let wait = Some(Duration::from_secs(30));
    let (failure, _) = told(&case.given(), &case.context());
    assert_eq!(failure.cause, Cause::Throttled { retry_after: wait });
}

fn kind_of(operation: Operation, how: How, said: &str) -> &'static str {
    let path = "aws/creds/payments".to_owned();
    let given = Given { operation, path, how, said: said.to_owned(), retry_after: None };
    told(&given, &Context::of_login(&settings("kubernetes"))).1.name
}

#[test]
fn rustls_still_has_the_words_that_are_looked_for() {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage as Message};
    let other = |error| CertificateError::Other(rustls::OtherError(Arc::new(error)));
    for (error, name) in [
        (InvalidCertificate(CertificateError::UnknownIssuer), "tls-unknown-issuer"),
        (InvalidCertificate(CertificateError::Expired), "tls-expired"),
        (InvalidCertificate(CertificateError::NotValidYet), "tls-not-yet-valid"),
        (InvalidCertificate(CertificateError::NotValidForName), "tls-wrong-name"),
        (InvalidCertificate(CertificateError::Revoked), "tls-revoked"),
        (InvalidCertificate(other(std::io::Error::other("x"))), "tls"),
        (AlertReceived(AlertDescription::CertificateRequired), "tls-client-certificate-wanted"),
        (AlertReceived(AlertDescription::BadCertificate), "tls-client-certificate-refused"),
        (AlertReceived(AlertDescription::UnknownCA), "tls-client-certificate-refused"),
        (AlertReceived(AlertDescription::CertificateExpired), "tls-client-certificate-refused"),
        (AlertReceived(AlertDescription::ProtocolVersion), "tls-version"),
        (AlertReceived(AlertDescription::HandshakeFailure), "tls-version"),
        (AlertReceived(AlertDescription::UnrecognisedName), "tls-name-unknown-there"),
        (Message(InvalidMessage::InvalidContentType), "tls-plain-port"),
    ] {
        assert_eq!(kind_of(Operation::Login, How::Tls, &error.to_string()), name, "{error}");
    }
}

#[test]
fn a_mount_may_have_slashes() {
    assert_eq!(engine("team/aws/creds/payments"), ("team/aws", "payments"));
    assert_eq!(engine("aws"), ("aws", ""));
}

#[test]
fn the_document_has_every_kind() {
    let mut table = String::from(
        "| kind | layer | what it means | what to do | answer |\n|---|---|---|---|---|\n",
    );
    for kind in kind::all() {
        let shown = |text: &str| {
            let text = text.replace("{policy}", "(that policy)");
            let text = text.replace('{', "<").replace('}', ">").replace('|', "\\|");
            // Outside of code a name in angle brackets is taken for HTML.
            let parts = text.split('`').enumerate();
            let parts = parts.map(|(place, part)| match place % 2 {
                0 => part.replace('<', "&lt;"),
                _ => part.to_owned(),
            });
            parts.collect::<Vec<_>>().join("`")
        };
        let answer = match kind.cause.outlook() {
            Outlook::MayHeal => "503",
            Outlook::Permanent => "403",
        };
        let Kind { name, layer, means, fix, .. } = kind;
        writeln!(table, "| {name} | {layer} | {} | {} | {answer} |", shown(means), shown(fix))
            .unwrap();
    }
    let path = "docs/vault-failures.md";
    let document = std::fs::read_to_string(golden(path)).unwrap();
    let (before, rest) = document.split_once("<!-- kinds -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of kinds -->").unwrap();
    compare(path, &format!("{before}<!-- kinds -->\n{table}<!-- end of kinds -->{after}"));
}
