//! The policy: what each rule says.

use std::str::FromStr;

use deserr::ValuePointerRef;

use super::ROOT;
use crate::config::injector::document::RuleDocument;
use crate::config::injector::{Pattern, Rule};
use crate::config::mistakes::{Mistakes, unknown};

/// All rules. `profiles` are the names in the catalogue, where it is right.
pub(super) fn rules(
    given: Option<&Vec<Option<RuleDocument>>>,
    profiles: Option<&[&str]>,
    mistakes: &mut Mistakes,
) -> Vec<Rule> {
    let at = ROOT.push_key("policy");
    let items = mistakes.items(given, at);
    if items.is_empty() {
        mistakes.missing(at, "missing; without a rule that matches a pod nothing is injected");
    }
    items
        .into_iter()
        .map(|(number, given)| rule(given, at.push_index(number), profiles, mistakes))
        .collect()
}

fn rule(
    given: &RuleDocument,
    at: ValuePointerRef<'_>,
    known: Option<&[&str]>,
    mistakes: &mut Mistakes,
) -> Rule {
    let mut patterns = |list, key| patterns(list, at.push_key(key), mistakes);
    let namespaces = patterns(given.namespaces.as_ref(), "namespaces");
    let service_accounts = match &given.service_accounts {
        Some(list) => patterns(Some(list), "service_accounts"),
        None => vec![Pattern::every()],
    };
    let profiles = patterns(given.profiles.as_ref(), "profiles");
    let vault_roles = patterns(given.vault_roles.as_ref(), "vault_roles");
    let role_arns = patterns(given.role_arns.as_ref(), "role_arns");
    let config_maps = patterns(given.config_maps.as_ref(), "config_maps");
    if namespaces.is_empty() {
        let what = "missing; write the namespaces of the pods that it is about, such as [payments, \"team-a-*\"]";
        mistakes.missing(at.push_key("namespaces"), what);
    }
    check_profiles(&profiles, at.push_key("profiles"), known, mistakes);
    Rule {
        namespaces,
        service_accounts,
        profiles,
        vault_roles,
        role_arns,
        config_maps,
        host_network: given.host_network.unwrap_or(false),
        share_process_namespace: given.share_process_namespace.unwrap_or(false),
        replace: given.replace.unwrap_or(true),
    }
}

fn patterns(
    list: Option<&Vec<Option<String>>>,
    at: ValuePointerRef<'_>,
    mistakes: &mut Mistakes,
) -> Vec<Pattern> {
    let items = mistakes.items(list, at);
    let read = |(number, text): (usize, &String)| {
        mistakes.read(text, at.push_index(number), Pattern::from_str)
    };
    items.into_iter().filter_map(read).collect()
}

/// A name that is no profile allows nothing, which nobody means.
fn check_profiles(
    profiles: &[Pattern],
    at: ValuePointerRef<'_>,
    known: Option<&[&str]>,
    mistakes: &mut Mistakes,
) {
    let Some(known) = known else { return };
    for (number, pattern) in profiles.iter().enumerate() {
        if let Some(name) = pattern.name().filter(|name| !known.contains(name)) {
            mistakes.add(at.push_index(number), unknown(name, known));
        }
    }
}
