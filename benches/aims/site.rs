//! The relay's surroundings: its upstream, its configuration, its access tokens.

use std::fs::{self, DirBuilder};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::process::{Cores, Running, Server, free_address};
use crate::{Result, http, servers};

/// The embedded STS in a process of its own.
pub(crate) struct Upstream {
    _running: Running,
    plain: String,
    encrypted: String,
    authority: PathBuf,
    _folder: TempDir,
}

/// How the relay asks the upstream.
#[derive(Clone, Copy)]
pub(crate) enum Scheme {
    Http,
    /// With one CA.
    Https,
}

impl Upstream {
    /// Starts one whose credentials live for `lifetime` seconds.
    pub(crate) fn start(lifetime: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        make_certificates(folder.path())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(servers::UPSTREAM).arg(lifetime.to_string());
        command.args([folder.path().join("server.pem"), folder.path().join("server.key")]);
        let mut running = Running::beside(command.stdout(Stdio::piped()))?;
        let mut line = String::new();
        let out = running.stdout().ok_or("the upstream has no output")?;
        BufReader::new(out).read_line(&mut line)?;
        let (plain, encrypted) = line.trim().split_once(' ').ok_or("the upstream did not start")?;
        Ok(Self {
            _running: running,
            plain: format!("http://{plain}"),
            encrypted: format!("https://{encrypted}"),
            authority: folder.path().join("ca.pem"),
            _folder: folder,
        })
    }

    fn settings(&self, scheme: Scheme) -> Value {
        match scheme {
            Scheme::Http => json!({ "region": "us-east-1", "endpoint": self.plain }),
            Scheme::Https => json!({
                "region": "us-east-1",
                "endpoint": self.encrypted,
                "ca_cert": self.authority,
            }),
        }
    }
}

/// A CA of a day, and a certificate of it for 127.0.0.1.
fn make_certificates(folder: &Path) -> Result<()> {
    const KEY: [&str; 6] =
        ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-x509"];
    let openssl = |args: &[&str]| -> Result<()> {
        let made = Command::new("openssl")
            .args(["req", "-days", "1"])
            .args(KEY)
            .args(args)
            .current_dir(folder)
            .stderr(Stdio::null())
            .status()
            .map_err(|error| format!("openssl, which makes the upstream's certificate: {error}"))?;
        if made.success() { Ok(()) } else { Err("openssl made no certificate".into()) }
    };
    openssl(&["-subj", "/CN=benchmark CA", "-keyout", "ca.key", "-out", "ca.pem"])?;
    openssl(&[
        "-subj",
        "/CN=benchmark",
        "-keyout",
        "server.key",
        "-out",
        "server.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ])
}

/// A configuration of the relay on disk, and what it says.
pub(crate) struct Site {
    folder: TempDir,
    endpoint: SocketAddr,
    admin: SocketAddr,
    profiles: usize,
}

impl Site {
    /// Writes everything that a relay with so many profiles reads.
    pub(crate) fn create(upstream: &Upstream, scheme: Scheme, profiles: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (endpoint, admin) = (free_address()?, free_address()?);
        let site = Self { folder, endpoint, admin, profiles };
        let base = json!({
            "Version": 1,
            "AccessKeyId": servers::KEY_ID,
            "SecretAccessKey": servers::SECRET_KEY,
        });
        fs::write(site.path("base.json"), base.to_string())?;
        DirBuilder::new().mode(0o700).create(site.path("tokens"))?;
        let mut named = Map::new();
        for number in 0..profiles {
            let file = site.path("tokens").join(number.to_string());
            fs::write(&file, access_token(number))?;
            let role = format!("arn:aws:iam::111122223333:role/team/role-of-profile-{number}");
            let profile = json!({
                "source": { "file": { "path": site.path("base.json") } },
                "chain": [{ "role_arn": role, "session_name": format!("benchmark-{number}") }],
                "access": { "token_file": file },
            });
            named.insert(profile_name(number), profile);
        }
        let config = json!({
            "endpoint": { "listen": endpoint.to_string() },
            "admin": { "listen": admin.to_string(), "socket": site.path("admin.sock") },
            "sts": upstream.settings(scheme),
            "profiles": named,
        });
        // JSON is YAML.
        fs::write(site.path("config.yaml"), config.to_string())?;
        Ok(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn request(&self, profile: usize) -> Vec<u8> {
        let path = format!("/v1/credentials/{}", profile_name(profile));
        http::request(&path, &access_token(profile), self.endpoint)
    }

    /// The arguments with which the relay serves this.
    pub(crate) fn arguments(&self) -> Result<Vec<String>> {
        let config = self.path("config.yaml").into_os_string().into_string();
        let config = config.map_err(|_| "the folder for temporary files is no UTF-8")?;
        Ok(["serve", "--drain", "0", "--config", &config].map(str::to_owned).to_vec())
    }

    /// Starts the relay by `command`, which has its arguments already, and waits for the first
    /// profile's credentials.
    pub(crate) fn start_by(&self, cores: &Cores, command: &mut Command) -> Result<Server> {
        let log = fs::File::create(self.path("log"))?;
        command.env_clear().stderr(log);
        Server::start(cores, command, self.endpoint, self.request(0)).map_err(|error| {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            format!("{error}; the relay's log:\n{log}").into()
        })
    }

    /// Starts the relay.
    pub(crate) fn start(&self, cores: &Cores, relay: &Path) -> Result<Server> {
        self.start_by(cores, Command::new(relay).args(self.arguments()?))
    }

    /// Waits until every profile has credentials.
    pub(crate) fn wait_for_all(&self) -> Result<()> {
        for profile in 0..self.profiles {
            http::get_good(self.endpoint, &self.request(profile))?;
        }
        Ok(())
    }

    /// How many fetches have succeeded so far.
    pub(crate) fn rotations(&self) -> Result<u64> {
        let request = http::request("/metrics", "none", self.admin);
        let text = String::from_utf8(http::get_good(self.admin, &request)?)?;
        let successes = text.lines().filter(|line| {
            line.starts_with("credential_relay_refreshes_total{")
                && line.contains(r#"result="success""#)
        });
        let counts = successes.filter_map(|line| line.rsplit(' ').next());
        Ok(counts.map(str::parse::<u64>).sum::<std::result::Result<u64, _>>()?)
    }
}

fn profile_name(number: usize) -> String {
    format!("profile-{number}")
}

fn access_token(number: usize) -> String {
    // As long as those that the relay makes.
    format!("{number:04}-access-token-of-a-benchmarks-profile")
}

/// Starts the bare server with bodies of `length` bytes; it is asked what the relay is asked.
pub(crate) fn start_bare(cores: &Cores, length: usize) -> Result<Server> {
    start_bare_by(cores, &mut Command::new(std::env::current_exe()?), length)
}

/// As [`start_bare`], by a command that runs it.
pub(crate) fn start_bare_by(cores: &Cores, command: &mut Command, length: usize) -> Result<Server> {
    let at = free_address()?;
    let path = format!("/v1/credentials/{}", profile_name(0));
    let request = http::request(&path, &access_token(0), at);
    command.args([servers::BARE, &at.to_string(), &length.to_string()]);
    Server::start(cores, command, at, request)
}
