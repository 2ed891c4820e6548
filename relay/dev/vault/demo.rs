//! What `dev --vault` starts: a Vault with one login and one role of each kind.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ring::rand::SystemRandom;
use serde_json::{Value, json};

use super::super::sts::Sts;
use super::super::upstream::draw;
use super::{
    CredentialType, Grant, Lease, Login, Material, Role, Settings, Vault, tokens::BASE64_URL,
};
use crate::arn::{ArnError, RoleArn};
use crate::clock::Clock;
use crate::credential::Secret;

/// The mount and the role of the login, and the role of the secrets engine that gives sessions.
const MOUNT: &str = "kubernetes";
const ROLE: &str = "payments";

/// The role that gives keys of new users.
const USER_ROLE: &str = "payments-user";

/// The head and the claims of a service account's token, in base64: RS256, and
/// `system:serviceaccount:default:payments`.
const JWT: &str =
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6ZGVmYXVsdDpwYXltZW50cyJ9";

/// A service account's token, whose signature nobody could check; `None` without random numbers.
pub(in crate::dev) fn draw_jwt() -> Option<Secret> {
    let signature = draw(&SystemRandom::new(), BASE64_URL, 342)?;
    Some(Secret::new(format!("{JWT}.{signature}")))
}

/// A Vault that takes this token, in which everything lives for about `lifetime`.
///
/// # Errors
/// [`ArnError`] if `account` is none.
pub(in crate::dev) fn vault(
    sts: Sts,
    jwt: Secret,
    account: &str,
    lifetime: Duration,
) -> Result<Vault, ArnError> {
    let arn: RoleArn = format!("arn:aws:iam::{account}:role/{ROLE}").parse()?;
    let grant = Grant { ttl: lifetime * 3, max_ttl: Some(lifetime * 10), ..Grant::default() };
    let material = Material::Kubernetes { jwt };
    let settings = Settings {
        logins: vec![Login { mount: MOUNT.into(), role: ROLE.into(), material, grant }],
        roles: BTreeMap::from([
            (ROLE.into(), Role::new(CredentialType::AssumedRole(vec![arn]))),
            (USER_ROLE.into(), Role::new(CredentialType::IamUser)),
        ]),
        lease: Lease { ttl: lifetime, max: lifetime * 10 },
        ..Settings::default()
    };
    Ok(Vault::new(settings, sts, Clock::system()))
}

/// The configuration's `vault`, and a profile's source over it.
pub(in crate::dev) fn configuration(address: SocketAddr, jwt: &Path) -> (Value, Value) {
    let login = json!({ "role": ROLE, "token_file": jwt });
    (
        json!({ "address": format!("http://{address}"), "auth": { MOUNT: login } }),
        json!({ "vault": { "mount": "aws", "role": ROLE } }),
    )
}

/// What the greeting says about it.
pub(in crate::dev) fn greeting(address: SocketAddr) -> String {
    format!(
        "\
# Its first role is a session that an embedded Vault gives; a role '{USER_ROLE}' there gives users.
export VAULT_ADDR='http://{address}'
"
    )
}
