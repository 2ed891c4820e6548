//! Every way in, and what becomes of material that is wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up must end")]

use std::path::PathBuf;

use super::super::session::{End, Need};
use super::super::tests::{KEY, SECRET_KEY, World, secret, secs, ttl};
use super::*;
use crate::config::vault::{RoleId, SecretId};
use crate::dev::vault::{self, Material, Operation};
use crate::sources::fixed;

const MADE_AT: &str = "auth/approle/role/app/secret-id";

fn approle_material(secret_ids: &[(&str, u32)]) -> Material {
    let good = |(value, uses): &(&str, u32)| vault::SecretId { value: secret(value), uses: *uses };
    Material::AppRole {
        role_id: "role-id".into(),
        secret_ids: secret_ids.iter().map(good).collect(),
    }
}

fn approle(secret_id: SecretId) -> Login {
    Login::AppRole {
        mount: "approle".parse().unwrap(),
        role_id: RoleId::Plain("role-id".into()),
        secret_id,
    }
}

fn wrapped(path: PathBuf) -> Login {
    approle(SecretId::Wrapped { path, creation_path: MADE_AT.parse().unwrap() })
}

async fn refused(world: &World) -> Failure {
    world.token(Need::Read).await.unwrap_err()
}

#[tokio::test]
async fn service_accounts_jwts_passwords_and_certificates_log_in() {
    let kubernetes = World::kubernetes(ttl(60)).await;
    let token = kubernetes.read().await;
    assert!(
        matches!(token.end(), End::At(end) if end.remaining(kubernetes.manual.clock().now()) > secs(50))
    );

    let jwt = World::new("oidc/ci", Material::Jwt { jwt: secret("e.y.J") }, ttl(60)).await;
    let (mount, role) = ("oidc/ci".parse().unwrap(), "app".parse().unwrap());
    let token_file = jwt.write("jwt", " e.y.J\r\n");
    jwt.by(Login::Jwt { mount, role, token_file }, Ambient::Nothing).read().await;

    let password = Material::UserPass { password: secret("öpen sesame") };
    let user = World::new("userpass", password, ttl(60)).await;
    let (mount, username) = ("userpass".parse().unwrap(), "app".parse().unwrap());
    let password_file = user.write("password", "öpen sesame\n");
    let user = user.by(Login::Userpass { mount, username, password_file }, Ambient::Nothing);
    user.read().await;
    assert_eq!(user.vault.ledger().calls()[0].path, "auth/userpass/login/app");

    for name in [None, Some("app".parse().unwrap())] {
        let cert = World::new("cert", Material::Cert { accepted: true }, ttl(60)).await;
        let login = Login::Cert { mount: "cert".parse().unwrap(), name };
        cert.by(login, Ambient::Nothing).read().await;
    }
}

#[tokio::test]
async fn a_signed_get_caller_identity_logs_in() {
    let material = Material::Aws { principal: None, server_id: Some("vault.example".into()) };
    for endpoint in [None, Some("https://sts.internal:8443".parse().unwrap())] {
        let world = World::new("aws", material.clone(), ttl(60)).await;
        let login = Login::Aws {
            mount: "aws".parse().unwrap(),
            role: "app".parse().unwrap(),
            server_id: Some("vault.example".into()),
            region: "eu-west-1".parse().unwrap(),
            endpoint,
            credentials: Box::new(crate::config::Source::Environment),
        };
        let source = fixed::Environment::new(|name| match name {
            "AWS_ACCESS_KEY_ID" => Some(KEY.to_owned()),
            "AWS_SECRET_ACCESS_KEY" => Some(SECRET_KEY.to_owned()),
            _ => None,
        });
        let world = world.by(login.clone(), Ambient::Credentials(Box::new(source)));
        world.read().await;

        let nobody = fixed::Environment::new(|_| None);
        let world = world.by(login, Ambient::Credentials(Box::new(nobody)));
        let failure = refused(&world).await;
        assert_eq!(failure.cause, Cause::NotConfigured);
        assert!(failure.reason.contains("vault.auth.aws.source"), "{failure}");
    }
}

#[tokio::test]
async fn a_secret_id_logs_in_until_it_is_spent_and_then_waits_for_a_new_file() {
    let world = World::new("approle", approle_material(&[("one", 1)]), ttl(60)).await;
    let path = world.write("secret-id", "one\n");
    let world = world.by(approle(SecretId::File(path)), Ambient::Nothing);
    world.read().await;
    world.pass(61);
    let failure = refused(&world).await;
    assert_eq!(failure.cause, Cause::StaleCaller);
    assert!(!failure.reason.contains("one\n"), "{failure}");
    for _ in 0..5 {
        world.pass(60);
        refused(&world).await;
    }
    assert_eq!(world.count(Operation::Login), 2, "it is not shown again");
    let fresh = world.vault.new_secret_id("approle", "app", 1).unwrap();
    world.write("secret-id", fresh.expose());
    world.pass(60);
    world.read().await;
    assert_eq!(world.count(Operation::Login), 3);
}

