//! Where base credentials come from: what the file says of each way, else what the variables of the
//! SDKs say.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use deserr::ValuePointerRef;

use super::{Resolver, optional, sts, vault};
use crate::config::Source;
use crate::config::document::{
    ContainerDocument, FileDocument, ImdsDocument, ProcessDocument, SharedProfileDocument,
    SourceDocument, WebIdentityDocument,
};
use crate::config::mistakes::Place;
use crate::config::source::{Authorization, Container, Imds, Process, SharedProfile};
use crate::config::template::Pod;
use crate::config::values::{self, ContainerUri, UpstreamUrl};

pub(in crate::config) const PROCESS_TIMEOUT: &str = "1m";

const CHOICE: &str = "write one of `environment: {}`, `file: { path: … }`, `vault: { role: … }`, \
                      `web_identity: {}`, `container: {}`, `imds: {}`, `roles_anywhere: { … }`, \
                      `profile: {}`, `process: { command: […] }` and `auto: {}`";

/// ECS's agent, below which AWS_CONTAINER_CREDENTIALS_RELATIVE_URI stands (the SDKs' reference guide).
const ECS_AGENT: &str = "http://169.254.170.2";

const IMDS_V4: &str = "http://169.254.169.254";
const IMDS_V6: &str = "http://[fd00:ec2::254]";

pub(super) const ROLE: &str = "AWS_ROLE_ARN";
pub(super) const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const AUTHORIZATION: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const AUTHORIZATION_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// Why a way that runs programs or reads a home folder is refused where there is neither.
const NOT_HERE: &str = "this build of the relay has it not: the container image has neither programs nor a \
                        home folder; use one of the other sources, or a build of the relay for hosts";

