//! What the embedded Vault hands out, used at the embedded STS with AWS's own client.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sts::error::ProvideErrorMetadata;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use credential_relay::clock::{Clock, Timestamp};
use credential_relay::credential::Secret;
use credential_relay::dev::sts::{Propagation, Sts};
use credential_relay::dev::vault::{CredentialType, Grant, Login, Material, Role, Settings, Vault};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use serde_json::{Value, json};

use crate::started;
use crate::upstream_cases::signatures::{Breakage, sign};
use crate::upstream_cases::{Keys, World, calls};

const SERVER_ID: &str = "vault.example.com";

/// A Vault over the embedded STS, with one userpass login and one by signature.
async fn vault(propagation: Propagation) -> (Vault, Sts, World) {
    let (sts, world) = started().await;
    let arn = world.hub_role_arn.parse().unwrap();
    let login = |mount: &str, material| Login {
        mount: mount.to_owned(),
        role: "app".to_owned(),
        material,
        grant: Grant::default(),
    };
    let settings = Settings {
        logins: vec![
            login("userpass", Material::UserPass { password: Secret::new("open sesame".into()) }),
            login(
                "aws",
                Material::Aws {
                    principal: Some("arn:aws:iam::111122223333:user/base".to_owned()),
                    server_id: Some(SERVER_ID.to_owned()),
                },
            ),
        ],
        roles: BTreeMap::from([
            ("user".into(), Role::new(CredentialType::IamUser)),
            ("assumed".into(), Role::new(CredentialType::AssumedRole(vec![arn]))),
            ("federated".into(), Role::new(CredentialType::FederationToken)),
            ("session".into(), Role::new(CredentialType::SessionToken)),
        ]),
        propagation,
        ..Settings::default()
    };
    (Vault::new(settings, sts.clone(), Clock::system()), sts, world)
}