#[tokio::test]
async fn a_wrapped_secret_id_is_unwrapped_once_and_kept() {
    let world = World::new("approle", approle_material(&[("inside", 2)]), ttl(60)).await;
    let wrapping = world.vault.wrap(MADE_AT, &secret("inside"), secs(600)).unwrap();
    let path = world.write("wrapped", wrapping.expose());
    let world = world.by(wrapped(path), Ambient::Nothing);
    world.read().await;
    world.pass(61);
    world.read().await;
    assert_eq!(world.count(Operation::LookupWrapping), 1);
    assert_eq!(world.count(Operation::Unwrap), 1);
    assert_eq!(world.count(Operation::Login), 2);
    world.pass(61);
    for _ in 0..3 {
        world.pass(60);
        refused(&world).await;
    }
    assert_eq!(world.count(Operation::Login), 3, "a spent one waits");
}

#[tokio::test]
async fn a_wrapping_from_elsewhere_is_not_opened() {
    let world = World::new("approle", approle_material(&[("inside", 0)]), ttl(60)).await;
    let forged = world.vault.wrap("sys/wrapping/wrap", &secret("inside"), secs(600)).unwrap();
    let path = world.write("wrapped", forged.expose());
    let world = world.by(wrapped(path), Ambient::Nothing);
    for _ in 0..3 {
        let failure = refused(&world).await;
        assert_eq!(failure.cause, Cause::StaleCaller);
        assert!(failure.reason.contains("sys/wrapping/wrap") && failure.reason.contains(MADE_AT));
        assert!(!failure.reason.contains(forged.expose()));
        world.pass(60);
    }
    assert_eq!(world.count(Operation::LookupWrapping), 1);
    assert_eq!(world.count(Operation::Unwrap), 0);
    assert_eq!(world.count(Operation::Login), 0);
    let right = world.vault.wrap(MADE_AT, &secret("inside"), secs(600)).unwrap();
    world.write("wrapped", right.expose());
    world.read().await;
}

#[tokio::test]
async fn a_wrapping_that_somebody_else_opened_is_told() {
    let world = World::new("approle", approle_material(&[("inside", 0)]), ttl(60)).await;
    let path = world.write("wrapped", "hvs.spent");
    let world = world.by(wrapped(path), Ambient::Nothing);
    for _ in 0..3 {
        let failure = refused(&world).await;
        assert!(failure.reason.contains("somebody who now holds the secret id"), "{failure}");
        world.pass(60);
    }
    assert_eq!(world.count(Operation::LookupWrapping), 1);
}

#[tokio::test]
async fn a_token_in_a_file_is_looked_up_and_read_again() {
    let world = World::kubernetes(ttl(600)).await;
    let first = world.read().await;
    let path = world.write("sink", first.secret().expose());
    let sink = world.other(Login::TokenFile { path }, Ambient::Nothing);
    let token = sink.token(Need::Read, &world.metrics).await.unwrap();
    assert!(token.secret().matches(first.secret().expose().as_bytes()));
    assert_eq!(world.calls(), [1, 0, 1]);

    // Revoked: the file still holds it, and Vault is asked of it once more only.
    world.vault.revoke_all_tokens();
    sink.refused(&token, true, &world.metrics).await.unwrap();
    for _ in 0..3 {
        let failure = sink.token(Need::Read, &world.metrics).await.unwrap_err();
        assert_eq!(failure.cause, Cause::StaleCaller);
        assert!(failure.reason.contains("put a new token into the file"), "{failure}");
        world.pass(60);
    }
    assert_eq!(world.calls(), [1, 0, 2]);

    world.session.refused(&first, true, &world.metrics).await.unwrap();
    let second = world.read().await;
    world.write("sink", second.secret().expose());
    let token = sink.token(Need::Read, &world.metrics).await.unwrap();
    assert!(token.secret().matches(second.secret().expose().as_bytes()));
    assert_eq!(world.calls(), [2, 0, 3]);
}

#[tokio::test]
async fn what_an_agent_renewed_is_the_same_token() {
    let world = World::kubernetes(vault::Grant {
        denied: vec!["auth/token/renew-self".into()],
        ..ttl(600)
    })
    .await;
    let first = world.read().await;
    let path = world.write("sink", first.secret().expose());
    let sink = world.other(Login::TokenFile { path }, Ambient::Nothing);
    let token = sink.token(Need::Read, &world.metrics).await.unwrap();
    world.pass(300);
    let again = sink.token(Need::Outlive(secs(3600)), &world.metrics).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&token, &again));
    assert_eq!(world.calls(), [1, 1, 2]);
}

