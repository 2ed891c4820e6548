//! The login by a role id and a secret id, which may come wrapped.

use std::fmt;

use serde_json::json;
use vaultrs::api::auth::approle::requests::LoginWithApproleRequest;
use vaultrs::api::sys::requests::{UnwrapRequest, WrappingLookupRequest};

use super::super::client::{Ask, Call, Operation, Refusal, Why};
use super::super::errors::fail;
use super::super::session::Grant;
use super::super::wire::{SecretIdData, WrappingData};
use super::{Asking, Authenticator, Fingerprint, Spent, material, unreadable};
use crate::config::values::VaultPath;
use crate::config::vault::{RoleId, SecretId};
use crate::credential::Secret;
use crate::failure::{Cause, Failure};

/// The settings of the method.
pub(super) struct AppRole<'a> {
    pub(super) mount: &'a VaultPath,
    pub(super) role_id: &'a RoleId,
    pub(super) secret_id: &'a SecretId,
}

/// A secret id that came out of its wrapping, which can be opened once.
pub(super) struct Unwrapped {
    wrapping: Fingerprint,
    secret_id: Secret,
}

impl fmt::Debug for Unwrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.secret_id, f)
    }
}

/// Why a wrapped secret id could not be had.
enum Sealed {
    /// It never will be.
    ForGood(Failure),
    Perhaps(Failure),
}

impl Authenticator {
    pub(super) async fn approle(
        &mut self,
        asking: &Asking<'_>,
        role: &AppRole<'_>,
    ) -> Result<Grant, Failure> {
        let role_id = match role.role_id {
            RoleId::Plain(text) => Secret::new(text.clone()),
            RoleId::File(path) => material::read("vault.auth.approle.role_id_file", path).await?,
        };
        let (path, wrapped) = match role.secret_id {
            SecretId::None => return without_secret_id(asking, role, &role_id).await,
            SecretId::File(path) => (path, None),
            SecretId::Wrapped { path, creation_path } => (path, Some(creation_path)),
        };
        let setting = match wrapped {
            None => "vault.auth.approle.secret_id_file",
            Some(_) => "vault.auth.approle.wrapped_secret_id.file",
        };
        let content = material::read(setting, path).await?;
        let shown = Fingerprint::of(&[&role_id, &content]);
        self.refuse_spent(shown)?;
        let secret_id = match wrapped {
            None => content,
            Some(creation_path) => match self.unwrapped(asking, &content, creation_path).await {
                Ok(secret_id) => secret_id,
                Err(Sealed::Perhaps(failure)) => return Err(failure),
                Err(Sealed::ForGood(failure)) => return Err(self.spend(shown, failure)),
            },
        };
        let request = LoginWithApproleRequest {
            mount: role.mount.to_string(),
            role_id: role_id.expose().to_owned(),
            secret_id: secret_id.expose().to_owned(),
        };
        asking.log_in(&request, &[&role_id, &secret_id]).await.map_err(|refusal| {
            let failure = asking.explain(&refusal);
            // In these words it refuses one that is wrong, has ended or is used up.
            if !is_bad_request(&refusal, "secret id") {
                return failure;
            }
            let said = format!(
                "{}; {setting} {} is not shown again before its content changes",
                failure.reason,
                path.display()
            );
            self.spend(shown, Failure { reason: said, ..failure })
        })
    }

    /// Remembers that Vault will never accept this.
    fn spend(&mut self, shown: Fingerprint, failure: Failure) -> Failure {
        self.spent = Some(Spent { shown, failure: failure.clone() });
        failure
    }

    /// The secret id in a wrapping, which is opened at the first time and kept.
    async fn unwrapped(
        &mut self,
        asking: &Asking<'_>,
        wrapping: &Secret,
        creation_path: &VaultPath,
    ) -> Result<Secret, Sealed> {
        let fingerprint = Fingerprint::of(&[wrapping]);
        if let Some(kept) = self.unwrapped.as_ref().filter(|kept| kept.wrapping == fingerprint) {
            return Ok(kept.secret_id.clone());
        }
        check_wrapping(asking, wrapping, creation_path).await?;
        let secret_id = unwrap(asking, wrapping).await?;
        let kept = Unwrapped { wrapping: fingerprint, secret_id: secret_id.clone() };
        self.unwrapped = Some(kept);
        Ok(secret_id)
    }
}

