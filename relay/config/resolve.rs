//! From what the file says to what it means: every value is read, every rule across settings is
//! checked, and what is wrong is gathered rather than returned at the first.

mod audit;
mod hop;
mod imds;
mod keys;
mod login;
mod profile;
mod role;
mod source;
mod sts;
mod vault;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use deserr::ValuePointerRef;

use super::document::Document;
use super::environment::{Environment, Origins};
use super::mistakes::{Mistake, Mistakes, Place};
use super::values::{self, ProfileName};
use super::{Admin, Config, Endpoint, ImdsEmulation, Profile, Sandbox, that_runs_programs};

pub(super) const ENDPOINT_LISTEN: &str = "127.0.0.1:9531";
pub(super) const ADMIN_LISTEN: &str = "0.0.0.0:9532";
pub(super) const ADMIN_SOCKET: &str = "/run/credential-relay/admin.sock";
/// A pod has a few containers with a few connections each; a connection takes about 8 KiB.
pub(super) const MAX_CONNECTIONS: u64 = 512;
pub(super) use login::SERVICE_ACCOUNT_TOKEN;
pub(super) use profile::SECTION;
pub(super) use source::PROCESS_TIMEOUT;
pub(super) use vault::{PROPAGATION_SETTLE, PROPAGATION_SUCCESSES, VAULT_TIMEOUT};

/// A Unix socket's path has 107 bytes at most (unix(7)), and the relay binds it in a folder of its
/// own beside the path first (`admin::socket`), which may take 10 bytes more.
const LONGEST_SOCKET: usize = 97;

/// The addresses that the endpoint answers to in any case.
const ALWAYS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

const ROOT: ValuePointerRef<'static> = ValuePointerRef::Origin;

/// Whether the relay listens where the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    AsConfigured,
    Elsewhere,
}

/// Checks the whole document. `mistakes` are those found before; `origins` are the variables that
/// it was made of, if it was.
///
/// # Errors
/// Everything that is wrong, in order.
pub(super) fn resolve(
    document: &Document,
    origins: &Origins,
    environment: &Environment,
    listening: Listening,
    mistakes: Mistakes,
) -> Result<Config, Mistakes> {
    let mut resolver = Resolver::new(environment, mistakes);
    let config = resolver.config(document, listening);
    let Resolver { mistakes, warnings, .. } = resolver;
    match config {
        Some(config) if mistakes.is_empty() => Ok(Config {
            warnings: warnings.named(origins).iter().map(Mistake::to_string).collect(),
            ..config
        }),
        _ => Err(mistakes.named(origins).in_order()),
    }
}

/// The admin listeners of a document, whatever else is wrong with it.
pub(super) fn admin(document: &Document, environment: &Environment) -> Option<Admin> {
    Resolver::new(environment, Mistakes::default()).admin(document)
}

struct Resolver<'a> {
    environment: &'a Environment,
    mistakes: Mistakes,
    warnings: Mistakes,
    /// The files that the relay reads, and where each is set.
    files: Vec<(Place, PathBuf)>,
    /// Where the relay serves credentials, once that was read.
    own: Vec<SocketAddr>,
}

impl<'a> Resolver<'a> {
    fn new(environment: &'a Environment, mistakes: Mistakes) -> Self {
        let warnings = Mistakes::default();
        Self { environment, mistakes, warnings, files: Vec::new(), own: Vec::new() }
    }
}