async fn ask(vault: &Vault, path: &str, token: &str, body: &Value) -> (u16, Value) {
    let request = Request::post(format!("/v1/{path}")).header("X-Vault-Token", token);
    let request = request.body(Full::<Bytes>::from(body.to_string())).unwrap();
    let (head, body) = vault.respond(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
}

async fn token(vault: &Vault) -> String {
    let password = json!({ "password": "open sesame" });
    let (_, body) = ask(vault, "auth/userpass/login/app", "", &password).await;
    body["auth"]["client_token"].as_str().unwrap().to_owned()
}

/// Keys of a role, and their lease.
async fn creds(vault: &Vault, token: &str, role: &str) -> (Keys, String) {
    let (status, body) = ask(vault, &format!("aws/creds/{role}"), token, &json!({})).await;
    assert_eq!(status, 200, "{body}");
    let text = |name: &str| body["data"][name].as_str().map(str::to_owned);
    let keys = Keys {
        access_key_id: text("access_key").unwrap(),
        secret_access_key: text("secret_key").unwrap(),
        session_token: text("session_token"),
    };
    (keys, body["lease_id"].as_str().unwrap().to_owned())
}

async fn identity(world: &World, keys: &Keys) -> Result<String, String> {
    match calls::client(world, keys).get_caller_identity().send().await {
        Ok(identity) => Ok(identity.arn().unwrap().to_owned()),
        Err(error) => Err(error.code().unwrap().to_owned()),
    }
}

#[tokio::test]
async fn each_type_of_credential_is_who_it_should_be_and_may_what_it_may() {
    let (vault, _, world) = vault(Propagation::default()).await;
    let token = token(&vault).await;
    for (role, arn, assumes, session) in [
        ("user", "arn:aws:iam::111122223333:user/vault-userpass-app-user-", true, true),
        ("assumed", "arn:aws:sts::111122223333:assumed-role/hub/vault-userpass-", true, false),
        ("federated", "arn:aws:sts::111122223333:federated-user/vault-", false, false),
        ("session", "arn:aws:iam::111122223333:user/base", true, false),
    ] {
        let (keys, _) = creds(&vault, &token, role).await;
        let told = identity(&world, &keys).await.unwrap();
        assert!(told.starts_with(arn), "{role}: {told}");
        let client = calls::client(&world, &keys);
        let assumed = client
            .assume_role()
            .role_arn(&world.hub_role_arn)
            .role_session_name("test")
            .send()
            .await;
        assert_eq!(assumed.is_ok(), assumes, "{role}: {assumed:?}");
        let asked = client.get_session_token().duration_seconds(900).send().await;
        match asked {
            Ok(_) => assert!(session, "{role}"),
            Err(error) => {
                assert!(!session, "{role}");
                assert_eq!(error.code(), Some("AccessDenied"));
                let text = "Cannot call GetSessionToken with session credentials";
                assert_eq!(error.message(), Some(text));
            }
        }
    }
}

#[tokio::test]
async fn a_session_token_has_the_bounds_of_the_real_one() {
    let (vault, _, world) = vault(Propagation::default()).await;
    let (keys, _) = creds(&vault, &token(&vault).await, "user").await;
    let client = calls::client(&world, &keys);
    for (seconds, right) in [(899, false), (900, true), (129_600, true), (129_601, false)] {
        let answer = client.get_session_token().duration_seconds(seconds).send().await;
        assert_eq!(answer.is_ok(), right, "{seconds}: {answer:?}");
        if let Ok(answer) = answer {
            let expiration = answer.credentials().unwrap().expiration().secs();
            let left = expiration - Clock::system().now().wall.as_secs();
            assert!((i64::from(seconds) - 60..=i64::from(seconds)).contains(&left), "{left}");
        }
    }
}

#[tokio::test]
async fn a_deleted_user_takes_its_sessions_along_but_no_role_s() {
    let (vault, _, world) = vault(Propagation::default()).await;
    let token = token(&vault).await;
    let (keys, lease) = creds(&vault, &token, "user").await;
    let client = calls::client(&world, &keys);
    let session = client.get_session_token().send().await.unwrap();
    let session = session.credentials().unwrap();
    let session = Keys {
        access_key_id: session.access_key_id().to_owned(),
        secret_access_key: session.secret_access_key().to_owned(),
        session_token: Some(session.session_token().to_owned()),
    };
    let assumed = client
        .assume_role()
        .role_arn(&world.hub_role_arn)
        .role_session_name("test")
        .send()
        .await
        .unwrap();
    let asks = json!({ "lease_id": lease, "sync": true });
    assert_eq!(ask(&vault, "sys/leases/revoke", &token, &asks).await.0, 204);
    for dead in [&keys, &session] {
        assert_eq!(identity(&world, dead).await, Err("InvalidClientTokenId".to_owned()));
    }
    identity(&world, &calls::session_keys(&assumed)).await.unwrap();
}

#[tokio::test]
async fn a_new_key_is_unknown_at_first() {
    let (vault, sts, world) = vault(Propagation::failing(2)).await;
    let (keys, _) = creds(&vault, &token(&vault).await, "user").await;
    for _ in 0..2 {
        assert_eq!(identity(&world, &keys).await, Err("InvalidClientTokenId".to_owned()));
    }
    identity(&world, &keys).await.unwrap();
    assert_eq!(sts.ledger().calls().len(), 3, "Vault's own calls are not in it");
}

/// The body of a login with a request that is signed so.
fn signed(world: &World, keys: &Keys, with: &Breakage, now: Timestamp) -> Value {
    let signed = sign(world, keys, with, now);
    let headers: BTreeMap<_, _> =
        signed.headers.into_iter().map(|(name, value)| (name, vec![value])).collect();
    json!({
        "role": "app",
        "iam_http_request_method": signed.method,
        "iam_request_url": STANDARD.encode(format!("{}{}", world.endpoint, signed.target)),
        "iam_request_body": STANDARD.encode(signed.body),
        "iam_request_headers": STANDARD.encode(json!(headers).to_string()),
    })
}

#[tokio::test]
async fn a_signed_request_logs_in() {
    let (vault, _, world) = vault(Propagation::default()).await;
    let now = Clock::system().now().wall;
    let path = "auth/aws/login";
    let mut bound = Breakage::default();
    bound.further.insert("x-vault-aws-iam-server-id".to_owned(), SERVER_ID.to_owned());
    let (status, body) = ask(&vault, path, "", &signed(&world, &world.base, &bound, now)).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["auth"]["metadata"]["client_arn"], "arn:aws:iam::111122223333:user/base");

    let other = creds(&vault, &token(&vault).await, "assumed").await.0;
    let late = now + Duration::from_secs(3_600);
    for (keys, with, now, says) in [
        (&world.base, &Breakage::default(), now, "missing header"),
        (&world.base, &bound, late, "received error code 403 from STS: SignatureDoesNotMatch"),
        (&other, &bound, now, "does not belong to the role"),
    ] {
        let (status, body) = ask(&vault, path, "", &signed(&world, keys, with, now)).await;
        assert_eq!(status, 400, "{body}");
        assert!(body["errors"][0].as_str().unwrap().contains(says), "{body}");
    }
}