/// vaultrs demands a secret id.
async fn without_secret_id(
    asking: &Asking<'_>,
    role: &AppRole<'_>,
    role_id: &Secret,
) -> Result<Grant, Failure> {
    let body = json!({ "role_id": role_id.expose() });
    let request = Ask::post(format!("auth/{}/login", role.mount), &body);
    let granted = asking.log_in(&request, &[role_id]).await;
    granted.map_err(|refusal| asking.explain(&refusal))
}

/// Before it is opened: a wrapping that was made elsewhere holds what somebody else put there.
async fn check_wrapping(
    asking: &Asking<'_>,
    wrapping: &Secret,
    creation_path: &VaultPath,
) -> Result<(), Sealed> {
    let request = WrappingLookupRequest { token: wrapping.expose().to_owned() };
    let call = Call {
        operation: Operation::LookUpWrapping,
        namespace: &asking.client.settings().auth_namespace,
        token: None,
        secrets: &[wrapping],
        metrics: asking.metrics,
    };
    let answer = asking.client.call::<WrappingData>(&call, &request).await;
    let made_at = answer
        .map_err(|refusal| sealed(asking, &refusal))?
        .data
        .unwrap_or_else(|| WrappingData { creation_path: String::new() });
    let made_at = made_at.creation_path.trim_matches('/').to_owned();
    if made_at == creation_path.as_str() {
        return Ok(());
    }
    // It may hold anything that its maker chose; its length is its shape.
    let found = crate::credential::scrub(&made_at, [wrapping]);
    tracing::error!(
        wanted = %creation_path,
        found,
        wrapping = ?wrapping,
        "security: a wrapping token was made at another path than \
         vault.auth.approle.wrapped_secret_id.creation_path says; it is not unwrapped"
    );
    Err(Sealed::ForGood(fail(
        Cause::StaleCaller,
        format!(
            "the wrapping token was made at {found:?} and not at {creation_path}, so somebody else may have put it there; find out who did, revoke it, and write a new one"
        ),
    )
    .advised(
        "login material",
        "find out who put it there, then write a wrapping token made at creation_path into the file",
    )))
}

async fn unwrap(asking: &Asking<'_>, wrapping: &Secret) -> Result<Secret, Sealed> {
    let request = UnwrapRequest { token: None };
    let call = Call {
        operation: Operation::Unwrap,
        namespace: &asking.client.settings().auth_namespace,
        token: Some(wrapping),
        secrets: &[],
        metrics: asking.metrics,
    };
    let answer = asking.client.call::<SecretIdData>(&call, &request).await;
    let answer = answer.map_err(|refusal| sealed(asking, &refusal))?;
    let data = answer.data.ok_or_else(|| {
        Sealed::ForGood(asking.explain(&unreadable(Operation::Unwrap, &request, "no secret_id")))
    })?;
    Ok(data.secret_id)
}

/// A wrapping token that Vault does not know (any longer) was used by somebody, or has ended.
fn sealed(asking: &Asking<'_>, refusal: &Refusal) -> Sealed {
    let failure = asking.explain(refusal);
    if !is_bad_request(refusal, "wrapping token") {
        return Sealed::Perhaps(failure);
    }
    tracing::error!(
        reason = failure.reason,
        "security: a wrapping token is spent that the relay has not unwrapped: somebody else may \
         hold the secret id, unless the token has only ended"
    );
    Sealed::ForGood(Failure { cause: Cause::StaleCaller, ..failure })
}

/// Whether Vault refuses what it was shown, in words of this kind.
fn is_bad_request(refusal: &Refusal, words: &str) -> bool {
    let Why::Status { status: 400, errors, .. } = &refusal.why else {
        return false;
    };
    errors.iter().any(|error| error.to_ascii_lowercase().contains(words))
}
