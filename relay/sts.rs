//! How STS is asked: clients over the shared transports, what their errors mean, and who a
//! credential is. It is called directly, since aws-config's providers can set neither a source
//! identity nor transitive tags nor the duration of a web identity's session, and flatten errors.

mod client;
mod connector;
mod errors;
mod identity;
pub mod options;
mod session;

pub use client::{Clients, Shared};
#[cfg(feature = "host")]
pub(crate) use client::{retries, timeouts};
#[cfg(feature = "host")]
pub(crate) use connector::http_client_by_scheme;
#[cfg(feature = "host")]
pub(crate) use errors::explain;
pub use identity::{CallerIdentity, Identifier};
pub use session::{Issued, OddLifetime};
