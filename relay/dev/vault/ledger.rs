//! What was asked of the Vault.

use super::super::ledger::{self, Recorded};

/// What a request is for. The names are roles of the AWS secrets engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A login, whatever the method.
    Login,
    /// `auth/token/lookup-self`.
    LookupSelf,
    /// `auth/token/renew-self`.
    RenewSelf,
    /// `auth/token/revoke-self`.
    RevokeSelf,
    /// `creds/:role` or `sts/:role`.
    Creds(String),
    /// `static-creds/:role`.
    StaticCreds(String),
    /// `sys/leases/renew`.
    RenewLease,
    /// `sys/leases/revoke`.
    RevokeLease,
    /// `sys/wrapping/lookup`.
    LookupWrapping,
    /// `sys/wrapping/unwrap`.
    Unwrap,
    /// `sys/health`.
    Health,
    /// `sys/seal-status`.
    SealStatus,
    /// Nothing that is known here.
    Other,
}

impl Operation {
    /// What a path, without `/v1/`, is for, if the AWS secrets engine is at `mount`.
    pub(super) fn of(path: &str, mount: &str) -> Self {
        if let Some(engine) = path.strip_prefix(mount).and_then(|rest| rest.strip_prefix('/')) {
            return match engine.split_once('/') {
                Some(("creds" | "sts", role)) => Self::Creds(role.to_owned()),
                Some(("static-creds", role)) => Self::StaticCreds(role.to_owned()),
                _ => Self::Other,
            };
        }
        match path {
            "auth/token/lookup-self" => Self::LookupSelf,
            "auth/token/renew-self" => Self::RenewSelf,
            "auth/token/revoke-self" => Self::RevokeSelf,
            "sys/leases/renew" => Self::RenewLease,
            "sys/leases/revoke" => Self::RevokeLease,
            "sys/wrapping/lookup" => Self::LookupWrapping,
            "sys/wrapping/unwrap" => Self::Unwrap,
            "sys/health" => Self::Health,
            "sys/seal-status" => Self::SealStatus,
            _ if path.starts_with("auth/") && format!("{path}/").contains("/login/") => Self::Login,
            _ => Self::Other,
        }
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it asked for.
    pub operation: Operation,
    /// The HTTP method.
    pub method: String,
    /// The path without `/v1/`.
    pub path: String,
    /// Whose token it brought: its accessor, if the token was good and has one.
    pub accessor: Option<String>,
    /// The namespace that it named.
    pub namespace: Option<String>,
    /// The status of the answer; none if there was no answer.
    pub status: Option<u16>,
    /// The fault that struck, if one did.
    pub fault: Option<&'static str>,
}

impl Recorded for Call {
    type Kind = Operation;

    fn kind(&self) -> Operation {
        self.operation.clone()
    }
}

/// The record of all calls; cheap to clone.
pub type Ledger = ledger::Ledger<Call>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        for (path, operation) in [
            ("auth/kubernetes/login", Operation::Login),
            ("auth/team/userpass/login/anna", Operation::Login),
            ("auth/token/renew-self", Operation::RenewSelf),
            ("team/aws/creds/payments", Operation::Creds("payments".into())),
            ("team/aws/sts/payments", Operation::Creds("payments".into())),
            ("team/aws/static-creds/legacy", Operation::StaticCreds("legacy".into())),
            ("team/aws/config/root", Operation::Other),
            ("team/awsome/creds/payments", Operation::Other),
            ("auth/kubernetes/config", Operation::Other),
        ] {
            assert_eq!(Operation::of(path, "team/aws"), operation, "{path}");
        }
    }
}
