//! The whole relay, in process and as a program, in front of the embedded STS.
//!
//! Sockets, processes and the SDK run in real time: tests poll until a deadline, and none asserts
//! how long something took.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must end")]

mod common;

#[path = "relay/admin.rs"]
mod admin;
#[path = "relay/audit.rs"]
mod audit;
#[path = "relay/commands.rs"]
mod commands;
#[path = "relay/dev.rs"]
mod dev;
#[path = "relay/ends.rs"]
mod ends;
#[path = "relay/exec.rs"]
mod exec;
#[path = "relay/files.rs"]
mod files;
#[path = "relay/harness.rs"]
mod harness;
#[cfg(feature = "host")]
#[path = "relay/host.rs"]
mod host;
#[path = "relay/leaks.rs"]
mod leaks;
#[path = "relay/misplaced.rs"]
mod misplaced;
#[path = "relay/panics.rs"]
mod panics;
#[path = "relay/reload.rs"]
mod reload;
#[path = "relay/search.rs"]
mod search;
#[path = "relay/serving.rs"]
mod serving;
#[path = "relay/settings.rs"]
mod settings;
#[path = "relay/tls.rs"]
mod tls;
#[path = "relay/unread.rs"]
mod unread;
#[path = "relay/vault.rs"]
mod vault;
