//! Where the injector's certificate comes from.

use std::path::PathBuf;
use std::time::Duration;

/// Where the injector's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// Two PEM files, read again when they change: cert-manager and others write them.
    Files {
        /// The certificate, with those between it and the root.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// The injectors make their own and keep them in the cluster.
    SelfManaged(SelfManaged),
}

/// The names of what the injectors keep in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfManaged {
    /// The namespace of Service, Secret and Lease.
    pub namespace: String,
    /// The Service by which the API server calls.
    pub service: String,
    /// The Secret with CA and certificate.
    pub secret: String,
    /// The Lease of whoever writes.
    pub lease: String,
    /// The MutatingWebhookConfiguration whose caBundle is kept.
    pub webhook: String,
    /// The lifetime of a serving certificate; the CA's is 10 times that.
    pub lifetime: Duration,
}
