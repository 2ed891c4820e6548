//! `dev`: the relay in front of an embedded upstream. One command, no account, nothing installed;
//! the credentials come through the same chain, rotation and endpoint as in a cluster.

mod ledger;
pub mod sts;
mod upstream;
pub mod vault;

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;
use tokio::net::TcpListener;

use crate::app::{self, Addresses};
use crate::cli::{Ends, Failed, print};
use crate::clock::Clock;
use crate::config::environment::Environment;
use crate::config::load;
use crate::credential::Secret;
use crate::listener::{self, Limits};
use crate::shutdown::{self, Signal};
use sts::{Fault, IssuedLifetime, Regions, Settings, Sts, User};
use vault::{Vault, demo};

/// The account of the user that everything starts from, and the one that the chain ends in. Both
/// are AWS's own example accounts.
const HUB: &str = "111122223333";
const SPOKE: &str = "444455556666";

/// The one profile.
const PROFILE: &str = "dev";

/// Run the relay with an embedded upstream.
#[derive(Debug, Args)]
pub struct Dev {
    /// How long each credential lives, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(2..=43_200))]
    lifetime: u64,
    /// What goes wrong at the upstream: latency=200ms, throttle, throttle=30%, outage, hang,
    /// outage=5 (the next five calls)… May be given more than once.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
    /// A file with such faults, one a line, which may be changed while this runs; it stands in the
    /// place of --fault.
    #[arg(long, value_name = "FILE", conflicts_with = "faults")]
    faults_from: Option<PathBuf>,
    /// Let the credentials come from an embedded Vault.
    #[arg(long)]
    vault: bool,
    /// What goes wrong at the Vault: sealed, auth/:hang, aws/creds/:quota=3 (the next three
    /// requests whose paths begin so)… May be given more than once.
    #[arg(long = "vault-fault", value_name = "FAULT", requires = "vault")]
    vault_faults: Vec<vault::Fault>,
    /// Where applications ask; port 0 takes one that is free.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

impl Dev {
    pub(crate) async fn run(self, environment: &Environment) -> Result<(), Failed> {
        let ends = Ends::listen()?;
        let (upstream, upstream_address) = bind()?;
        let keys = Keys::draw().map_err(|error| start(&error))?;
        let sts = self.upstream(&keys)?;
        let folder = Folder::create().map_err(|error| start(&error))?;
        let (vault, base) = match self.vault.then(|| self.vault(&sts, &folder)).transpose()? {
            Some((serving, base)) => (Some(serving), base),
            None => (None, Base::user(&folder, &keys).map_err(|error| start(&error))?),
        };
        let files =
            folder.fill(&base, upstream_address, self.listen).map_err(|error| start(&error))?;

        let config = load::load(Some(&files.config), environment).map_err(Failed::Configuration)?;
        let app = app::build(&config, Clock::system())
            .map_err(|error| Failed::Start(error.to_string()))?;
        print(&greeting(&app.addresses(), upstream_address, &files, self.lifetime, &base.told))?;

        let (_running, signal) = shutdown::channel();
        let serving = serve(upstream, sts, signal.clone());
        let vault = async {
            match vault {
                Some((listener, vault)) => serve(listener, vault, signal).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = ends.run(app, Duration::ZERO) => done,
            () = serving => Ok(()),
            () = vault => Ok(()),
        }
    }

    /// A Vault that waits to be served, and the base that it gives.
    fn vault(&self, sts: &Sts, folder: &Folder) -> Result<((TcpListener, Vault), Base), Failed> {
        let (listener, address) = bind()?;
        let jwt = demo::draw_jwt().ok_or_else(|| start(&no_random()))?;
        let file = folder.0.join("jwt");
        write_private(&file, jwt.expose()).map_err(|error| start(&error))?;
        let vault = demo::vault(sts.clone(), jwt, HUB, Duration::from_secs(self.lifetime))
            .map_err(|error| start(&error))?;
        vault.faults().set(self.vault_faults.clone());
        Ok(((listener, vault), Base::vault(address, &file)))
    }

    fn upstream(&self, keys: &Keys) -> Result<Sts, Failed> {
        let settings = Settings {
            account: HUB.parse().map_err(|error| start(&error))?,
            user: User {
                name: "developer".to_owned(),
                access_key_id: keys.id.parse().map_err(|error| start(&error))?,
                secret_access_key: keys.secret.clone(),
            },
            lifetime: IssuedLifetime::AtMost(Duration::from_secs(self.lifetime)),
            regions: Regions::Any,
            external_ids: HashMap::new(),
        };
        let sts = Sts::new(settings, Clock::system());
        match &self.faults_from {
            Some(file) => sts.faults().follow(file.clone()),
            None => sts.faults().set(self.faults.clone()),
        }
        Ok(sts)
    }
}

fn start(error: &dyn Display) -> Failed {
    Failed::Start(format!("dev: {error}"))
}

fn no_random() -> io::Error {
    io::Error::other("no random numbers for keys")
}

fn bind() -> Result<(TcpListener, SocketAddr), Failed> {
    let listener = listener::bind("dev's upstream", ([127, 0, 0, 1], 0).into())
        .map_err(|error| Failed::Start(error.to_string()))?;
    let address = listener.local_addr().map_err(|error| start(&error))?;
    Ok((listener, address))
}

async fn serve(listener: TcpListener, upstream: impl listener::Answer, signal: Signal) {
    listener::serve(vec![listener], upstream, Limits::uncounted(64), signal).await;
}

/// The user's keys, new at each start.
struct Keys {
    id: String,
    secret: Secret,
}

impl Keys {
    fn draw() -> io::Result<Self> {
        let mut random = [0_u8; 56];
        SystemRandom::new().fill(&mut random).map_err(|_| no_random())?;
        let text = |alphabet: &[u8; 32], bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| char::from(alphabet[usize::from(byte % 32)]))
                .collect::<String>()
        };
        let (id, secret) = random.split_at(16);
        Ok(Self {
            id: format!("AKIA{}", text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", id)),
            secret: Secret::new(text(b"abcdefghijkmnopqrstuvwxyzABCDEF9", secret)),
        })
    }
}

/// Where the profile begins.
struct Base {
    /// Sections of the configuration beside the profile.
    sections: serde_json::Map<String, serde_json::Value>,
    source: serde_json::Value,
    chain: serde_json::Value,
    /// What the greeting says of it.
    told: String,
}

impl Base {
    /// A user's keys in a file.
    fn user(folder: &Folder, keys: &Keys) -> io::Result<Self> {
        let path = folder.0.join("base.json");
        let document = json!({
            "Version": 1,
            "AccessKeyId": keys.id,
            "SecretAccessKey": keys.secret.expose(),
        });
        write_private(&path, &document.to_string())?;
        Ok(Self {
            sections: serde_json::Map::new(),
            source: json!({ "file": { "path": path } }),
            chain: json!([role(HUB, "hub"), role(SPOKE, "spoke")]),
            told: String::new(),
        })
    }

