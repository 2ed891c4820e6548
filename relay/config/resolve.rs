//! From what the file says to what it means: every value is read, every rule across settings is
//! checked, and what is wrong is gathered rather than returned at the first.

mod hop;
mod sts;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use deserr::ValuePointerRef;

use super::document::{Document, ProfileDocument};
use super::environment::{Environment, Origins};
use super::mistakes::{Mistake, Mistakes, Place, shape};
use super::values::{self, ProfileName};
use super::{
    Access, Admin, Config, Endpoint, LeasesAtEnd, LongLivedKeys, Profile, PropagationCheck, Source,
};
use sts::Defaults;

pub(super) const ENDPOINT_LISTEN: &str = "127.0.0.1:9531";
pub(super) const ADMIN_LISTEN: &str = "0.0.0.0:9532";
pub(super) const ADMIN_SOCKET: &str = "/run/credential-relay/admin.sock";
/// A pod has a few containers with a few connections each; a connection takes about 8 KiB.
pub(super) const MAX_CONNECTIONS: u64 = 512;

/// A Unix socket's path has 107 bytes at most (unix(7)), and the relay binds it in a folder of its
/// own beside the path first (`admin::socket`), which may take 10 bytes more.
const LONGEST_SOCKET: usize = 97;

/// The addresses that the endpoint answers to in any case.
const ALWAYS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

const ROOT: ValuePointerRef<'static> = ValuePointerRef::Origin;

/// Checks the whole document. `mistakes` are those found before; `origins` are the variables that
/// it was made of, if it was.
///
/// # Errors
/// Everything that is wrong, in order.
pub(super) fn resolve(
    document: &Document,
    origins: &Origins,
    environment: &Environment,
    mistakes: Mistakes,
) -> Result<Config, Mistakes> {
    let mut resolver = Resolver { environment, mistakes, warnings: Mistakes::default() };
    let config = resolver.config(document);
    let Resolver { mistakes, warnings, .. } = resolver;
    match config {
        Some(config) if mistakes.is_empty() => Ok(Config {
            warnings: warnings.named(origins).iter().map(Mistake::to_string).collect(),
            ..config
        }),
        _ => Err(mistakes.named(origins).in_order()),
    }
}

struct Resolver<'a> {
    environment: &'a Environment,
    mistakes: Mistakes,
    warnings: Mistakes,
}

