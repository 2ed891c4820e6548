//! `credential-relay` serves short-lived AWS credentials to the AWS SDKs of a pod over localhost.
//!
//! The modules stand in the order in which a credential travels; reading them top to bottom
//! follows it from its source to the application:
//!
//! ```text
//! source ──► hop ──► hop ──► rotation ──► store ──► endpoint ──► the application's SDK
//!    └──────── chain ─┘      when, how    latest    guard, access token,
//!                            to retry     state     answer
//! ```
//!
//! Rotation is the only writer of the store, and the endpoint only reads it: a request never
//! causes an upstream call. `ARCHITECTURE.md` has the whole picture, and `tests/layering.rs`
//! says which module may import which.

pub mod access;
pub mod arn;
pub mod audit;
pub mod clock;
pub mod config;
pub mod credential;
pub mod failure;
pub mod files;
pub mod kubernetes;
pub use credential_relay_listener as listener;
pub use credential_relay_listener::shutdown;
pub mod metrics;
pub mod schedule;
pub mod sts;
pub mod transport;
mod x509;

pub mod sources;

pub mod chain;

pub mod rotation;

pub mod store;

pub mod credentials_file;

pub mod endpoint;

pub mod admin;

pub mod injector;

pub mod hardening;

pub mod app;
pub mod cli;
#[cfg(feature = "dev")]
pub mod dev;
mod queue;
pub mod telemetry;