    /// A session of the hub that Vault gives.
    fn vault(address: SocketAddr, jwt: &Path) -> Self {
        let (vault, source) = demo::configuration(address, jwt);
        Self {
            sections: serde_json::Map::from_iter([("vault".to_owned(), vault)]),
            source,
            chain: json!([role(SPOKE, "spoke")]),
            told: demo::greeting(address),
        }
    }
}

fn role(account: &str, name: &str) -> serde_json::Value {
    json!({ "role_arn": format!("arn:aws:iam::{account}:role/{name}"), "session_name": name })
}

/// A private folder that goes when the command ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Whatever stays is in the system's folder for temporary files, and dead already.
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Files {
    config: PathBuf,
    token: PathBuf,
}

impl Folder {
    fn create() -> io::Result<Self> {
        let name = format!("credential-relay-dev-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Left over from a process with the same id that was killed; another's is refused.
        let _ = fs::remove_dir_all(&path);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn fill(&self, base: &Base, upstream: SocketAddr, listen: SocketAddr) -> io::Result<Files> {
        let token = self.0.join(PROFILE).join("token");
        // JSON is YAML, and quotes whatever a path may hold.
        let mut config = base.sections.clone();
        let mut set = |key: &str, value| config.insert(key.to_owned(), value);
        set("endpoint", json!({ "listen": listen.to_string() }));
        set("admin", json!({ "listen": "127.0.0.1:0", "socket": self.0.join("admin.sock") }));
        set("sts", json!({ "region": "us-east-1", "endpoint": format!("http://{upstream}") }));
        set(
            "profiles",
            json!({ PROFILE: {
            "source": base.source,
            "chain": base.chain,
            "access": { "token_file": token },
        } }),
        );
        let file = self.0.join("config.yaml");
        write_private(&file, &serde_json::Value::Object(config).to_string())?;
        Ok(Files { config: file, token })
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// The variables to paste, and what to try.
fn greeting(
    addresses: &Addresses,
    upstream: SocketAddr,
    files: &Files,
    lifetime: u64,
    vault: &str,
) -> String {
    let endpoint = addresses.endpoint.first().map_or_else(String::new, ToString::to_string);
    format!(
        "\
# credential-relay dev: credentials of {lifetime} s from an embedded upstream, through two roles.
# Paste this into another shell:
export AWS_CONTAINER_CREDENTIALS_FULL_URI='http://{endpoint}/v1/credentials/{PROFILE}'
export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='{token}'
export AWS_ENDPOINT_URL_STS='http://{upstream}'
export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
export NO_PROXY=\"127.0.0.1,localhost${{NO_PROXY:+,$NO_PROXY}}\" no_proxy=\"127.0.0.1,localhost${{no_proxy:+,$no_proxy}}\"
export CREDENTIAL_RELAY_CONFIG='{config}'
{vault}# Then:   aws sts get-caller-identity      and      credential-relay status
# Ctrl-C ends it. One line follows for each rotation:
",
        token = files.token.display(),
        config = files.config.display(),
    )
}
