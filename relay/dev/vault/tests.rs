//! The Vault as its clients see it: shapes, lives, refusals and faults.

use std::collections::{BTreeMap, HashMap};

use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::super::sts::{self, IssuedLifetime, Propagation, Regions, User};
use super::*;
use crate::clock::{ManualClock, Timestamp};

const ROLE_ARN: &str = "arn:aws:iam::111122223333:role/app";

struct World {
    vault: Vault,
    sts: Sts,
    manual: ManualClock,
}

/// An answer: its status, its body and its headers.
struct Told {
    status: u16,
    body: Value,
    response: hyper::http::response::Parts,
    text: String,
}

fn login(mount: &str, role: &str, material: Material, grant: Grant) -> Login {
    Login { mount: mount.into(), role: role.into(), material, grant }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A userpass login, the simplest, whose token is granted so.
fn granting(grant: Grant) -> Settings {
    let material = Material::UserPass { password: secret("open sesame") };
    let arns = vec![ROLE_ARN.parse().unwrap(), "arn:aws:iam::444455556666:role/b".parse().unwrap()];
    let sts_role = |kind| Role::new(kind);
    Settings {
        logins: vec![login("userpass", "anna", material, grant)],
        roles: BTreeMap::from([
            ("user".into(), Role::new(CredentialType::IamUser)),
            ("assumed".into(), sts_role(CredentialType::AssumedRole(arns[..1].to_vec()))),
            ("several".into(), sts_role(CredentialType::AssumedRole(arns))),
            ("federated".into(), sts_role(CredentialType::FederationToken)),
            ("session".into(), sts_role(CredentialType::SessionToken)),
        ]),
        static_roles: BTreeMap::from([(
            "legacy".into(),
            StaticRole { user: "legacy".into(), period: secs(3_600), late: secs(60) },
        )]),
        lease: Lease { ttl: secs(600), max: secs(1_000) },
        ..Settings::default()
    }
}

impl World {
    fn new(settings: Settings) -> Self {
        let manual = ManualClock::starting_at(Timestamp::from_secs(1_800_000_000));
        let upstream = sts::Settings {
            account: "111122223333".parse().unwrap(),
            user: User {
                name: "root".into(),
                access_key_id: "AKIATESTTESTTEST0001".parse().unwrap(),
                secret_access_key: secret("the root's secret"),
            },
            lifetime: IssuedLifetime::AsAsked,
            regions: Regions::Any,
            external_ids: HashMap::new(),
        };
        let sts = Sts::new(upstream, manual.clock());
        let vault = Vault::new(settings, sts.clone(), manual.clock());
        Self { vault, sts, manual }
    }

    fn standard() -> Self {
        Self::new(granting(Grant::default()))
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Told {
        let mut request = Request::builder().method(method).uri(format!("/v1/{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned())).unwrap();
        let (response, body) = self.vault.respond(request).await.unwrap().into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Told { status: response.status.as_u16(), body, response, text }
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> Told {
        self.ask("POST", path, &[("X-Vault-Token", token)], &body.to_string()).await
    }

    async fn get(&self, path: &str, token: &str) -> Told {
        self.ask("GET", path, &[("X-Vault-Token", token)], "").await
    }

    /// Logs in and gives the token.
    async fn token(&self) -> String {
        let told =
            self.post("auth/userpass/login/anna", "", json!({ "password": "open sesame" })).await;
        assert_eq!(told.status, 200, "{}", told.text);
        told.body["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// Whether the embedded STS knows a user's key now.
    fn knows(&self, data: &Value) -> bool {
        let key = data["access_key"].as_str().unwrap();
        self.sts.knows_key(key)
    }

    fn pass(&self, seconds: u64) {
        self.manual.suspend(secs(seconds));
    }
}

impl Told {
    fn error(&self) -> &str {
        self.body["errors"][0].as_str().unwrap_or_default()
    }

    fn refused(&self, status: u16, error: &str) {
        assert_eq!((self.status, self.error()), (status, error), "{}", self.text);
    }

    fn seconds(&self) -> u64 {
        self.body["lease_duration"].as_u64().unwrap()
    }

    fn lease(&self) -> String {
        self.body["lease_id"].as_str().unwrap().to_owned()
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

const BAD_TOKEN: &str = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
const POLICY: &str = "1 error occurred:\n\t* permission denied\n\n";

#[tokio::test(start_paused = true)]
async fn a_login_gives_a_token_in_vault_s_shape() {
    let world = World::standard();
    let path = "auth/userpass/login/anna";
    let told = world.post(path, "", json!({ "password": "open sesame" })).await;
    let envelope = [
        "auth",
        "data",
        "lease_duration",
        "lease_id",
        "mount_type",
        "renewable",
        "request_id",
        "warnings",
        "wrap_info",
    ];
    assert_eq!(keys(&told.body), envelope);
    let auth = &told.body["auth"];
    assert_eq!(auth["lease_duration"], 3_600);
    assert_eq!(auth["renewable"], true);
    assert_eq!(auth["token_type"], "service");
    assert_eq!(auth["policies"], json!(["anna", "default"]));
    assert_eq!(auth["accessor"].as_str().unwrap().len(), 24);
    assert!(auth["client_token"].as_str().unwrap().starts_with("hvs.CAESI"));
    assert_eq!(told.response.headers["content-type"], "application/json");
    assert_eq!(world.vault.ledger().count(Operation::Login), 1);
}

#[tokio::test(start_paused = true)]
async fn each_method_takes_its_material_and_refuses_in_its_own_way() {
    let grant = Grant::default;
    let id = SecretId { value: secret("spent-after-one"), uses: 1 };
    let approle = Material::AppRole { role_id: "role-id".into(), secret_ids: vec![id] };
    let settings = Settings {
        logins: vec![
            login("kubernetes", "app", Material::Kubernetes { jwt: secret("sa") }, grant()),
            login("jwt", "app", Material::Jwt { jwt: secret("sa") }, grant()),
            login("approle", "app", approle, grant()),
            login("userpass", "app", Material::UserPass { password: secret("pw") }, grant()),
            login("cert", "app", Material::Cert { accepted: true }, grant()),
            login("nocert", "app", Material::Cert { accepted: false }, grant()),
        ],
        ..Settings::default()
    };
    let world = World::new(settings);
    let unverified = "error validating token: error verifying token signature: no known key successfully validated the token signature";
    for (path, body, status, error) in [
        ("kubernetes/login", json!({ "role": "app", "jwt": "sa" }), 200, ""),
        ("kubernetes/login", json!({ "role": "app", "jwt": "no" }), 403, "permission denied"),
        ("kubernetes/login", json!({ "role": "x", "jwt": "sa" }), 400, "invalid role name \"x\""),
        ("kubernetes/login", json!({ "jwt": "sa" }), 400, "missing role"),
        ("jwt/login", json!({ "role": "app", "jwt": "sa" }), 200, ""),
        ("jwt/login", json!({ "role": "app", "jwt": "no" }), 400, unverified),
        ("jwt/login", json!({ "role": "x", "jwt": "no" }), 400, "role \"x\" could not be found"),
        (
            "approle/login",
            json!({ "role_id": "no", "secret_id": "spent-after-one" }),
            400,
            "invalid role or secret ID",
        ),
        ("approle/login", json!({ "role_id": "role-id", "secret_id": "spent-after-one" }), 200, ""),
        (
            "approle/login",
            json!({ "role_id": "role-id", "secret_id": "spent-after-one" }),
            400,
            "invalid role or secret ID",
        ),
        ("userpass/login/app", json!({ "password": "pw" }), 200, ""),
        ("userpass/login/app", json!({ "password": "no" }), 400, "invalid username or password"),
        ("cert/login", json!({}), 200, ""),
        ("cert/login", json!({ "name": "app" }), 200, ""),
        ("cert/login", json!({ "name": "x" }), 400, "no certificate was matched by this request"),
        ("nocert/login", json!({}), 400, "client certificate must be supplied"),
        ("nowhere/login", json!({}), 403, "permission denied"),
    ] {
        let told = world.post(&format!("auth/{path}"), "", body).await;
        told.refused(status, error);
        assert_eq!(told.body["auth"].is_object(), status == 200, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_s_material_can_be_changed() {
    let world = World::standard();
    let material = Material::UserPass { password: secret("new") };
    world.vault.set_login(login("userpass", "anna", material, Grant::default()));
    let path = "auth/userpass/login/anna";
    let old = world.post(path, "", json!({ "password": "open sesame" })).await;
    old.refused(400, "invalid username or password");
    assert_eq!(world.post(path, "", json!({ "password": "new" })).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_wrapped_secret_id_is_unwrapped_once() {
    let material = Material::AppRole { role_id: "role-id".into(), secret_ids: vec![] };
    let logins = vec![login("approle", "app", material, Grant::default())];
    let world = World::new(Settings { logins, ..Settings::default() });
    let id = world.vault.new_secret_id("approle", "app", 1).unwrap();
    let made_at = "auth/approle/role/app/secret-id";
    let token = world.vault.wrap(made_at, &id, secs(60)).unwrap();
    let asks = json!({ "token": token.expose() });
    let looked = world.post("sys/wrapping/lookup", "", asks.clone()).await;
    assert_eq!(looked.body["data"]["creation_path"], made_at);
    assert_eq!(looked.body["data"]["creation_ttl"], 60);
    let unwrapped = world.post("sys/wrapping/unwrap", token.expose(), json!({})).await;
    assert_eq!(unwrapped.body["data"]["secret_id"], id.expose());
    let gone = "wrapping token is not valid or does not exist";
    world.post("sys/wrapping/unwrap", token.expose(), json!({})).await.refused(400, gone);
    world.post("sys/wrapping/lookup", "", asks).await.refused(400, gone);

    let late = world.vault.wrap(made_at, &id, secs(60)).unwrap();
    world.pass(60);
    world.post("sys/wrapping/unwrap", late.expose(), json!({})).await.refused(400, gone);
    let body = json!({ "role_id": "role-id", "secret_id": id.expose() });
    assert_eq!(world.post("auth/approle/login", "", body).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn each_type_of_credential_has_its_fields() {
    let world = World::standard();
    let token = world.token().await;
    for (role, fields, renewable, seconds) in [
        ("user", &["access_key", "secret_key", "session_token"][..], true, 600),
        (
            "assumed",
            &["access_key", "arn", "secret_key", "security_token", "session_token", "ttl"],
            false,
            3_600,
        ),
        (
            "federated",
            &["access_key", "secret_key", "security_token", "session_token", "ttl"],
            false,
            3_600,
        ),
        ("session", &["access_key", "secret_key", "session_token", "ttl"], false, 3_600),
    ] {
        let told = world.post(&format!("aws/creds/{role}"), &token, json!({})).await;
        assert_eq!(told.status, 200, "{}", told.text);
        let data = &told.body["data"];
        assert_eq!(keys(data), fields, "{role}");
        assert_eq!(told.body["renewable"], renewable, "{role}");
        assert_eq!(told.seconds(), seconds, "{role}");
        assert!(told.lease().starts_with(&format!("aws/creds/{role}/")));
        assert_eq!(told.lease().len(), format!("aws/creds/{role}/").len() + 24);
        assert_eq!(data["session_token"].is_null(), role == "user");
        if role != "user" {
            assert_eq!(data["ttl"], 3_600);
        }
    }
    assert_eq!(world.vault.ledger().count(Operation::Creds("user".into())), 1);
    assert_eq!(world.vault.users_alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_asked_for_by_ttl_name_and_role() {
    let world = World::standard();
    let token = world.token().await;
    let other = "arn:aws:iam::444455556666:role/b";
    let asks = json!({ "ttl": "15m", "role_arn": other, "role_session_name": "pod/1" });
    let told = world.post("aws/sts/several", &token, asks).await;
    assert_eq!((told.seconds(), &told.body["data"]["ttl"]), (900, &json!(900)));
    assert_eq!(told.body["data"]["arn"], "arn:aws:sts::444455556666:assumed-role/b/pod_1");
    let query = "aws/creds/assumed?ttl=1800&role_session_name=ab";
    assert_eq!(world.get(query, &token).await.seconds(), 1_800);

    world
        .post("aws/creds/several", &token, json!({}))
        .await
        .refused(400, "did not supply a role_arn parameter and unable to determine one");
    let forbidden =
        format!("role_arn {other:?} not in allowed role arns for Vault role \"assumed\"");
    world
        .post("aws/creds/assumed", &token, json!({ "role_arn": other }))
        .await
        .refused(400, &forbidden);
    world.post("aws/creds/none", &token, json!({})).await.refused(400, "Role \"none\" not found");
    let short = world.post("aws/creds/assumed", &token, json!({ "ttl": 60 })).await;
    short.refused(
        400,
        "Error assuming role: InvalidParameter: 1 validation error(s) found.\n- minimum field value of 900, AssumeRoleInput.DurationSeconds.\n",
    );
    let long = world.post("aws/creds/assumed", &token, json!({ "ttl": "13h" })).await;
    assert!(long.error().starts_with("Error assuming role: ValidationError: "), "{}", long.text);
    assert!(long.error().contains("\n\tstatus code: 400, request id: "), "{}", long.text);
}

#[tokio::test(start_paused = true)]
async fn a_user_ends_with_its_lease() {
    let world = World::standard();
    let token = world.token().await;
    let told = world.post("aws/creds/user", &token, json!({})).await;
    world.pass(599);
    assert!(world.knows(&told.body["data"]));
    world.pass(1);
    assert!(!world.knows(&told.body["data"]), "without any request to Vault");
    assert_eq!(world.vault.users_alive(), 0);
    let asks = json!({ "lease_id": told.lease() });
    world.post("sys/leases/renew", &token, asks).await.refused(400, "lease not found");
}

#[tokio::test(start_paused = true)]
async fn a_user_s_lease_is_renewed_up_to_its_longest_life() {
    let world = World::standard();
    let token = world.token().await;
    let told = world.post("aws/creds/user", &token, json!({})).await;
    let asks = json!({ "lease_id": told.lease() });
    world.pass(300);
    let renewed = world.post("sys/leases/renew", &token, asks.clone()).await;
    assert_eq!((renewed.status, renewed.seconds()), (200, 600));
    assert_eq!((renewed.lease(), &renewed.body["data"]), (told.lease(), &Value::Null));
    world.pass(300);
    let capped = world.post("sys/leases/renew", &token, asks).await;
    assert_eq!(capped.seconds(), 400);
    assert_eq!(
        capped.body["warnings"][0],
        "TTL of \"10m\" exceeded the effective max_ttl of \"6m40s\"; TTL value is capped accordingly"
    );
    world.pass(399);
    assert!(world.knows(&told.body["data"]));
    world.pass(1);
    assert!(!world.knows(&told.body["data"]));
}

#[tokio::test(start_paused = true)]
async fn a_session_s_lease_cannot_be_renewed_and_revoking_it_does_nothing() {
    let world = World::standard();
    let token = world.token().await;
    let told = world.post("aws/creds/assumed", &token, json!({})).await;
    let asks = json!({ "lease_id": told.lease() });
    let renewed = world.post("sys/leases/renew", &token, asks.clone()).await;
    renewed.refused(400, "lease is not renewable");
    assert_eq!(world.post("sys/leases/revoke", &token, asks).await.status, 204);
    assert_eq!(world.vault.ledger().count(Operation::RevokeLease), 1);
}

#[tokio::test(start_paused = true)]
async fn revoking_a_lease_deletes_its_user_alone() {
    let world = World::standard();
    let token = world.token().await;
    let one = world.post("aws/creds/user", &token, json!({})).await;
    let other = world.post("aws/creds/user", &token, json!({})).await;
    let asks = json!({ "lease_id": one.lease(), "sync": false });
    assert_eq!(world.post("sys/leases/revoke", &token, asks).await.status, 202);
    assert!(!world.knows(&one.body["data"]));
    assert!(world.knows(&other.body["data"]));
}

#[tokio::test(start_paused = true)]
async fn users_end_with_their_token_however_it_ends() {
    let short = Grant { ttl: secs(60), ..Grant::default() };
    for how in ["expiry", "revoke-self", "revoke_all_tokens"] {
        let world = World::new(granting(short.clone()));
        let token = world.token().await;
        let told = world.post("aws/creds/user", &token, json!({})).await;
        assert_eq!(told.seconds(), 600, "it says nothing of the token's end");
        world.pass(59);
        assert!(world.knows(&told.body["data"]));
        match how {
            "expiry" => world.pass(1),
            "revoke-self" => {
                let told = world.post("auth/token/revoke-self", &token, json!({})).await;
                assert_eq!(told.status, 204);
            }
            _ => world.vault.revoke_all_tokens(),
        }
        assert!(!world.knows(&told.body["data"]), "{how}");
        assert_eq!((world.vault.users_alive(), world.vault.tokens_alive()), (0, 0), "{how}");
        world.get("auth/token/lookup-self", &token).await.refused(403, BAD_TOKEN);
    }
}

#[tokio::test(start_paused = true)]
async fn renewing_the_token_keeps_its_users() {
    let world = World::new(granting(Grant { ttl: secs(60), ..Grant::default() }));
    let token = world.token().await;
    let told = world.post("aws/creds/user", &token, json!({})).await;
    world.pass(50);
    let renewed = world.post("auth/token/renew-self", &token, json!({})).await;
    assert_eq!(renewed.body["auth"]["lease_duration"], 60);
    assert_eq!(renewed.body["auth"]["client_token"], token.as_str());
    world.pass(50);
    assert!(world.knows(&told.body["data"]));
    world.pass(10);
    assert!(!world.knows(&told.body["data"]));
    assert_eq!(world.vault.ledger().count(Operation::RenewSelf), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_lives_no_longer_than_its_longest_life() {
    let grant = Grant { ttl: secs(60), max_ttl: Some(secs(100)), ..Grant::default() };
    let world = World::new(granting(grant));
    let token = world.token().await;
    world.pass(50);
    let asks = json!({ "increment": "1h" });
    let renewed = world.post("auth/token/renew-self", &token, asks).await;
    assert_eq!(renewed.body["auth"]["lease_duration"], 50);
    assert_eq!(renewed.body["warnings"].as_array().map(Vec::len), Some(1));
    world.pass(50);
    world.get("auth/token/lookup-self", &token).await.refused(403, BAD_TOKEN);
}

#[tokio::test(start_paused = true)]
async fn a_periodic_token_lives_on() {
    let grant = Grant { ttl: secs(60), period: Some(secs(60)), max_ttl: None, ..Grant::default() };
    let world = World::new(granting(grant));
    let token = world.token().await;
    for _ in 0..100 {
        world.pass(50);
        let renewed = world.post("auth/token/renew-self", &token, json!({})).await;
        assert_eq!(renewed.body["auth"]["lease_duration"], 60);
    }
    assert_eq!(world.get("auth/token/lookup-self", &token).await.body["data"]["period"], 60);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_renewed_says_so() {
    let renew = "auth/token/renew-self";
    let world = World::new(granting(Grant { renewable: false, ..Grant::default() }));
    let token = world.token().await;
    world.post(renew, &token, json!({})).await.refused(400, "lease is not renewable");

    let world = World::new(granting(Grant { denied: vec![renew.into()], ..Grant::default() }));
    let token = world.token().await;
    world.post(renew, &token, json!({})).await.refused(403, POLICY);
    assert_eq!(world.get("auth/token/lookup-self", &token).await.status, 200);

    let batch = Grant { kind: TokenKind::Batch, ttl: secs(60), ..Grant::default() };
    let world = World::new(granting(batch));
    let token = world.token().await;
    assert!(token.starts_with("hvb."));
    world.post(renew, &token, json!({})).await.refused(400, "batch tokens cannot be renewed");
    let revoked = world.post("auth/token/revoke-self", &token, json!({})).await;
    revoked.refused(400, "batch tokens cannot be revoked");
    let told = world.post("aws/creds/user", &token, json!({})).await;
    assert_eq!(told.seconds(), 60, "a batch token's lease is cut to its life");
    let looked = world.get("auth/token/lookup-self", &token).await;
    assert_eq!(looked.body["data"]["renewable"], false);
    assert_eq!(looked.body["data"]["type"], "batch");
    assert_eq!(looked.body["data"]["accessor"], "");
}

#[tokio::test(start_paused = true)]
async fn the_last_use_of_a_token_brings_no_secret() {
    let world = World::new(granting(Grant { num_uses: 2, ..Grant::default() }));
    let token = world.token().await;
    let looked = world.get("auth/token/lookup-self", &token).await;
    assert_eq!(looked.body["data"]["num_uses"], 1);
    world.post("aws/creds/user", &token, json!({})).await.refused(
        400,
        "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.",
    );
    assert_eq!(world.vault.users_alive(), 0);
    world.get("auth/token/lookup-self", &token).await.refused(403, BAD_TOKEN);
}

#[tokio::test(start_paused = true)]
async fn bad_tokens_and_paths_are_told_apart() {
    let world = World::standard();
    let token = world.token().await;
    world.get("aws/creds/user", "hvs.unknown").await.refused(403, BAD_TOKEN);
    world.get("aws/creds/user", "").await.refused(403, "permission denied");
    let missing = world.get("aws/static-creds/none", &token).await;
    assert_eq!((missing.status, &missing.body), (404, &json!({ "errors": [] })));
    let unsupported = "1 error occurred:\n\t* unsupported path\n\n";
    world.get("aws/config/nothing", &token).await.refused(404, unsupported);
    let unmounted = "no handler for route \"kv/data/x\". route entry not found.";
    world.get("kv/data/x", &token).await.refused(404, unmounted);
    world.get("auth/token/renew-self", &token).await.refused(403, POLICY);
    let method = "1 error occurred:\n\t* unsupported operation\n\n";
    world
        .ask("DELETE", "aws/creds/user", &[("X-Vault-Token", &token)], "")
        .await
        .refused(405, method);
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str())];
    assert_eq!(world.ask("GET", "auth/token/lookup-self", &headers, "").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_static_role_s_key_changes_a_moment_late_and_the_one_before_stays() {
    let world = World::standard();
    let token = world.token().await;
    let read = async || world.get("aws/static-creds/legacy", &token).await.body;
    let first = read().await;
    assert_eq!(keys(&first["data"]), ["access_key", "expiration", "secret_key"]);
    assert_eq!((&first["lease_id"], &first["lease_duration"]), (&json!(""), &json!(0)));
    assert_eq!(first["data"]["expiration"], "2027-01-15T09:00:00.000000001Z");
    world.pass(3_590);
    let token = world.token().await;
    let read = async || world.get("aws/static-creds/legacy", &token).await.body;
    world.pass(60);
    assert_eq!(read().await["data"], first["data"], "its expiration lies in the past");
    world.pass(10);
    let second = read().await;
    assert_ne!(second["data"]["access_key"], first["data"]["access_key"]);
    assert!(world.knows(&first["data"]));
    world.vault.rotate("legacy");
    assert!(!world.knows(&first["data"]));
    assert!(world.knows(&second["data"]));
}

#[tokio::test(start_paused = true)]
async fn a_new_key_becomes_known_in_time() {
    let mut settings = granting(Grant::default());
    settings.propagation = Propagation::Calls([false, true, false].into());
    let world = World::new(settings.clone());
    let token = world.token().await;
    let told = world.post("aws/creds/user", &token, json!({})).await;
    let known: Vec<bool> = (0..5).map(|_| world.knows(&told.body["data"])).collect();
    assert_eq!(known, [false, true, false, true, true]);

    settings.propagation = Propagation::Time(secs(8));
    let world = World::new(settings);
    let token = world.token().await;
    let told = world.post("aws/creds/user", &token, json!({})).await;
    world.pass(7);
    assert!(!world.knows(&told.body["data"]));
    world.pass(1);
    assert!(world.knows(&told.body["data"]));
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_loses_everything_leaves_its_users_behind() {
    let world = World::standard();
    let token = world.token().await;
    let told = world.post("aws/creds/user", &token, json!({})).await;
    world.vault.forget();
    world.get("auth/token/lookup-self", &token).await.refused(403, BAD_TOKEN);
    world.pass(100_000);
    assert!(world.knows(&told.body["data"]));
    assert_eq!(world.vault.users_alive(), 1);
    world.token().await;
}

#[tokio::test(start_paused = true)]
async fn a_sealed_vault_answers_nothing_but_that() {
    let world = World::standard();
    let token = world.token().await;
    world.vault.seal(true);
    world.get("auth/token/lookup-self", &token).await.refused(503, "Vault is sealed");
    let health = world.get("sys/health", "").await;
    assert_eq!((health.status, &health.body["sealed"]), (503, &json!(true)));
    assert_eq!(world.get("sys/seal-status", "").await.body["sealed"], true);
    world.vault.seal(false);
    assert_eq!(world.get("auth/token/lookup-self", &token).await.status, 200);
    assert_eq!(world.get("sys/health", "").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn namespaces_for_logins_and_for_secrets_are_two() {
    let mut settings = granting(Grant::default());
    settings.namespaces =
        Namespaces { auth: Some("team".into()), secrets: Some("team/aws".into()) };
    let world = World::new(settings);
    let path = "auth/userpass/login/anna";
    let body = json!({ "password": "open sesame" }).to_string();
    let within = async |namespace: &str, token: &str, path: &str| {
        let headers = [("X-Vault-Namespace", namespace), ("X-Vault-Token", token)];
        world.ask("POST", path, &headers, &body).await
    };
    let unknown = format!("no handler for route {path:?}. route entry not found.");
    world.ask("POST", path, &[], &body).await.refused(404, &unknown);
    let elsewhere =
        "no handler for route \"other/auth/userpass/login/anna\". route entry not found.";
    within("other", "", path).await.refused(404, elsewhere);
    let told = within("team/", "", path).await;
    let token = told.body["auth"]["client_token"].as_str().unwrap();
    assert_eq!(within("team", token, "aws/creds/user").await.status, 404);
    assert_eq!(within("team/aws", token, "aws/creds/user").await.status, 200);
    assert_eq!(within("team/aws", token, "auth/token/renew-self").await.status, 200);
    let calls = world.vault.ledger().calls();
    assert_eq!(calls.last().unwrap().namespace.as_deref(), Some("team/aws"));
}

#[tokio::test(start_paused = true)]
async fn faults_take_the_answer_s_place() {
    let world = World::standard();
    let token = world.token().await;
    let creds = async || world.post("aws/creds/assumed", &token, json!({})).await;
    let set = |kind| world.vault.faults().set(vec![Fault::next("aws/", kind, 1)]);

    set(FaultKind::quota(Some(secs(7))));
    let quota = creds().await;
    assert_eq!(
        (quota.status, &quota.response.headers["retry-after"]),
        (429, &"7".parse().unwrap())
    );
    set(FaultKind::Redirect("http://127.0.0.2:8200".into()));
    let moved = creds().await;
    let to = "http://127.0.0.2:8200/v1/aws/creds/assumed";
    assert_eq!((moved.status, moved.response.headers["location"].to_str().unwrap()), (307, to));
    set(FaultKind::status(412, "required index state not present"));
    creds().await.refused(412, "required index state not present");
    set(FaultKind::Garbage);
    assert_eq!(creds().await.body, Value::Null);
    set(FaultKind::Truncated);
    assert!(creds().await.text.len() > 100);
    set(FaultKind::Huge);
    assert!(creds().await.text.len() > 16 * 1024 * 1024);
    set(FaultKind::NoLease);
    let bare = creds().await.body;
    assert_eq!((&bare["lease_id"], &bare["lease_duration"]), (&json!(""), &json!(0)));
    assert_eq!(bare["data"]["ttl"], 3_600);
    set(FaultKind::NoTimes);
    assert!(creds().await.body["data"].get("ttl").is_none());
    world.vault.faults().set(vec![
        Fault::every("aws/", FaultKind::Field("/lease_duration", Some(json!("an hour")))),
        Fault::every("aws/", FaultKind::Field("/data/secret_key", None)),
    ]);
    let odd = creds().await.body;
    assert_eq!(odd["lease_duration"], "an hour");
    assert!(odd["data"].get("secret_key").is_none());
    let renewed = world.post("auth/token/renew-self", &token, json!({})).await;
    assert_eq!(renewed.status, 200, "other paths are not struck");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_has_been_given() {
    let world = World::standard();
    let token = world.token().await;
    for (kind, users) in [(FaultKind::Hang, 0), (FaultKind::Lost, 1)] {
        world.vault.faults().set(vec![Fault::next("", kind, 1)]);
        let asking = world.post("aws/creds/user", &token, json!({}));
        assert!(tokio::time::timeout(secs(60), asking).await.is_err());
        assert_eq!(world.vault.ledger().calls().last().unwrap().status, None);
        world.vault.faults().set(vec![]);
        assert_eq!(world.vault.users_alive(), users);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_can_delay_and_close() {
    let world = World::standard();
    world.vault.faults().set(vec![Fault::every("", FaultKind::Latency(secs(9)))]);
    let before = tokio::time::Instant::now();
    world.get("sys/health", "").await;
    assert_eq!(before.elapsed(), secs(9));
    world.vault.faults().set(vec![Fault::every("", FaultKind::Close)]);
    let request = Request::builder().uri("/v1/sys/health").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(world.vault.respond(request).await.unwrap_err(), Closed);
}

#[tokio::test(start_paused = true)]
async fn the_ledger_tells_who_asked_for_what() {
    let world = World::standard();
    let token = world.token().await;
    let looked = world.get("auth/token/lookup-self", &token).await;
    world.get("auth/token/lookup-self", "hvs.unknown").await;
    let calls = world.vault.ledger().calls();
    assert_eq!(calls[1].accessor.as_deref(), looked.body["data"]["accessor"].as_str());
    assert_eq!((calls[1].status, calls[2].status), (Some(200), Some(403)));
    assert_eq!(calls[2].accessor, None);
    assert_eq!(calls[1].path, "auth/token/lookup-self");
    assert_eq!(world.vault.ledger().count(Operation::LookupSelf), 2);
}

#[test]
fn nothing_secret_is_printed() {
    let world = World::standard();
    world.vault.wrap("p", &secret("the secret id"), secs(60));
    let printed = format!("{:?}", world.vault);
    for secret in ["open sesame", "the secret id", "hvs."] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
