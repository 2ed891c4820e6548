//! Templates: texts in which `{pod}`, `{namespace}`, `{service_account}` and `{profile}` stand for
//! what the pod is. None of the texts that are templates may have braces otherwise, so there is no
//! way to escape them, and no need.

use std::str::FromStr;

use super::environment::Environment;
use super::mistakes::unknown;
use super::values::SessionName;

/// What a placeholder stands for, in the order in which a session name that is too long is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Pod,
    Namespace,
    ServiceAccount,
    Profile,
}

impl Placeholder {
    const ALL: [Self; 4] = [Self::Pod, Self::Namespace, Self::ServiceAccount, Self::Profile];
    const NAMES: [&str; 4] = ["pod", "namespace", "service_account", "profile"];

    /// What must remain of it. A pod of a Deployment ends in its ReplicaSet's hash and its own, 16
    /// characters in all.
    const fn least(self) -> usize {
        match self {
            Self::Pod => 16,
            Self::Namespace | Self::ServiceAccount | Self::Profile => 8,
        }
    }
}

/// What the placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod<'a> {
    name: Option<&'a str>,
    namespace: Option<&'a str>,
    service_account: Option<&'a str>,
    profile: &'a str,
}

impl<'a> Pod<'a> {
    /// As the Downward API told it to the environment.
    pub(super) fn of(environment: &'a Environment, profile: &'a str) -> Self {
        Self {
            name: environment.get("POD_NAME"),
            namespace: environment.get("POD_NAMESPACE"),
            service_account: environment.get("POD_SERVICE_ACCOUNT"),
            profile,
        }
    }

    /// What a placeholder stands for, or what to do so that it stands for something.
    fn value(&self, placeholder: Placeholder) -> Result<&'a str, String> {
        let (value, variable, field) = match placeholder {
            Placeholder::Pod => (self.name, "POD_NAME", "metadata.name"),
            Placeholder::Namespace => (self.namespace, "POD_NAMESPACE", "metadata.namespace"),
            Placeholder::ServiceAccount => {
                (self.service_account, "POD_SERVICE_ACCOUNT", "spec.serviceAccountName")
            }
            Placeholder::Profile => (Some(self.profile), "", ""),
        };
        value.ok_or_else(|| {
            let name = Placeholder::NAMES[placeholder as usize];
            format!("{{{name}}} is not known: set {variable} (in Kubernetes from {field})")
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Placeholder),
}

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

impl Template {
    /// A session's name where none was given: what is known of the pod, and the profile.
    pub(super) fn of_session_name(pod: &Pod<'_>) -> Self {
        let mut parts = Vec::new();
        if pod.namespace.is_some() {
            parts.push(Part::Value(Placeholder::Namespace));
            parts.push(Part::Text("-".to_owned()));
        }
        if pod.name.is_some() {
            parts.push(Part::Value(Placeholder::Pod));
            parts.push(Part::Text("-".to_owned()));
        }
        if parts.is_empty() {
            parts.push(Part::Text("credential-relay-".to_owned()));
        }
        parts.push(Part::Value(Placeholder::Profile));
        Self(parts)
    }

    /// Fills it in.
    ///
    /// # Errors
    /// What to set so that each placeholder stands for something.
    pub(super) fn fill(&self, pod: &Pod<'_>) -> Result<String, String> {
        self.pieces(pod).map(|pieces| pieces.into_iter().map(|(_, text)| text).collect())
    }

    /// Fills it in for a session's name: what STS does not allow in the values becomes `-`, and
    /// what is too long is cut. Of a pod's name the end is kept, which alone tells it from others.
    ///
    /// # Errors
    /// What to set so that each placeholder stands for something, or what is wrong with the text.
    pub(super) fn fill_session_name(&self, pod: &Pod<'_>) -> Result<SessionName, String> {
        let mut pieces = self.pieces(pod)?;
        for (placeholder, text) in &mut pieces {
            if placeholder.is_some() {
                *text = text.replace(|c| !SessionName::allows(c), "-");
            }
        }
        let len: usize = pieces.iter().map(|(_, text)| text.chars().count()).sum();
        let mut over = len.saturating_sub(SessionName::LONGEST);
        for kind in Placeholder::ALL {
            let of_kind = pieces.iter_mut().filter(|(piece, _)| *piece == Some(kind));
            for (_, text) in of_kind {
                // The values are ASCII by now, so that characters are bytes.
                let cut = over.min(text.len().saturating_sub(kind.least()));
                if kind == Placeholder::Pod {
                    text.drain(..cut);
                } else {
                    text.truncate(text.len() - cut);
                }
                over -= cut;
            }
        }
        let name: String = pieces.into_iter().map(|(_, text)| text).collect();
        name.parse()
    }

