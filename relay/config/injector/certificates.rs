//! Where the injector's serving certificate comes from.

use std::path::PathBuf;
use std::time::Duration;

/// Where the injector's serving certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// PEM files that somebody else keeps, such as cert-manager; read again when they change.
    Files {
        /// The certificate, with those between it and the root.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// The injectors keep a certification authority of their own, together.
    SelfManaged(SelfManaged),
}

/// A certification authority that the injectors keep themselves, in a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfManaged {
    /// The namespace of the three below.
    pub namespace: String,
    /// The Service by whose name the API server calls the injector.
    pub service: String,
    /// The Secret that holds the authority and the serving certificate.
    pub secret: String,
    /// The Lease by which one of the replicas is the one that renews.
    pub lease: String,
    /// The MutatingWebhookConfiguration whose caBundle is kept.
    pub webhook: String,
    /// How long a serving certificate lives; the authority lives 10 times as long.
    pub lifetime: Duration,
}
