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
pub use identity::{CallerIdentity, Identifier};
pub use session::{Issued, OddLifetime};
