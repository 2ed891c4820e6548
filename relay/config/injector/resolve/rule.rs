//! The policy: what each rule says.

use deserr::ValuePointerRef;

use super::ROOT;
use crate::config::injector::document::RuleDocument;
use crate::config::injector::{Pattern, Rule};
use crate::config::mistakes::{Mistakes, one_of, unknown};
use crate::config::values;

/// What there is beside the policy that its rules can be about.
pub(super) struct Beside<'a> {
    /// The names in the catalogue, where it is right.
    pub(super) profiles: Option<&'a [&'a str]>,
    /// Whether `inline.source` is there.
    pub(super) inline_source: bool,
}

/// All rules.
pub(super) fn rules(
    given: Option<&Vec<Option<RuleDocument>>>,
    beside: &Beside<'_>,
    mistakes: &mut Mistakes,
) -> Vec<Rule> {
    let at = ROOT.push_key("policy");
    let items = mistakes.items(given, at);
    if items.is_empty() {
        mistakes.missing(at, "missing; without a rule that matches a pod nothing is injected");
    }
    items
        .into_iter()
        .map(|(number, given)| rule(given, at.push_index(number), beside, mistakes))
        .collect()
}

/// What should be known of rules that are right.
pub(super) fn warnings(rules: &[Rule], profiles: &[&str]) -> Vec<String> {
    let nothing = |rule: &Rule| {
        let of_catalogue =
            profiles.iter().any(|name| rule.profiles.iter().any(|pattern| pattern.matches(name)));
        let others = [&rule.vault_roles, &rule.role_arns, &rule.config_maps];
        !of_catalogue && others.iter().all(|patterns| patterns.is_empty())
    };
    let idle = rules.iter().enumerate().filter(|(_, rule)| nothing(rule));
    idle.map(|(number, _)| {
        format!(
            "policy[{number}]: it allows nothing, and what it says of pods counts beside what it allows alone: \
             write profiles, vault_roles, role_arns or config_maps"
        )
    })
    .collect()
}

fn rule(
    given: &RuleDocument,
    at: ValuePointerRef<'_>,
    beside: &Beside<'_>,
    mistakes: &mut Mistakes,
) -> Rule {
    let mut patterns =
        |list: &Option<_>, key, names| patterns(list.as_ref(), at.push_key(key), names, mistakes);
    let namespaces = patterns(&given.namespaces, "namespaces", LABELS);
    let service_accounts = patterns(&given.service_accounts, "service_accounts", OBJECTS);
    let profiles = patterns(&given.profiles, "profiles", PROFILES);
    let vault_roles = patterns(&given.vault_roles, "vault_roles", VAULT_ROLES);
    let role_arns = patterns(&given.role_arns, "role_arns", ARNS);
    let config_maps = patterns(&given.config_maps, "config_maps", OBJECTS);
    if namespaces.is_empty() {
        let what = "missing; write the namespaces of the pods that it is about, such as [payments, \"team-a-*\"]";
        mistakes.missing(at.push_key("namespaces"), what);
    }
    let there = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if given.service_accounts.is_some() && !there(&given.service_accounts) {
        let what = "an empty list, which matches no pod: remove it for all service accounts, or write their names";
        mistakes.missing(at.push_key("service_accounts"), what);
    }
    if there(&given.role_arns) && !there(&given.vault_roles) && !beside.inline_source {
        let what = "a role alone needs credentials to assume it with: set inline.source, or write vault_roles beside it";
        mistakes.missing(at.push_key("role_arns"), what);
    }
    check_profiles(&profiles, at.push_key("profiles"), beside.profiles, mistakes);
    let plain =
        |list: Vec<(usize, Pattern)>| list.into_iter().map(|(_, pattern)| pattern).collect();
    Rule {
        namespaces: plain(namespaces),
        service_accounts: match given.service_accounts {
            Some(_) => plain(service_accounts),
            None => vec![Pattern::every()],
        },
        profiles: plain(profiles),
        vault_roles: plain(vault_roles),
        role_arns: plain(role_arns),
        config_maps: plain(config_maps),
        host_network: given.host_network.unwrap_or(false),
        share_process_namespace: given.share_process_namespace.unwrap_or(false),
        inline_tokens: given.inline_tokens.unwrap_or(false),
        replace: given.replace.unwrap_or(true),
    }
}

/// What the names have that a pattern is compared with: a pattern with anything else matches none.
#[derive(Clone, Copy)]
struct Names {
    has: fn(char) -> bool,
    told: &'static str,
}

fn lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

const LABELS: Names = Names { has: lower, told: "a-z 0-9 - *" };
const OBJECTS: Names = Names { has: |c| lower(c) || c == '.', told: "a-z 0-9 - . *" };
const PROFILES: Names = Names { has: |c| lower(c) || c == '_', told: "a-z 0-9 - _ *" };
const VAULT_ROLES: Names = Names {
    has: |c| c.is_ascii_alphanumeric() || "_.@+=,-".contains(c),
    told: "A-Z a-z 0-9 _ . @ + = , - *",
};
const ARNS: Names = Names { has: |_| true, told: "" };

/// The patterns of a list that are right, each with its number there.
fn patterns(
    list: Option<&Vec<Option<String>>>,
    at: ValuePointerRef<'_>,
    names: Names,
    mistakes: &mut Mistakes,
) -> Vec<(usize, Pattern)> {
    let items = mistakes.items(list, at);
    let read = |text: &str| {
        let pattern: Pattern = text.parse()?;
        values::within(text, 1, usize::MAX, |c| c == '*' || (names.has)(c), names.told)
            .map_err(|why| format!("nothing has such a name: {why}"))?;
        Ok::<_, String>(pattern)
    };
    let read = |(number, text): (usize, &String)| {
        Some((number, mistakes.read(text, at.push_index(number), read)?))
    };
    items.into_iter().filter_map(read).collect()
}

/// What matches no profile allows nothing, which nobody means. A `*` alone stands for those to come.
fn check_profiles(
    profiles: &[(usize, Pattern)],
    at: ValuePointerRef<'_>,
    known: Option<&[&str]>,
    mistakes: &mut Mistakes,
) {
    let Some(known) = known else { return };
    for (number, pattern) in profiles {
        let matches = known.iter().any(|known| pattern.matches(known));
        let what = match pattern.name() {
            _ if matches || *pattern == Pattern::every() => continue,
            Some(name) => unknown(name, known),
            None => format!("it matches no profile; {}", one_of(known)),
        };
        mistakes.add(at.push_index(*number), what);
    }
}