impl Resolver<'_> {
    fn config(&mut self, document: &Document) -> Option<Config> {
        let endpoint = self.endpoint(document);
        let admin = self.admin(document);
        if let (Some(endpoint), Some(admin)) = (&endpoint, &admin) {
            self.check_listeners(endpoint, admin);
        }
        let defaults = self.sts_defaults(document);
        let profiles = self.profiles(document, &defaults);
        if let Some(admin) = &admin {
            self.check_paths(admin, &profiles);
        }
        let endpoint = endpoint?;
        self.warn_of_loop(&endpoint);
        Some(Config {
            endpoint,
            admin: admin?,
            profiles,
            leases_at_end: LeasesAtEnd::Left,
            sts: defaults.everywhere(),
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
        match read(text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.mistakes.add(place, format!("{}; {why}", shape(text)));
                None
            }
        }
    }

    /// Notes that a setting is missing, unless it was there and wrong.
    fn missing(&mut self, at: ValuePointerRef<'_>, what: &str) {
        if !self.mistakes.touch(at) {
            self.mistakes.add(at, what);
        }
    }

    /// The items of a list, each with its number; an empty one is noted.
    fn items<'d, T>(
        &mut self,
        list: Option<&'d Vec<Option<T>>>,
        at: ValuePointerRef<'_>,
    ) -> Vec<(usize, &'d T)> {
        let mut items = Vec::new();
        for (number, item) in list.into_iter().flatten().enumerate() {
            match item {
                Some(item) => items.push((number, item)),
                None => self.missing(at.push_index(number), "nothing stands here; remove it"),
            }
        }
        items
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

    fn check_listeners(&mut self, endpoint: &Endpoint, admin: &Admin) {
        let clash = |a: IpAddr, b: IpAddr| {
            // The endpoint takes both loopback addresses.
            a == b
                || a.is_unspecified()
                || b.is_unspecified()
                || (a.is_loopback() && b.is_loopback())
        };
        let (endpoint, admin) = (endpoint.listen, admin.listen);
        if endpoint.port() == admin.port()
            && endpoint.port() != 0
            && clash(endpoint.ip(), admin.ip())
        {
            let what = format!("port {} is endpoint.listen's already", admin.port());
            self.mistakes.add(ROOT.push_key("admin").push_key("listen"), what);
        }
    }

    fn profiles(
        &mut self,
        document: &Document,
        defaults: &Defaults,
    ) -> BTreeMap<ProfileName, Profile> {
        let at = ROOT.push_key("profiles");
        let given = document.profiles.as_ref().map(|named| &named.0);
        if given.is_none_or(BTreeMap::is_empty) {
            self.missing(at, "missing; at least one profile is needed");
        }
        let mut profiles = BTreeMap::new();
        let mut token_files = BTreeMap::new();
        for (name, given) in given.into_iter().flatten() {
            let at = at.push_key(name);
            let read = name.parse::<ProfileName>();
            let profile = self.profile(read.as_ref().ok(), given, at, defaults);
            // Only now, since what is missing within a setting that is wrong is not told.
            let name = self.read(name, at, |_| read);
            let (Some(name), Some(profile)) = (name, profile) else {
                continue;
            };
            let file = profile.access.token_file.clone();
            if let Some(first) = token_files.insert(file, name.clone()) {
                let what = format!(
                    "profile {first} has the same file; each needs its own, since a token says which profile is meant"
                );
                self.mistakes.add(at.push_key("access").push_key("token_file"), what);
            }
            profiles.insert(name, profile);
        }
        profiles
    }

    /// One profile. Without a name (it was wrong) the rest of it is checked all the same.
    fn profile(
        &mut self,
        name: Option<&ProfileName>,
        given: &ProfileDocument,
        at: ValuePointerRef<'_>,
        defaults: &Defaults,
    ) -> Option<Profile> {
        let source = self.source(given, at.push_key("source"));
        let shown = name.map_or("default", ProfileName::as_str);
        let chain = self.chain(shown, given, at.push_key("chain"), defaults);
        let long_lived_keys = self.long_lived_keys(given, at);
        let text = given.access.as_ref().and_then(|access| access.token_file.as_deref());
        let token_file = match text {
            Some(text) => {
                let at = at.push_key("access");
                self.read(text, at.push_key("token_file"), values::absolute_path)
            }
            None => Some(PathBuf::from(format!("/run/credential-relay/{shown}/token"))),
        };
        Some(Profile {
            source: source?,
            chain: chain?,
            long_lived_keys,
            propagation: PropagationCheck::Off,
            access: Access { token_file: token_file? },
        })
    }

    /// The relay writes to the socket's path and to those of the tokens, so each is its own.
    fn check_paths(&mut self, admin: &Admin, profiles: &BTreeMap<ProfileName, Profile>) {
        let tokens = || profiles.values().map(|profile| &profile.access.token_file);
        for (name, profile) in profiles {
            let at = ROOT.push_key("profiles");
            let at = at.push_key(name.as_str());
            if profile.access.token_file == admin.socket {
                let what = "this is admin.socket's path; the token needs a file of its own";
                self.mistakes.add(at.push_key("access").push_key("token_file"), what);
            }
            let Source::File { path } = &profile.source else { continue };
            let taken = if *path == admin.socket {
                "admin.socket's path"
            } else if tokens().any(|token| token == path) {
                "the path of an access.token_file"
            } else {
                continue;
            };
            let at = at.push_key("source");
            let at = at.push_key("file");
            let what = format!("this is {taken}; the keys need a file of their own");
            self.mistakes.add(at.push_key("path"), what);
        }
    }

    fn source(&mut self, given: &ProfileDocument, at: ValuePointerRef<'_>) -> Option<Source> {
        const CHOICE: &str = "write one of `environment: {}` and `file: { path: … }`";
        let Some(given) = &given.source else {
            self.missing(at, &format!("missing; {CHOICE}"));
            return None;
        };
        match (&given.environment, &given.file) {
            (Some(_), None) => Some(Source::Environment),
            (None, Some(file)) => {
                let at = at.push_key("file");
                let at = at.push_key("path");
                let Some(path) = file.path.as_deref() else {
                    self.missing(at, "missing; the path of the file with the keys");
                    return None;
                };
                let path = self.read(path, at, values::absolute_path)?;
                Some(Source::File { path })
            }
            (None, None) => {
                self.missing(at, &format!("nothing is chosen; {CHOICE}"));
                None
            }
            (Some(_), Some(_)) => {
                self.mistakes.add(at, "environment and file are both there; keep one");
                None
            }
        }
    }

    fn long_lived_keys(
        &mut self,
        given: &ProfileDocument,
        at: ValuePointerRef<'_>,
    ) -> LongLivedKeys {
        let at_chain = at.push_key("chain");
        let at = at.push_key("serve_long_lived_keys");
        let served = given.serve_long_lived_keys == Some(true);
        // A file may hold a session with its expiry; what it holds is seen when it is read.
        let of_environment =
            given.source.as_ref().is_some_and(|source| source.environment.is_some());
        let chained = given.chain.as_ref().is_some_and(|chain| !chain.is_empty());
        if chained && served {
            self.mistakes.add(at, "true; with a chain only its sessions are served, so remove it");
        } else if !chained && !served && of_environment && !self.mistakes.touch(at_chain) {
            self.missing(
                at,
                "not true; without a chain the keys of the environment are served as they are, and \
                 without an expiry they break several SDKs: add a chain, or set this to true",
            );
        }
        if served { LongLivedKeys::Served } else { LongLivedKeys::Refused }
    }

    /// The relay does not ask itself, whatever its environment says; but somebody meant something.
    fn warn_of_loop(&mut self, endpoint: &Endpoint) {
        const VARIABLE: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        let uri = self.environment.get(VARIABLE).and_then(|uri| uri.parse().ok());
        if uri.is_some_and(|uri| leads_to(&uri, endpoint.listen)) {
            let what = "it leads to the relay itself; set it for the application's container alone";
            self.warnings.add(Place::variable(VARIABLE), what);
        }
    }
}

fn leads_to(uri: &hyper::Uri, listen: SocketAddr) -> bool {
    let host = uri.host().unwrap_or_default();
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let here = host == "localhost" || ip.is_some_and(|ip| ip.is_loopback() || ip == listen.ip());
    here && uri.port_u16() == Some(listen.port())
}
