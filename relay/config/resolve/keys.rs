//! What becomes of long-lived keys: served, exchanged, or neither.

use std::time::Duration;

use deserr::ValuePointerRef;

use super::{Resolver, optional, sts};
use crate::config::LongLivedKeys;
use crate::config::document::{
    GetSessionTokenDocument, ProfileDocument, SourceDocument, VaultDocument,
};
use crate::config::values;
use crate::config::vault::CredentialType;

/// What GetSessionToken gives to a user without being asked (its API reference): 12 hours.
const DEFAULT_EXCHANGE: Duration = Duration::from_secs(12 * 3600);

/// What a profile's source gives, as far as the file says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// Long-lived keys, in words.
    Keys(&'static str),
    /// A session that Vault made.
    Session(CredentialType),
    /// A role's session.
    RoleSession,
    /// Either, or the source is wrong: what comes is seen when it comes.
    Either,
}

impl Base {
    pub(super) fn of(given: &ProfileDocument) -> Self {
        let Some(source) = &given.source else {
            return Self::Either;
        };
        let role_session = source.web_identity.is_some()
            || source.container.is_some()
            || source.imds.is_some()
            || source.roles_anywhere.is_some();
        match (&source.environment, &source.vault) {
            (Some(_), None) => Self::Keys("the keys of the environment"),
            (None, Some(vault)) if vault.static_role.is_some() => {
                Self::Keys("the keys of a static role")
            }
            (None, Some(vault)) => match vault.credential_type.map(CredentialType::from) {
                None => Self::Either,
                Some(CredentialType::IamUser) => Self::Keys("the keys of an iam_user role"),
                Some(session) => Self::Session(session),
            },
            (None, None) if role_session => Self::RoleSession,
            // A file may hold a session with its expiry, and so may all others.
            _ => Self::Either,
        }
    }
}

/// Whether the keys of a user may come from Vault and be served, as they are or exchanged.
pub(super) fn may_be_new(given: &ProfileDocument) -> bool {
    let alone = |source: &SourceDocument| source.environment.is_none() && source.file.is_none();
    let vault = |source: &SourceDocument| source.vault.is_some() && alone(source);
    given.source.as_ref().is_some_and(vault)
        && !chained(given)
        && !matches!(Base::of(given), Base::Session(_))
}

/// Whether new keys are tried out with the STS of every hop's default, before they are served as
/// they are.
pub(super) fn tries_out(given: &ProfileDocument, vault: Option<&VaultDocument>) -> bool {
    let off = vault
        .and_then(|vault| vault.propagation.as_ref())
        .is_some_and(|propagation| propagation.successes == Some(0));
    may_be_new(given) && given.serve_long_lived_keys == Some(true) && !off
}

fn chained(given: &ProfileDocument) -> bool {
    given.chain.as_ref().is_some_and(|chain| !chain.is_empty())
}

impl Resolver<'_> {
    /// None where something is wrong.
    pub(super) fn long_lived_keys(
        &mut self,
        given: &ProfileDocument,
        at: ValuePointerRef<'_>,
        sts: &sts::Defaults,
    ) -> Option<LongLivedKeys> {
        let served = given.serve_long_lived_keys == Some(true);
        let served_at = at.push_key("serve_long_lived_keys");
        let exchange_at = at.push_key("get_session_token");
        let base = Base::of(given);
        let exchange = given.get_session_token.is_some();
        if let Some(why) = needless(given, base) {
            if served {
                self.mistakes.add(served_at, format!("true; {why}, so remove it"));
            }
            if exchange {
                self.mistakes.add(exchange_at, format!("{why}, so remove it"));
            }
        } else if served && exchange {
            let what = "serve_long_lived_keys is true too; keep one: the keys are either exchanged or served \
                        as they are";
            self.mistakes.add(exchange_at, what);
        } else if let Base::Keys(keys) = base
            && !served
            && !exchange
            && !chained(given)
            && !self.mistakes.touch(at.push_key("chain"))
            && !self.mistakes.touch(exchange_at)
        {
            let what = format!(
                "not true; without a chain {keys} are served as they are, and without an expiry they break \
                 several SDKs: add a chain or `get_session_token: {{ duration: 12h }}`, or set this to true"
            );
            self.missing(served_at, &what);
        }
        let exchanged = given.get_session_token.as_ref();
        let exchanged = exchanged.map(|exchange| self.exchange(exchange, exchange_at, sts));
        Some(match optional(exchanged)? {
            Some(exchanged) => exchanged,
            None if served => LongLivedKeys::Served,
            None => LongLivedKeys::Refused,
        })
    }

    fn exchange(
        &mut self,
        given: &GetSessionTokenDocument,
        at: ValuePointerRef<'_>,
        sts: &sts::Defaults,
    ) -> Option<LongLivedKeys> {
        let duration = given.duration.as_deref().map(|text| {
            let at = at.push_key("duration");
            let read = |text: &str| values::lifetime(text, values::LONGEST_OF_USER);
            let duration = self.read(text, at, read)?;
            self.warn_of_short(duration, at, "STS");
            Some(duration)
        });
        let sts = self.sts_of(&given.into(), at, sts)?;
        Some(LongLivedKeys::Exchanged {
            duration: duration.unwrap_or(Some(DEFAULT_EXCHANGE))?,
            sts,
        })
    }
}

/// Why nothing has to be said of long-lived keys, where it is so.
fn needless(given: &ProfileDocument, base: Base) -> Option<&'static str> {
    match base {
        _ if chained(given) => Some("with a chain only its sessions are served"),
        Base::Session(_) => {
            Some("a role of this credential_type gives sessions, never a user's keys")
        }
        Base::RoleSession => Some("this source gives sessions, never a user's keys"),
        Base::Keys(_) | Base::Either => None,
    }
}
