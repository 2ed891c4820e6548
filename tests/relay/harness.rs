//! A relay in this process, a relay as a program, and how both are asked.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use credential_relay::admin::status::Status;
use credential_relay::app::{self, Addresses, Died};
use credential_relay::clock::Clock;
use credential_relay::config::Config;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::common::World;

/// Far more than anything takes, on a machine that does much else.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Looks until something is there.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An answer, as text.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The access key id of a credential.
    pub(crate) fn key_id(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["AccessKeyId"].as_str().unwrap().to_owned()
    }
}

/// A request's text; it asks for the connection to be closed.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let host =
        if headers.iter().any(|(name, _)| *name == "Host") { "" } else { "Host: localhost\r\n" };
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}\r\n")
}

/// Sends `text` and reads to the end.
pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    text: &str,
) -> io::Result<Answer> {
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    // A request that is refused half read may end in a reset, after its answer.
    let ended = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return Err(ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
    };
    Ok(Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_lowercase(),
        body: body.to_owned(),
    })
}

/// Asks over TCP.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    exchange(stream, &request(method, path, headers)).await.unwrap()
}

/// Asks over the admin socket.
pub(crate) async fn ask_socket(socket: &Path, method: &str, path: &str) -> io::Result<Answer> {
    exchange(UnixStream::connect(socket).await?, &request(method, path, &[])).await
}

/// Where a relay is, however it runs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) endpoint: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) socket: PathBuf,
}

impl Place {
    /// Asks for a profile's credential with this access token.
    pub(crate) async fn ask_with(&self, profile: &str, token: &str) -> Answer {
        let path = format!("/v1/credentials/{profile}");
        ask(self.endpoint, "GET", &path, &[("Authorization", token)]).await
    }

    /// Asks for a profile's credential as its application does.
    pub(crate) async fn credential(&self, world: &World, profile: &str) -> Answer {
        self.ask_with(profile, &token(world, profile)).await
    }

    /// Waits until a profile is answered with this status.
    pub(crate) async fn answers(&self, world: &World, profile: &str, status: u16) -> Answer {
        eventually(&format!("{profile} is answered {status}"), async || {
            Some(self.credential(world, profile).await).filter(|answer| answer.status == status)
        })
        .await
    }

    pub(crate) async fn probe(&self, path: &str) -> Answer {
        ask(self.admin, "GET", path, &[]).await
    }

    pub(crate) async fn rotate(&self, profile: &str) -> Answer {
        ask_socket(&self.socket, "POST", &format!("/rotate/{profile}")).await.unwrap()
    }
}

/// The access token that the relay wrote for a profile.
pub(crate) fn token(world: &World, profile: &str) -> String {
    fs::read_to_string(world.token_file(profile)).unwrap()
}

/// A relay in this process.
pub(crate) struct Relay {
    pub(crate) place: Place,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Died>>,
}

impl Relay {
    /// Starts it under the machine's clock.
    pub(crate) fn start(config: &Config) -> Self {
        let app = app::build(config, Clock::system()).unwrap_or_else(|error| panic!("{error}"));
        let Addresses { endpoint, admin, socket, imds: _ } = app.addresses();
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(app.run(stopped, Duration::ZERO));
        Self { place: Place { endpoint: endpoint[0], admin, socket }, stop, task }
    }

    /// Ends it, as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program itself. It is killed when it goes out of scope.
pub(crate) struct Program {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    folder: tempfile::TempDir,
}

impl Program {
    /// Starts it in an environment that holds nothing but `variables`.
    pub(crate) fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_with(arguments, variables, |err| File::create(err).unwrap().into())
    }

    /// The same with another standard error than a file at this path.
    pub(crate) fn start_with(
        arguments: &[&str],
        variables: &[(&str, &str)],
        stderr: impl FnOnce(&Path) -> Stdio,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (out, err) = (folder.path().join("out"), folder.path().join("err"));
        let child = Command::new(env!("CARGO_BIN_EXE_credential-relay"))
            .args(arguments)
            .env_clear()
            .env("TMPDIR", folder.path())
            .envs(variables.iter().copied())
            .stdout(File::create(&out).unwrap())
            .stderr(stderr(&err))
            .spawn()
            .unwrap();
        Self { child, out, err, folder }
    }

    /// Starts `serve` with a configuration file that is written for it, at level trace.
    pub(crate) fn serve(world: &World, text: &str, more: &[&str]) -> Self {
        let config = write_config(world, text);
        let arguments = [&["serve", "--config", config.to_str().unwrap()], more].concat();
        Self::start(&arguments, &[("CREDENTIAL_RELAY_LOG", "trace")])
    }

    /// Its folder for temporary files, with what it printed in it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Where it is, as it says itself once it runs.
    pub(crate) async fn place(&mut self, socket: &Path) -> Place {
        eventually("the program runs", async || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", self.err());
            let answer = ask_socket(socket, "GET", "/status").await.ok()?;
            let status: Status = serde_json::from_str(&answer.body).unwrap();
            let endpoint = status.endpoint[0];
            Some(Place { endpoint, admin: status.admin, socket: socket.to_owned() })
        })
        .await
    }

    /// Waits until its log has this text.
    pub(crate) async fn says(&self, text: &str) {
        eventually(text, async || self.err().contains(text).then_some(())).await;
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Left {
        let status: ExitStatus =
            eventually("the program ends", async || self.child.try_wait().unwrap()).await;
        Left { code: status.code(), out: self.out(), err: self.err() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, or it does now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a configuration file for the program.
pub(crate) fn write_config(world: &World, text: &str) -> PathBuf {
    let path = world.path("config.yaml");
    fs::write(&path, text).unwrap();
    path
}

/// Runs a command of the program to its end.
pub(crate) async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Left {
    Program::start(arguments, variables).ended().await
}
