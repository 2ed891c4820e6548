//! Whether a pod may have what it asks for: for each container one rule that matches the pod's
//! namespace and service account must allow what the container gets, together with what weakens the
//! pod's boundaries. What one rule withholds another, which is about other profiles, must not give.

use super::denial::Denial;
use super::pod::Pod;
use super::wishes::{
    CONFIG, CONFLICTS, Configuration, Conflicts, Delivery, INLINE_TOKEN, Identity, PROFILE,
    ROLE_ARN, VAULT_ROLE, Wish, Wishes, annotation,
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
    let liberties = liberties(pod, wishes.conflicts);
    let mut check = Check { rules, catalogue, subject, liberties, denial: Denial::default() };
    match &wishes.configuration {
        Configuration::ConfigMap(name) => check.config_map(name),
        Configuration::Composed => {
            for wish in &wishes.containers {
                check.wish(wish);
            }
        }
    }
    check.denial.checked()
}

/// What a pod does that a rule may withhold beside what its containers get.
struct Liberty {
    place: String,
    what: &'static str,
    given: fn(&Rule) -> bool,
}

fn liberties(pod: Pod<'_>, conflicts: Conflicts) -> Vec<Liberty> {
    let mut liberties = Vec::new();
    if conflicts == Conflicts::Replace {
        liberties.push(Liberty {
            place: annotation(CONFLICTS),
            what: "to replace anything",
            given: |rule| rule.replace,
        });
    }
    if pod.is("hostNetwork") {
        liberties.push(Liberty {
            place: "spec.hostNetwork".to_owned(),
            what: "this: every process of the node would reach the relay's port",
            given: |rule| rule.host_network,
        });
    }
    for field in ["shareProcessNamespace", "hostPID"] {
        if pod.is(field) {
            liberties.push(Liberty {
                place: format!("spec.{field}"),
                what: "this: processes that see those of another container see its access token too",
                given: |rule| rule.share_process_namespace,
            });
        }
    }
    liberties
}

/// What one container asks for beside its identity.
fn inline_token(wish: &Wish) -> Option<Liberty> {
    (wish.token == Delivery::Inline).then(|| Liberty {
        place: annotation(INLINE_TOKEN),
        what: "this: everyone who may read the pod sees the access token",
        given: |rule| rule.inline_tokens,
    })
}

fn is_about(rule: &Rule, subject: Subject<'_>) -> bool {
    any(&rule.namespaces, subject.namespace) && any(&rule.service_accounts, subject.service_account)
}

/// Whether a rule allows this. A role of Vault's and an ARN must be allowed by one rule: what one
/// allows must not be combined with what another does.
fn grants(rule: &Rule, identity: &Identity) -> bool {
    match identity {
        Identity::Profile(name) => any(&rule.profiles, name.as_str()),
        Identity::Inline(Inline::Vault(role)) => any(&rule.vault_roles, role.as_str()),
        Identity::Inline(Inline::Role(arn)) => any(&rule.role_arns, arn.as_str()),
        Identity::Inline(Inline::VaultThenRole(role, arn)) => {
            any(&rule.vault_roles, role.as_str()) && any(&rule.role_arns, arn.as_str())
        }
    }
}

fn any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

struct Check<'a> {
    rules: Vec<&'a Rule>,
    catalogue: &'a Catalogue,
    subject: Subject<'a>,
    liberties: Vec<Liberty>,
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

    fn config_map(&mut self, name: &str) {
        if !self.allows(|rule| any(&rule.config_maps, name)) {
            self.forbid(annotation(CONFIG), "this ConfigMap");
        }
        self.liberties_beside(None, |rule| any(&rule.config_maps, name));
    }

    fn wish(&mut self, wish: &Wish) {
        match &wish.identity {
            Identity::Profile(name) => self.profile(name.as_str()),
            Identity::Inline(inline) => self.inline(inline),
        }
        self.liberties_beside(inline_token(wish).as_ref(), |rule| grants(rule, &wish.identity));
    }

    /// Checks that one rule of those that grant something allows all that the pod does beside it. Where
    /// none grants it, which is told already, any rule counts.
    fn liberties_beside(&mut self, more: Option<&Liberty>, grants: impl Fn(&Rule) -> bool) {
        let mut granting: Vec<&Rule> =
            self.rules.iter().copied().filter(|rule| grants(rule)).collect();
        if granting.is_empty() {
            granting.clone_from(&self.rules);
        }
        let missing = |rule: &&Rule| {
            let given = |liberty: &&Liberty| !(liberty.given)(rule);
            self.liberties.iter().chain(more).filter(given).collect::<Vec<_>>()
        };
        // What the rule that allows most does not.
        let Some(missing) = granting.iter().map(missing).min_by_key(Vec::len) else { return };
        let told: Vec<(String, String)> = missing
            .into_iter()
            .map(|Liberty { place, what, given }| match self.allows(given) {
                true => (
                    place.clone(),
                    format!("{what} (one rule must allow it beside what each container gets)"),
                ),
                false => (place.clone(), (*what).to_owned()),
            })
            .collect();
        for (place, what) in told {
            self.forbid(place, &what);
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

    fn inline(&mut self, inline: &Inline) {
        let (place, what) = match inline {
            Inline::Vault(_) => (VAULT_ROLE, "this role of Vault's"),
            Inline::Role(_) => (ROLE_ARN, "this role"),
            Inline::VaultThenRole(..) => {
                (ROLE_ARN, "this role with that role of Vault's (one rule must allow both)")
            }
        };
        let identity = Identity::Inline(inline.clone());
        let allowed = self.allows(|rule| grants(rule, &identity));
        if !allowed {
            self.forbid(annotation(place), what);
        } else if matches!(inline, Inline::Role(_)) && !self.catalogue.has_inline_source() {
            let what = "a role alone needs credentials to assume it with: set vault-role beside it, or have inline.source set in the injector's configuration";
            self.denial.add(annotation(ROLE_ARN), what);
        }
    }
}
