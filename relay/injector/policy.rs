//! Whether a pod may have what it asks for: any rule that matches its namespace and service account
//! may allow it.

use super::denial::Denial;
use super::pod::Pod;
use super::wishes::{
    CONFIG, CONFLICTS, Configuration, Conflicts, Identity, PROFILE, ROLE_ARN, VAULT_ROLE, Wishes,
    annotation,
};
use crate::config::injector::{Catalogue, Inline, Pattern, Rule};
use crate::config::mistakes::{one_of, told, unknown};

/// Who a pod is to the policy. The namespace is the request's, which a pod cannot choose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) namespace: &'a str,
    pub(super) service_account: &'a str,
}

impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the service account {} of the namespace {}",
            self.service_account, self.namespace
        )
    }
}

/// Checks all that a pod asks for.
///
/// # Errors
/// Everything that no rule allows.
pub(super) fn check(
    rules: &[Rule],
    catalogue: &Catalogue,
    subject: Subject<'_>,
    pod: Pod<'_>,
    wishes: &Wishes,
) -> Result<(), Denial> {
    let rules: Vec<&Rule> = rules.iter().filter(|rule| is_about(rule, subject)).collect();
    if rules.is_empty() {
        let what = format!("the injector's policy has no rule for {subject}");
        return Err(Denial::one("policy", what));
    }
    let mut check = Check { rules, catalogue, subject, denial: Denial::default() };
    check.configuration(&wishes.configuration);
    if wishes.configuration == Configuration::Composed {
        for (_, identity) in &wishes.containers {
            check.identity(identity);
        }
    }
    check.conflicts(wishes.conflicts);
    check.pod(pod);
    check.denial.checked()
}

fn is_about(rule: &Rule, subject: Subject<'_>) -> bool {
    any(&rule.namespaces, subject.namespace) && any(&rule.service_accounts, subject.service_account)
}

fn any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

struct Check<'a> {
    rules: Vec<&'a Rule>,
    catalogue: &'a Catalogue,
    subject: Subject<'a>,
    denial: Denial,
}

impl Check<'_> {
    fn allows(&self, is: impl Fn(&Rule) -> bool) -> bool {
        self.rules.iter().any(|rule| is(rule))
    }

    fn forbid(&mut self, place: impl Into<String>, what: &str) {
        let subject = self.subject;
        self.denial.add(place, format!("the injector's policy does not allow {subject} {what}"));
    }

    fn configuration(&mut self, configuration: &Configuration) {
        let Configuration::ConfigMap(name) = configuration else { return };
        if !self.allows(|rule| any(&rule.config_maps, name)) {
            self.forbid(annotation(CONFIG), "this ConfigMap");
        }
    }

    fn identity(&mut self, identity: &Identity) {
        match identity {
            Identity::Profile(name) => self.profile(name.as_str()),
            Identity::Inline(inline) => self.inline(inline),
        }
    }

    fn profile(&mut self, name: &str) {
        let known = self.catalogue.names();
        let allowed: Vec<&str> = known
            .into_iter()
            .filter(|known| self.allows(|rule| any(&rule.profiles, known)))
            .collect();
        if !self.catalogue.has(name) {
            let what = match allowed.as_slice() {
                [] => format!("there is no profile {}", told(name)),
                allowed => format!("{}: {}", told(name), unknown(name, allowed)),
            };
            self.denial.add(annotation(PROFILE), what);
        } else if !allowed.contains(&name) {
            let what = match allowed.as_slice() {
                [] => format!("the profile {name}, nor any other"),
                allowed => format!("the profile {name}; {}", one_of(allowed)),
            };
            self.forbid(annotation(PROFILE), &what);
        }
    }

    /// A role of Vault's and an ARN must be allowed by one rule: what one allows must not be
    /// combined with what another does.
    fn inline(&mut self, inline: &Inline) {
        let vault = |rule: &Rule, role: &str| any(&rule.vault_roles, role);
        let arn = |rule: &Rule, arn: &str| any(&rule.role_arns, arn);
        let (allowed, place, what) = match inline {
            Inline::Vault(role) => {
                (self.allows(|rule| vault(rule, role.as_str())), VAULT_ROLE, "this role of Vault's")
            }
            Inline::Role(role) => {
                (self.allows(|rule| arn(rule, role.as_str())), ROLE_ARN, "this role")
            }
            Inline::VaultThenRole(first, then) => (
                self.allows(|rule| vault(rule, first.as_str()) && arn(rule, then.as_str())),
                ROLE_ARN,
                "this role with that role of Vault's (one rule must allow both)",
            ),
        };
        if !allowed {
            self.forbid(annotation(place), what);
        } else if matches!(inline, Inline::Role(_)) && !self.catalogue.has_inline_source() {
            let what = "a role alone needs credentials to assume it with: set vault-role beside it, or have inline.source set in the injector's configuration";
            self.denial.add(annotation(ROLE_ARN), what);
        }
    }

    fn conflicts(&mut self, conflicts: Conflicts) {
        if conflicts == Conflicts::Replace && !self.allows(|rule| rule.replace) {
            self.forbid(annotation(CONFLICTS), "to replace anything");
        }
    }

    fn pod(&mut self, pod: Pod<'_>) {
        if pod.is("hostNetwork") && !self.allows(|rule| rule.host_network) {
            let what = "this: every process of the node would reach the relay's port";
            self.forbid("spec.hostNetwork", what);
        }
        for field in ["shareProcessNamespace", "hostPID"] {
            if pod.is(field) && !self.allows(|rule| rule.share_process_namespace) {
                let what =
                    "this: processes that see those of another container see its access token too";
                self.forbid(format!("spec.{field}"), what);
            }
        }
    }
}