impl Resolver<'_> {
    pub(super) fn source(
        &mut self,
        given: Option<&SourceDocument>,
        at: ValuePointerRef<'_>,
        pod: &Pod<'_>,
        sts: &sts::Defaults,
        vault: &vault::Defaults<'_>,
    ) -> Option<Source> {
        let Some(given) = given else {
            self.missing(at, &format!("missing; {CHOICE}"));
            return None;
        };
        let there = [
            ("environment", given.environment.is_some()),
            ("file", given.file.is_some()),
            ("vault", given.vault.is_some()),
            ("web_identity", given.web_identity.is_some()),
            ("container", given.container.is_some()),
            ("imds", given.imds.is_some()),
            ("roles_anywhere", given.roles_anywhere.is_some()),
            ("profile", given.profile.is_some()),
            ("process", given.process.is_some()),
            ("auto", given.auto.is_some()),
        ];
        let one = self.one_of(&there, at, CHOICE);
        // Each is checked even where there are several.
        let found = [
            given.environment.as_ref().map(|_| Some(Source::Environment)),
            given.file.as_ref().map(|given| self.source_file(given, at.push_key("file"))),
            given.vault.as_ref().map(|given| {
                self.vault_source(given, at.push_key("vault"), pod, vault).map(Source::Vault)
            }),
            given
                .web_identity
                .as_ref()
                .map(|given| self.web_identity(given, at.push_key("web_identity"), pod, sts)),
            given.container.as_ref().map(|given| self.container(given, at.push_key("container"))),
            given.imds.as_ref().map(|given| self.imds(given, at.push_key("imds"))),
            given
                .roles_anywhere
                .as_ref()
                .map(|given| self.roles_anywhere(given, at.push_key("roles_anywhere"), pod, sts)),
            given
                .profile
                .as_ref()
                .map(|given| self.shared_profile(given, at.push_key("profile"), sts)),
            given.process.as_ref().map(|given| self.process(given, at.push_key("process"))),
            given.auto.as_ref().map(|_| self.auto(at.push_key("auto"), pod, sts)),
        ];
        one?;
        found.into_iter().flatten().next()?
    }

    pub(super) fn source_file(
        &mut self,
        given: &FileDocument,
        at: ValuePointerRef<'_>,
    ) -> Option<Source> {
        let what = "the path of the file with the keys";
        let path = self.needed_file(given.path.as_deref(), at.push_key("path"), what)?;
        Some(Source::File { path })
    }

    /// A setting, else the variable that stands for it; one of them must be there.
    pub(super) fn needed_or_variable<T, E: Display>(
        &mut self,
        given: Option<&str>,
        at: ValuePointerRef<'_>,
        variable: &'static str,
        what: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<(T, Place)> {
        if given.is_none() && self.environment.get(variable).is_none() {
            self.missing(at, &format!("missing, and {variable} is not set; {what}"));
            return None;
        }
        self.value((given, at), &[variable], true, read)
    }

    pub(super) fn container(
        &mut self,
        given: &ContainerDocument,
        at: ValuePointerRef<'_>,
    ) -> Option<Source> {
        let uri_at = at.push_key("uri");
        let (uri, place) = match (&given.uri, self.environment.get(RELATIVE_URI)) {
            (None, Some(path)) => {
                let place = Place::variable(RELATIVE_URI);
                let read = |path: &str| match path.starts_with('/') {
                    true => format!("{ECS_AGENT}{path}").parse::<ContainerUri>(),
                    false => Err("a path that begins with / was expected".to_owned()),
                };
                (self.read(path, place.clone(), read)?, place)
            }
            (uri, _) => {
                let what = format!("the URL of the agent; ECS sets {RELATIVE_URI}");
                let read = ContainerUri::from_str;
                self.needed_or_variable(uri.as_deref(), uri_at, FULL_URI, &what, read)?
            }
        };
        self.check_loop(&uri, place);
        let file = given.token_file.as_deref();
        let file = file.map(|text| self.file(text, at.push_key("token_file")));
        let authorization = match optional(file)? {
            Some(file) => Authorization::File(file),
            // Somebody else's token is not sent to a URL of the operator's own.
            None if given.uri.is_some() => Authorization::Nothing,
            None => self.authorization_of_environment()?,
        };
        Some(Source::Container(Container { uri, authorization }))
    }

    fn authorization_of_environment(&mut self) -> Option<Authorization> {
        match self.environment.get(AUTHORIZATION_FILE) {
            Some(text) => {
                self.file(text, Place::variable(AUTHORIZATION_FILE)).map(Authorization::File)
            }
            None if self.environment.get(AUTHORIZATION).is_some() => Some(Authorization::Variable),
            None => Some(Authorization::Nothing),
        }
    }

    fn check_loop(&mut self, uri: &ContainerUri, place: Place) {
        if self.listen.is_some_and(|listen| leads_to(uri, listen)) {
            let what = "it leads to the relay itself (endpoint.listen), which would ask itself for ever; set \
                        the variable for the application's container alone, or name the agent that is meant";
            self.mistakes.add(place, what);
        }
    }

    pub(super) fn imds(&mut self, given: &ImdsDocument, at: ValuePointerRef<'_>) -> Option<Source> {
        const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
        const MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
        let own = given.endpoint.as_deref();
        let own = (own, at.push_key("endpoint"));
        if own.0.is_some() || self.environment.get(ENDPOINT).is_some() {
            let (endpoint, place) = self.value(own, &[ENDPOINT], true, UpstreamUrl::from_str)?;
            if !endpoint.is_private() {
                let what = "plain http on another machine, where anybody between could read the credentials; \
                            the metadata service is at a link-local address";
                self.mistakes.add(place, what);
            }
            return Some(Source::Imds(Imds { endpoint }));
        }
        let mode = self.environment.get(MODE).map(|text| {
            self.read(text, Place::variable(MODE), |text| {
                match text.to_ascii_lowercase().as_str() {
                    "ipv4" => Ok(false),
                    "ipv6" => Ok(true),
                    _ => Err("IPv4 or IPv6 was expected"),
                }
            })
        });
        let ipv6 = given.ipv6.or(optional(mode)?).unwrap_or(false);
        let endpoint = if ipv6 { IMDS_V6 } else { IMDS_V4 };
        // Both are URLs.
        let endpoint = endpoint.parse().ok()?;
        Some(Source::Imds(Imds { endpoint }))
    }

    fn shared_profile(
        &mut self,
        given: &SharedProfileDocument,
        at: ValuePointerRef<'_>,
        sts: &sts::Defaults,
    ) -> Option<Source> {
        if !cfg!(feature = "host") {
            self.mistakes.add(at, NOT_HERE);
            return None;
        }
        let name = given.name.as_deref();
        let name = name.map(|text| self.read(text, at.push_key("name"), values::shared_profile));
        let mut file = |text: Option<&str>, at: ValuePointerRef<'_>| -> Option<Option<PathBuf>> {
            optional(text.map(|text| self.file(text, at)))
        };
        let config_file = file(given.config_file.as_deref(), at.push_key("config_file"));
        let credentials_file =
            file(given.credentials_file.as_deref(), at.push_key("credentials_file"));
        Some(Source::Profile(SharedProfile {
            name: optional(name)?,
            config_file: config_file?,
            credentials_file: credentials_file?,
            ca_cert: sts.ca_cert().cloned(),
        }))
    }

    fn process(&mut self, given: &ProcessDocument, at: ValuePointerRef<'_>) -> Option<Source> {
        if !cfg!(feature = "host") {
            self.mistakes.add(at, NOT_HERE);
            return None;
        }
        let command_at = at.push_key("command");
        let mut words = self.items(given.command.as_ref(), command_at).into_iter();
        let timeout = given.timeout.as_deref().unwrap_or(PROCESS_TIMEOUT);
        let within = Duration::from_secs(1)..=Duration::from_secs(300);
        let timeout = self.read(timeout, at.push_key("timeout"), |text| {
            values::duration_within(text, within, "a program is given")
        });
        let Some((number, program)) = words.next() else {
            let what = "missing; write the program's path and what it is given, such as [/usr/local/bin/keys, --json]";
            self.missing(command_at, what);
            return None;
        };
        let program = self.read(program, command_at.push_index(number), values::absolute_path);
        let arguments = words.map(|(_, word)| word.clone()).collect();
        Some(Source::Process(Process { program: program?, arguments, timeout: timeout? }))
    }

    /// Those ways that the environment configures, in the order of the SDKs. Which of them gives
    /// credentials shows at each fetch: the shared files may say nothing of them.
    fn auto(
        &mut self,
        at: ValuePointerRef<'_>,
        pod: &Pod<'_>,
        sts: &sts::Defaults,
    ) -> Option<Source> {
        let set = |name: &str| self.environment.get(name).is_some();
        let keys = set("AWS_ACCESS_KEY_ID") || set("AWS_SECRET_ACCESS_KEY");
        let web_identity = set(TOKEN_FILE);
        let half = web_identity && !set(ROLE);
        let container = set(RELATIVE_URI) || (set(FULL_URI) && !self.full_uri_leads_here());
        let disabled = self.flag(None, "AWS_EC2_METADATA_DISABLED", true);
        if half {
            // A token comes from the platform alone; a role alone has other uses.
            let what = "there is no AWS_ROLE_ARN that goes with it, which is no reason to end in another \
                        identity: set it, or unset this";
            self.mistakes.add(Place::variable(TOKEN_FILE), what);
            return None;
        }
        let mut ways = Vec::new();
        if keys {
            ways.push(Some(Source::Environment));
        }
        if cfg!(feature = "host") {
            ways.push(self.shared_profile(&SharedProfileDocument::default(), at, sts));
        }
        if web_identity {
            ways.push(self.web_identity(&WebIdentityDocument::default(), at, pod, sts));
        }
        if container {
            ways.push(self.container(&ContainerDocument::default(), at));
        }
        if !disabled {
            ways.push(self.imds(&ImdsDocument::default(), at));
        }
        if ways.is_empty() {
            let what = "the environment configures none of the SDKs' ways to credentials, and \
                        AWS_EC2_METADATA_DISABLED rules the last one out: choose a source";
            self.mistakes.add(at, what);
            return None;
        }
        ways.into_iter().collect::<Option<_>>().map(Source::Auto)
    }

    /// Whether the SDKs' variable leads to the relay itself, as it does where it was set for the
    /// whole pod: it is not one of the ways then.
    fn full_uri_leads_here(&self) -> bool {
        let uri = self.environment.get(FULL_URI).and_then(|text| text.parse().ok());
        uri.zip(self.listen).is_some_and(|(uri, listen)| leads_to(&uri, listen))
    }
}

/// Whether a URL leads to the relay's own endpoint, as far as it says so itself: what other names
/// stand for shows when they are looked up.
pub(super) fn leads_to(uri: &ContainerUri, listen: SocketAddr) -> bool {
    let (host, port) = uri.host_and_port();
    let here = host == "localhost"
        || host.ends_with(".localhost")
        || host.parse().is_ok_and(|ip: std::net::IpAddr| {
            let ip = ip.to_canonical();
            ip.is_loopback() || ip.is_unspecified() || ip == listen.ip()
        });
    here && port == listen.port()
}