#[tokio::test]
async fn a_token_of_the_environment_is_looked_up_once() {
    let world = World::kubernetes(ttl(600)).await;
    let given = world.read().await;
    let ambient = Ambient::Token(secret(&format!("{}\n", given.secret().expose())));
    let session = world.other(Login::Token, ambient);
    for _ in 0..3 {
        session.token(Need::Read, &world.metrics).await.unwrap();
    }
    assert_eq!(world.calls(), [1, 0, 1]);
    let none = world.other(Login::Token, Ambient::Nothing);
    let failure = none.token(Need::Read, &world.metrics).await.unwrap_err();
    assert!(failure.reason.contains("VAULT_TOKEN is not set"), "{failure}");
}

#[tokio::test]
async fn unfit_files_are_told_by_their_shape_and_cost_no_call() {
    let world = World::kubernetes(ttl(60)).await;
    for (content, said) in [
        (&b""[..], "empty"),
        (b" \n\t", "empty"),
        (b"two words", "9 bytes"),
        (b"\xff\xfe\x00", "3 bytes"),
        (&[b'x'; 70_000], "larger"),
    ] {
        std::fs::write(world.folder.path().join("jwt"), content).unwrap();
        world.pass(60);
        let failure = refused(&world).await;
        assert_eq!(failure.cause, Cause::NotConfigured);
        let reason = failure.reason;
        assert!(
            reason.contains("vault.auth.kubernetes.token_file") && reason.contains(said),
            "{reason}"
        );
        assert!(!reason.contains("words"), "{reason}");
    }
    std::fs::remove_file(world.folder.path().join("jwt")).unwrap();
    world.pass(60);
    assert!(refused(&world).await.reason.contains("cannot be read"));
    assert_eq!(world.calls(), [0, 0, 0]);
}

#[tokio::test]
async fn no_refusal_tells_what_was_shown() {
    let world = World::kubernetes(ttl(60)).await;
    world.write("jwt", "a-jwt-that-nobody-knows\n");
    let failure = refused(&world).await;
    assert_eq!(failure.cause, Cause::StaleCaller);
    assert!(failure.reason.contains("auth/k8s/login"), "{failure}");
    assert!(!failure.reason.contains("nobody-knows"), "{failure}");
}

#[test]
fn the_signed_request_is_what_vault_and_sts_take() {
    let decoded =
        |text: &str| String::from_utf8(aws_smithy_types::base64::decode(text).unwrap()).unwrap();
    let credential = Credential {
        access_key_id: KEY.parse().unwrap(),
        secret_access_key: secret(SECRET_KEY),
        session: crate::credential::Session::Token(secret("a-session-token")),
        validity: crate::credential::Validity::Unlimited,
        principal: crate::credential::Principal::Unknown,
        propagation: crate::credential::Propagation::Done,
    };
    for (region, url) in [
        ("eu-west-1", "https://sts.eu-west-1.amazonaws.com/"),
        ("us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com/"),
        ("cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn/"),
    ] {
        let region = region.parse().unwrap();
        let target = aws::Target { region: &region, endpoint: None, server_id: Some("vault") };
        let now = crate::clock::Timestamp::from_secs(1_800_000_000);
        let made = aws::request("aws", "app", &target, &credential, now).unwrap();
        assert_eq!(decoded(&made.iam_request_url), url);
        let headers = decoded(&made.iam_request_headers);
        let headers: std::collections::BTreeMap<String, Vec<String>> =
            serde_json::from_str(&headers).unwrap();
        let names: Vec<_> = headers.keys().map(String::as_str).collect();
        let wanted = [
            "Authorization",
            "Content-Type",
            "Host",
            "X-Amz-Date",
            "X-Amz-Security-Token",
            "X-Vault-AWS-IAM-Server-ID",
        ];
        assert_eq!(names, wanted, "STS gets no other, and Vault lets no more than eight pass");
        assert!(headers["Authorization"][0].contains(
            "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-vault-aws-iam-server-id,"
        ));
    }
}

#[tokio::test]
async fn nothing_of_a_session_prints_a_secret() {
    let world = World::new("approle", approle_material(&[("inside-it", 0)]), ttl(60)).await;
    let wrapping = world.vault.wrap(MADE_AT, &secret("inside-it"), secs(600)).unwrap();
    let path = world.write("wrapped", wrapping.expose());
    let world = world.by(wrapped(path), Ambient::Nothing);
    let token = world.read().await;
    let printed = format!("{:?} {token:?}", world.session);
    for text in ["inside-it", wrapping.expose(), token.secret().expose()] {
        assert!(!printed.contains(text), "{printed}");
    }
}