    fn pieces(&self, pod: &Pod<'_>) -> Result<Vec<(Option<Placeholder>, String)>, String> {
        let mut unset = Vec::new();
        let mut pieces = Vec::with_capacity(self.0.len());
        for part in &self.0 {
            match part {
                Part::Text(text) => pieces.push((None, text.clone())),
                Part::Value(placeholder) => match pod.value(*placeholder) {
                    Ok(value) => pieces.push((Some(*placeholder), value.to_owned())),
                    Err(what) if unset.contains(&what) => {}
                    Err(what) => unset.push(what),
                },
            }
        }
        if unset.is_empty() { Ok(pieces) } else { Err(unset.join("; ")) }
    }
}

/// An unknown placeholder as it may be told: it stands in a value, so it must look like those that
/// are known.
fn told(name: &str) -> String {
    if name.len() <= 32 && name.bytes().all(|b| b.is_ascii_lowercase() || b"_-".contains(&b)) {
        format!("{{{name}}}")
    } else {
        format!("a placeholder of {} characters", name.chars().count())
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const BRACES: &str =
            "braces only stand around {pod}, {namespace}, {service_account} or {profile}";
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(BRACES)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let known = Placeholder::NAMES.iter().position(|known| *known == name);
            let placeholder = known.and_then(|known| Placeholder::ALL.get(known));
            let Some(placeholder) = placeholder else {
                return Err(format!("{} is {}", told(name), unknown(name, &Placeholder::NAMES)));
            };
            parts.push(Part::Value(*placeholder));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let stray = |part: &Part| matches!(part, Part::Text(text) if text.contains('}'));
        if parts.iter().any(stray) {
            return Err(BRACES.to_owned());
        }
        Ok(Self(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Pod<'_> = Pod {
        name: Some("payments-api-7c9d8b6f5d-x2x4z"),
        namespace: Some("payments"),
        service_account: None,
        profile: "main",
    };

    fn template(text: &str) -> Template {
        text.parse().unwrap()
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(template("a-{namespace}-{profile}").fill(&POD).unwrap(), "a-payments-main");
        assert_eq!(template("plain").fill(&POD).unwrap(), "plain");
        assert_eq!(
            template("{service_account}").fill(&POD).unwrap_err(),
            "{service_account} is not known: set POD_SERVICE_ACCOUNT (in Kubernetes from spec.serviceAccountName)"
        );
    }

    #[test]
    fn what_is_not_a_template_is_refused() {
        for (text, why) in [
            ("{pode}", "{pode} is not known here; did you mean pod?"),
            (
                "{account}",
                "{account} is not known here; pod, namespace, service_account and profile are",
            ),
            ("{", "braces only stand"),
            ("}", "braces only stand"),
            ("{pod}}", "braces only stand"),
            ("{{pod}}", "a placeholder of 4 characters is not known here"),
            ("{Pod}", "a placeholder of 3 characters is not known here; did you mean pod?"),
        ] {
            let error = text.parse::<Template>().unwrap_err();
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_session_name_by_default_is_what_is_known() {
        let name = |pod: &Pod<'_>| {
            Template::of_session_name(pod).fill_session_name(pod).unwrap().to_string()
        };
        assert_eq!(name(&POD), "payments-payments-api-7c9d8b6f5d-x2x4z-main");
        assert_eq!(name(&Pod { namespace: None, ..POD }), "payments-api-7c9d8b6f5d-x2x4z-main");
        assert_eq!(name(&Pod { namespace: None, name: None, ..POD }), "credential-relay-main");
    }

    #[test]
    fn a_session_name_is_cut_and_keeps_the_end_of_the_pod() {
        let namespace = "n".repeat(63);
        let pod = Pod { namespace: Some(&namespace), ..POD };
        let name = Template::of_session_name(&pod).fill_session_name(&pod).unwrap();
        assert_eq!(name.as_str().len(), 64);
        assert!(name.as_str().ends_with("7c9d8b6f5d-x2x4z-main"), "{name}");
        let pod = Pod { name: Some("a b/ü"), ..POD };
        let name = template("{pod}").fill_session_name(&pod).unwrap();
        assert_eq!(name.as_str(), "a-b--");
    }

    #[test]
    fn a_session_name_whose_own_text_is_wrong_is_refused() {
        assert!(template("a b-{pod}").fill_session_name(&POD).is_err());
        assert!(template(&"x".repeat(65)).fill_session_name(&POD).is_err());
    }
}
