//! A log that nobody reads: the relay goes on without it.

use std::io::{self, Read, Write};

use credential_relay::dev::sts::IssuedLifetime;
use rustix::io::ioctl_fionbio;
use rustix::process::Signal;
use tokio::time::timeout;

use crate::common::{World, two_hops};
use crate::harness::{DEADLINE, Program, write_config};

/// A pipe that takes nothing more.
fn full_pipe() -> (io::PipeReader, io::PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    for size in [4096, 1] {
        while writer.write(&vec![b' '; size]).is_ok() {}
    }
    ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let config = write_config(&world, &world.text(&[("payments", &two_hops())]));
    let socket = world.path("admin.sock");
    let (mut reader, writer) = full_pipe();
    let arguments = ["serve", "--drain", "0", "--config", config.to_str().unwrap()];
    let variables = [("CREDENTIAL_RELAY_LOG", "trace")];
    let mut relay = Program::start_with(&arguments, &variables, |_| writer.into());
    // A relay that is held up accepts and does not answer.
    let runs = timeout(DEADLINE, relay.place(&socket)).await;
    let place = runs.expect("it is held up");
    place.answers(&world, "payments", 200).await;
    assert_eq!(place.probe("/livez").await.status, 200);
    relay.signal(Signal::TERM);
    let left = relay.ended().await;
    assert_eq!(left.code, Some(0), "{left:?}");

    // What it had to say at its end nobody could read; what is read was in the pipe before.
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text.trim(), "");
}

#[tokio::test]
async fn a_log_that_is_read_has_the_last_lines() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let config = write_config(&world, "{ profiles: {} }");
    let (mut reader, writer) = io::pipe().unwrap();
    let arguments = ["serve", "--config", config.to_str().unwrap()];
    let relay = Program::start_with(&arguments, &[], |_| writer.into());
    assert_eq!(relay.ended().await.code, Some(2));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.contains("credential-relay: the configuration has 1 mistake:"), "{text}");
}
