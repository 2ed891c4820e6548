//! Which objects there are, and where the API server has them.

use super::error::Quoted;
use std::fmt;

/// The kinds of objects that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A Secret.
    Secret,
    /// A Lease.
    Lease,
    /// A MutatingWebhookConfiguration, which is in no namespace.
    MutatingWebhookConfiguration,
}

impl Resource {
    /// The API group; the oldest one has no name.
    pub fn group(self) -> &'static str {
        match self {
            Self::Secret => "",
            Self::Lease => "coordination.k8s.io",
            Self::MutatingWebhookConfiguration => "admissionregistration.k8s.io",
        }
    }

    /// The name in paths and in roles.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::Lease => "leases",
            Self::MutatingWebhookConfiguration => "mutatingwebhookconfigurations",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::Lease => "Lease",
            Self::MutatingWebhookConfiguration => "MutatingWebhookConfiguration",
        }
    }
}

/// What is done to an object, in the words of roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It is read.
    Get,
    /// It is made.
    Create,
    /// Part of it is changed.
    Patch,
}

impl Verb {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Patch => "patch",
        }
    }
}

/// The name of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    resource: Resource,
    namespace: Option<String>,
    name: String,
}

impl Object {
    /// A Secret.
    pub fn secret(namespace: &str, name: &str) -> Self {
        Self::in_namespace(Resource::Secret, namespace, name)
    }

    /// A Lease.
    pub fn lease(namespace: &str, name: &str) -> Self {
        Self::in_namespace(Resource::Lease, namespace, name)
    }

    /// A MutatingWebhookConfiguration.
    pub fn mutating_webhook(name: &str) -> Self {
        let resource = Resource::MutatingWebhookConfiguration;
        Self { resource, namespace: None, name: name.to_owned() }
    }

    fn in_namespace(resource: Resource, namespace: &str, name: &str) -> Self {
        Self { resource, namespace: Some(namespace.to_owned()), name: name.to_owned() }
    }

    /// What an answer to this may quote.
    pub(super) fn quoted_by(&self, verb: Verb) -> Quoted {
        match (self.resource, verb) {
            (Resource::Secret, Verb::Create | Verb::Patch) => Quoted::Keys,
            _ => Quoted::Names,
        }
    }

    /// Where it is, or where one is made.
    pub(super) fn path(&self, verb: Verb) -> String {
        let root = match self.resource.group() {
            "" => "/api/v1".to_owned(),
            group => format!("/apis/{group}/v1"),
        };
        let namespace =
            self.namespace.as_ref().map(|name| format!("/namespaces/{name}")).unwrap_or_default();
        let all = format!("{root}{namespace}/{}", self.resource.plural());
        match verb {
            Verb::Create => all,
            Verb::Get | Verb::Patch => format!("{all}/{}", self.name),
        }
    }

    /// The rule that lets a service account do this, in the words of a Role or a ClusterRole. What is
    /// made cannot be limited to a name: the API server does not know it yet.
    pub(super) fn rule(&self, verb: Verb) -> String {
        let of = match &self.namespace {
            Some(namespace) => format!("a Role in namespace {namespace}"),
            None => "a ClusterRole".to_owned(),
        };
        let names = match verb {
            Verb::Create => String::new(),
            Verb::Get | Verb::Patch => format!(", resourceNames: [{}]", self.name),
        };
        format!(
            "{of} with the rule {{apiGroups: [\"{}\"], resources: [{}]{names}, verbs: [{}]}}",
            self.resource.group(),
            self.resource.plural(),
            verb.as_str()
        )
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.resource.kind())?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}