impl Resolver<'_> {
    fn config(&mut self, document: &Document, listening: Listening) -> Option<Config> {
        let endpoint = self.endpoint(document);
        let admin = self.admin(document);
        if let (Some(endpoint), Some(admin)) = (&endpoint, &admin) {
            self.check_listeners(endpoint, admin);
        }
        let audit = self.audit(document);
        let imds_emulation = self.imds_emulation(document, endpoint.as_ref(), admin.as_ref());
        if listening == Listening::AsConfigured {
            let endpoint = endpoint.as_ref().map(|endpoint| endpoint.listen);
            let imds = imds_emulation.as_ref().and_then(ImdsEmulation::listen);
            self.own = endpoint.into_iter().chain(imds).collect();
        }
        let defaults = self.sts_defaults(document);
        let vault = self.vault_defaults(document, &defaults);
        let leases_at_end = self.leases_at_end(document);
        let profiles = self.profiles(document, &defaults, &vault);
        if let Some(admin) = &admin {
            self.check_paths(admin, &profiles);
        }
        if let (Some(admin), Some(audit)) = (&admin, &audit) {
            self.check_audit(audit, admin, &profiles);
        }
        self.warn_of_loop();
        let sandbox = self.sandbox(document, &profiles);
        Some(Config {
            endpoint: endpoint?,
            imds_emulation: imds_emulation?,
            admin: admin?,
            audit: audit?,
            profiles,
            leases_at_end,
            sandbox,
            sts: defaults.everywhere(),
            files: std::mem::take(&mut self.files),
            warnings: Vec::new(),
        })
    }

    /// Reads a text; what is wrong with it is noted at its place.
    fn read<T, E: Display>(
        &mut self,
        text: &str,
        place: impl Into<Place>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.mistakes.read(text, place, read)
    }

    /// Reads the path of a file that the relay reads.
    fn file(&mut self, text: &str, place: impl Into<Place>) -> Option<PathBuf> {
        let place = place.into();
        let path = self.read(text, place.clone(), values::absolute_path)?;
        self.files.push((place, path.clone()));
        Some(path)
    }

    /// Reads a text that must be there.
    fn needed<T, E: Display>(
        &mut self,
        text: Option<&str>,
        at: ValuePointerRef<'_>,
        what: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.mistakes.needed(text, at, what, read)
    }

    /// Reads the path of a file that must be there, as [`Self::file`] does.
    fn needed_file(
        &mut self,
        text: Option<&str>,
        at: ValuePointerRef<'_>,
        what: &str,
    ) -> Option<PathBuf> {
        let path = self.needed(text, at, what, values::absolute_path)?;
        self.files.push((at.into(), path.clone()));
        Some(path)
    }

    /// Checks that exactly one of several settings is there.
    fn one_of(
        &mut self,
        given: &[(&'static str, bool)],
        at: ValuePointerRef<'_>,
        choice: &str,
    ) -> Option<()> {
        self.mistakes.one_of(given, at, choice)
    }

    /// Notes that a setting is missing, unless it was there and wrong.
    fn missing(&mut self, at: ValuePointerRef<'_>, what: &str) {
        self.mistakes.missing(at, what);
    }

    /// The items of a list, each with its number; an empty one is noted.
    fn items<'d, T>(
        &mut self,
        list: Option<&'d Vec<Option<T>>>,
        at: ValuePointerRef<'_>,
    ) -> Vec<(usize, &'d T)> {
        self.mistakes.items(list, at)
    }

    /// What the file gives, else the first of the variables that is set, where it is asked for.
    fn value<T, E: Display>(
        &mut self,
        (given, at): (Option<&str>, ValuePointerRef<'_>),
        variables: &[&str],
        asked: bool,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<(T, Place)> {
        let (text, place) = match given {
            Some(text) => (text, Place::from(at)),
            None if asked => variables.iter().find_map(|name| {
                let text = self.environment.get(name)?;
                Some((text, Place::variable(name)))
            })?,
            None => return None,
        };
        let value = self.read(text, place.clone(), read)?;
        Some((value, place))
    }

    fn flag(&mut self, given: Option<bool>, variable: &str, asked: bool) -> bool {
        match (given, self.environment.get(variable)) {
            (Some(flag), _) => flag,
            (None, Some(text)) if asked => self
                .read(text, Place::variable(variable), |text| {
                    let text = text.to_ascii_lowercase();
                    text.parse::<bool>().map_err(|_| "true or false was expected")
                })
                .unwrap_or(false),
            (None, _) => false,
        }
    }

    /// Checks that what is sent to a URL of this section stays unread on its way.
    fn check_private(&mut self, private: bool, section: &str, allow_insecure: bool, place: Place) {
        if private {
            return;
        }
        if allow_insecure {
            self.warnings.add(
                place,
                "plain http on another machine: anybody between can read the credentials",
            );
        } else {
            let what = format!(
                "plain http on another machine, which would send credentials in the clear; write https, \
                 or for a test set {section}.allow_insecure to true"
            );
            self.mistakes.add(place, what);
        }
    }

    fn endpoint(&mut self, document: &Document) -> Option<Endpoint> {
        let at = ROOT.push_key("endpoint");
        let given = document.endpoint.as_ref();
        let listen_at = at.push_key("listen");
        let text = given.and_then(|given| given.listen.as_deref());
        let listen = self.read(text.unwrap_or(ENDPOINT_LISTEN), listen_at, values::listen)?;
        let allow_remote = given.and_then(|given| given.allow_remote) == Some(true);
        if !allow_remote && !values::is_near(listen.ip()) {
            let what = format!(
                "{} can be reached by other machines, and whoever reaches it can ask for credentials; \
                 listen on 127.0.0.1, or set endpoint.allow_remote to true",
                listen.ip()
            );
            self.mistakes.add(listen_at, what);
        }
        let hosts_at = at.push_key("hosts");
        let mut hosts = Vec::new();
        if !listen.ip().is_unspecified() && !ALWAYS.contains(&listen.ip()) {
            hosts.push(listen.ip().to_string());
        }
        for (number, host) in self.items(given.and_then(|given| given.hosts.as_ref()), hosts_at) {
            hosts.extend(self.read(host, hosts_at.push_index(number), values::host));
        }
        hosts.sort();
        hosts.dedup();
        let connections = given.and_then(|given| given.max_connections);
        let connections = connections.unwrap_or(MAX_CONNECTIONS);
        if !(16..=65_535).contains(&connections) {
            let what = format!("the number {connections}; 16 to 65535 connections can be allowed");
            self.mistakes.add(at.push_key("max_connections"), what);
        }
        Some(Endpoint { listen, hosts, max_connections: usize::try_from(connections).ok()? })
    }

    fn admin(&mut self, document: &Document) -> Option<Admin> {
        let at = ROOT.push_key("admin");
        let given = document.admin.as_ref();
        let text = given.and_then(|given| given.listen.as_deref());
        let listen = self.read(text.unwrap_or(ADMIN_LISTEN), at.push_key("listen"), values::listen);
        let text = given.and_then(|given| given.socket.as_deref());
        let socket = self.read(text.unwrap_or(ADMIN_SOCKET), at.push_key("socket"), |text| {
            if text.len() > LONGEST_SOCKET {
                return Err(format!("a socket's path has {LONGEST_SOCKET} bytes at most"));
            }
            values::absolute_path(text)
        });
        Some(Admin { listen: listen?, socket: socket? })
    }

    fn sandbox(
        &mut self,
        document: &Document,
        profiles: &BTreeMap<ProfileName, Profile>,
    ) -> Sandbox {
        let sandbox = document.sandbox.map(Sandbox::from).unwrap_or_default();
        let programs = that_runs_programs(profiles);
        if let (Sandbox::Required, Some(name)) = (sandbox, programs) {
            let what = format!(
                "required, but profiles.{name} runs programs, which would be confined with the relay; write \
                 best-effort, or choose another source"
            );
            self.mistakes.add(ROOT.push_key("sandbox"), what);
        }
        sandbox
    }

    fn check_listeners(&mut self, endpoint: &Endpoint, admin: &Admin) {
        if clash(endpoint.listen, admin.listen) {
            let what = format!("port {} is endpoint.listen's already", admin.listen.port());
            self.mistakes.add(ROOT.push_key("admin").push_key("listen"), what);
        }
    }

    /// The relay writes to the socket's path and to those of the tokens and of the credentials, so
    /// each is its own.
    fn check_paths(&mut self, admin: &Admin, profiles: &BTreeMap<ProfileName, Profile>) {
        let at = ROOT.push_key("profiles");
        for (name, profile) in profiles {
            let at = at.push_key(name.as_str());
            if profile.access.files().any(|file| *file == admin.socket) {
                let what = "this is admin.socket's path; the token needs a file of its own";
                self.mistakes.add(at.push_key("access").push_key("token_file"), what);
            }
        }
        let tokens = profiles.values().flat_map(|profile| profile.access.files());
        let files = profiles.iter().filter_map(|(name, profile)| {
            profile.credentials_file.as_ref().map(|file| (name, &file.path))
        });
        for (name, path) in files.clone() {
            let taken = match path {
                path if *path == admin.socket => "admin.socket's path",
                path if tokens.clone().any(|token| token == path) => {
                    "the path of an access.token_file"
                }
                _ => continue,
            };
            let what = format!("this is {taken}; the credentials need a file of their own");
            let at = at.push_key(name.as_str());
            self.mistakes.add(at.push_key("credentials_file").push_key("path"), what);
        }
        for (place, path) in &self.files {
            let taken = if *path == admin.socket {
                "admin.socket's path"
            } else if tokens.clone().any(|token| token == path) {
                "the path of an access.token_file"
            } else if files.clone().any(|(_, file)| file == path) {
                "the path of a credentials_file"
            } else {
                continue;
            };
            let what =
                format!("this is {taken}, which the relay writes; what it reads needs another");
            self.mistakes.add(place.clone(), what);
        }
    }

    /// The relay does not ask itself, whatever its environment says; but somebody meant something.
    fn warn_of_loop(&mut self) {
        const VARIABLE: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        let uri = self.environment.get(VARIABLE);
        if uri.is_some_and(|uri| self.leads_here(uri)) {
            let what = "it leads to the relay itself; set it for the application's container alone";
            self.warnings.add(Place::variable(VARIABLE), what);
        }
    }
}

/// Whether two listeners cannot both be had. The endpoint takes both loopback addresses.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    let overlap =
        a == b || a.is_unspecified() || b.is_unspecified() || (a.is_loopback() && b.is_loopback());
    one.port() == other.port() && one.port() != 0 && overlap
}

/// What may be absent but not wrong: the outer None is absence, the inner one a mistake.
fn optional<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        Some(None) => None,
        Some(value) => Some(value),
        None => Some(None),
    }
}
