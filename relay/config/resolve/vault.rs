//! Vault: what the file says, else what its own variables say, and what a profile reads there.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deserr::ValuePointerRef;

use super::login::{METHODS, Way};
use super::{ROOT, Resolver, optional, sts};
use crate::arn::RoleArn;
use crate::config::document::{Document, PropagationDocument, VaultDocument, VaultSourceDocument};
use crate::config::environment::NATIVE_SIDECAR;
use crate::config::mistakes::Place;
use crate::config::template::{Pod, Template};
use crate::config::values::{self, VaultAddress, VaultName, VaultNamespace};
use crate::config::vault::{CredentialType, DeclaredType, Vault, VaultRole, VaultSource};
use crate::config::{ClientCertificate, LeasesAtEnd, LongLivedKeys, PropagationCheck, Tls};

pub(in crate::config) const VAULT_TIMEOUT: &str = "10s";
/// As Terraform's provider for Vault does: upstreams section 1.
pub(in crate::config) const PROPAGATION_SUCCESSES: u64 = 5;
pub(in crate::config) const PROPAGATION_SETTLE: &str = "5s";

/// Of one HTTP exchange.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

const MOST_SUCCESSES: u64 = 20;
const LONGEST_SETTLE: Duration = Duration::from_secs(300);

/// What every profile's Vault is, unless the profile says otherwise. What is None was wrong or is
/// missing, which is noted already.
pub(super) struct Defaults<'a> {
    connection: Option<Connection>,
    /// Whether there is a client certificate, or a mistake in its place.
    client: bool,
    namespace: VaultNamespace,
    way: Option<Way>,
    /// None where the check is off.
    propagation: Option<(u32, Duration)>,
    sts: &'a sts::Defaults,
}

#[derive(Clone)]
struct Connection {
    address: VaultAddress,
    tls: Tls,
    timeout: Duration,
    redirect_hosts: Vec<String>,
}

impl Defaults<'_> {
    /// How new keys of a profile are tried out: with the STS that they are for.
    pub(super) fn propagation(&self, keys: &LongLivedKeys) -> PropagationCheck {
        let sts = match keys {
            LongLivedKeys::Refused => None,
            LongLivedKeys::Served => self.sts.everywhere(),
            LongLivedKeys::Exchanged { sts, .. } => Some(sts.clone()),
        };
        match (self.propagation, sts) {
            (Some((successes, settle)), Some(sts)) => {
                PropagationCheck::On { successes, settle, sts }
            }
            _ => PropagationCheck::Off,
        }
    }
}

impl Resolver<'_> {
    pub(super) fn vault_defaults<'s>(
        &mut self,
        document: &Document,
        sts: &'s sts::Defaults,
    ) -> Defaults<'s> {
        let at = ROOT.push_key("vault");
        let nothing = VaultDocument::default();
        let given = document.vault.as_ref().unwrap_or(&nothing);
        let profiles = document.profiles.iter().flat_map(|named| named.0.values());
        let sources = profiles.filter_map(|profile| profile.source.as_ref()?.vault.as_ref());
        let sources: Vec<&VaultSourceDocument> = sources.collect();
        let used = !sources.is_empty();
        if document.vault.is_some() && !used && !self.mistakes.touch(ROOT.push_key("profiles")) {
            self.warnings.add(at, "no profile's source is a Vault, so nothing of this is used");
        }
        let address = self.address(given, at, used);
        let tls = self.tls(given, at, used);
        let timeout = self.timeout(given, at, used);
        let redirect_hosts = self.redirect_hosts(given, at);
        let namespace = self.value(
            (given.namespace.as_deref(), at.push_key("namespace")),
            &["VAULT_NAMESPACE"],
            used,
            VaultNamespace::from_str,
        );
        let client = tls.as_ref().is_none_or(|tls| tls.client.is_some());
        let auth_at = at.push_key("auth");
        let way = given.auth.as_ref().and_then(|given| self.way(given, auth_at, client, sts));
        if given.auth.is_none() && sources.iter().any(|source| source.auth.is_none()) {
            self.missing(auth_at, &format!("missing; how to log in to Vault: {METHODS}"));
        }
        let propagation = self.propagation(given.propagation.as_ref(), at.push_key("propagation"));
        let connection = match (address, tls, timeout) {
            (Some(address), Some(tls), Some(timeout)) => {
                Some(Connection { address, tls, timeout, redirect_hosts })
            }
            _ => None,
        };
        let namespace = namespace.map_or(VaultNamespace::Root, |(namespace, _)| namespace);
        Defaults { connection, client, namespace, way, propagation, sts }
    }

    pub(super) fn leases_at_end(&mut self, document: &Document) -> LeasesAtEnd {
        let given = document.vault.as_ref().and_then(|vault| vault.revoke_on_shutdown);
        match self.flag(given, NATIVE_SIDECAR, true) {
            true => LeasesAtEnd::Revoked,
            false => LeasesAtEnd::Left,
        }
    }

    fn address(
        &mut self,
        given: &VaultDocument,
        at: ValuePointerRef<'_>,
        used: bool,
    ) -> Option<VaultAddress> {
        const VARIABLE: &str = "VAULT_ADDR";
        let at = at.push_key("address");
        let read =
            self.value((given.address.as_deref(), at), &[VARIABLE], used, VaultAddress::from_str);
        let Some((address, place)) = read else {
            if used && !self.mistakes.blame(VARIABLE) {
                self.missing(
                    at,
                    "missing; where Vault is: set vault.address or VAULT_ADDR, such as https://vault.example.internal:8200",
                );
            }
            return None;
        };
        let allow_insecure = given.allow_insecure == Some(true);
        self.check_private(address.is_private(), "vault", allow_insecure, place);
        Some(address)
    }

    /// None where the client certificate is not whole.
    fn tls(&mut self, given: &VaultDocument, at: ValuePointerRef<'_>, used: bool) -> Option<Tls> {
        let mut file = |given: Option<&str>, key: &str, variable: &str| {
            let there = given.is_some() || (used && self.environment.get(variable).is_some());
            let at = at.push_key(key);
            let read = self.value((given, at), &[variable], used, values::absolute_path);
            self.files.extend(read.clone().map(|(path, place)| (place, path)));
            (there, read)
        };
        let (_, ca_cert) = file(given.ca_cert.as_deref(), "ca_cert", "VAULT_CACERT");
        let cert = file(given.client_cert.as_deref(), "client_cert", "VAULT_CLIENT_CERT");
        let key = file(given.client_key.as_deref(), "client_key", "VAULT_CLIENT_KEY");
        let server_name = self.value(
            (given.tls_server_name.as_deref(), at.push_key("tls_server_name")),
            &["VAULT_TLS_SERVER_NAME"],
            used,
            values::host,
        );
        let client = match (cert, key) {
            ((false, _), (false, _)) => None,
            ((true, Some((cert, _))), (true, Some((key, _)))) => {
                Some(ClientCertificate { cert, key })
            }
            ((true, cert), (false, _)) => {
                self.incomplete(cert, "client_key", "VAULT_CLIENT_KEY");
                return None;
            }
            ((false, _), (true, key)) => {
                self.incomplete(key, "client_cert", "VAULT_CLIENT_CERT");
                return None;
            }
            _ => return None,
        };
        Some(Tls {
            ca_cert: ca_cert.map(|(path, _)| path),
            client,
            server_name: server_name.map(|(name, _)| name),
        })
    }

    /// One half of a client certificate is there without the other.
    fn incomplete(&mut self, half: Option<(PathBuf, Place)>, other: &str, variable: &str) {
        let at = ROOT.push_key("vault");
        if let Some((_, place)) = half
            && !self.mistakes.touch(at.push_key(other))
        {
            let what = format!("without its other half: set vault.{other} or {variable} too");
            self.mistakes.add(place, what);
        }
    }

    fn timeout(
        &mut self,
        given: &VaultDocument,
        at: ValuePointerRef<'_>,
        used: bool,
    ) -> Option<Duration> {
        const VARIABLE: &str = "VAULT_CLIENT_TIMEOUT";
        const BOUNDS: RangeInclusive<Duration> = SHORTEST_TIMEOUT..=LONGEST_TIMEOUT;
        let read = |text: &str| values::duration_within(text, BOUNDS, "an exchange may take");
        let at = at.push_key("timeout");
        match (&given.timeout, self.environment.get(VARIABLE).filter(|_| used)) {
            (Some(text), _) => self.read(text, at, read),
            // Vault's own client takes a bare number for seconds.
            (None, Some(text)) => self.read(text, Place::variable(VARIABLE), |text| {
                let bare = text.bytes().all(|b| b.is_ascii_digit());
                if bare { read(&format!("{text}s")) } else { read(text) }
            }),
            (None, None) => self.read(VAULT_TIMEOUT, at, read),
        }
    }

    fn redirect_hosts(&mut self, given: &VaultDocument, at: ValuePointerRef<'_>) -> Vec<String> {
        let at = at.push_key("redirect_hosts");
        let mut hosts = Vec::new();
        for (number, host) in self.items(given.redirect_hosts.as_ref(), at) {
            hosts.extend(self.read(host, at.push_index(number), values::host));
        }
        hosts.sort();
        hosts.dedup();
        hosts
    }

    /// None where the check is off.
    fn propagation(
        &mut self,
        given: Option<&PropagationDocument>,
        at: ValuePointerRef<'_>,
    ) -> Option<(u32, Duration)> {
        let successes = given.and_then(|given| given.successes).unwrap_or(PROPAGATION_SUCCESSES);
        if successes > MOST_SUCCESSES {
            let what = format!(
                "the number {successes}; 1 to {MOST_SUCCESSES} successes can be asked for, and 0 turns the check off"
            );
            self.mistakes.add(at.push_key("successes"), what);
        }
        let settle = given.and_then(|given| given.settle.as_deref()).unwrap_or(PROPAGATION_SETTLE);
        let settle = self.read(settle, at.push_key("settle"), |text| {
            let bounds = Duration::ZERO..=LONGEST_SETTLE;
            values::duration_within(text, bounds, "the wait may be")
        })?;
        let successes = u32::try_from(successes).ok().filter(|successes| *successes > 0)?;
        Some((successes, settle))
    }

    /// What one profile reads in Vault. None where something is wrong, or is with the defaults.
    pub(super) fn vault_source(
        &mut self,
        given: &VaultSourceDocument,
        at: ValuePointerRef<'_>,
        pod: &Pod<'_>,
        defaults: &Defaults<'_>,
    ) -> Option<VaultSource> {
        let role = self.vault_role(given, at, pod);
        let namespace = match &given.namespace {
            Some(text) => self.read(text, at.push_key("namespace"), VaultNamespace::from_str),
            None => Some(defaults.namespace.clone()),
        };
        let mount = self.mount(given.mount.as_deref(), at, "aws");
        let way = match &given.auth {
            Some(auth) => self.way(auth, at.push_key("auth"), defaults.client, defaults.sts),
            None => defaults.way.clone(),
        };
        let (namespace, way) = (namespace?, way?);
        let Connection { address, tls, timeout, redirect_hosts } = defaults.connection.clone()?;
        let vault = Vault {
            address,
            tls,
            timeout,
            redirect_hosts,
            auth_namespace: way.namespace.unwrap_or_else(|| namespace.clone()),
            login: way.login,
        };
        Some(VaultSource { vault: Arc::new(vault), namespace, mount: mount?, role: role? })
    }

    fn vault_role(
        &mut self,
        given: &VaultSourceDocument,
        at: ValuePointerRef<'_>,
        pod: &Pod<'_>,
    ) -> Option<VaultRole> {
        let there = [("role", given.role.is_some()), ("static_role", given.static_role.is_some())];
        let one = self.one_of(
            &there,
            at,
            "write role with the name of a role of the engine, or static_role with that of a static role",
        );
        if one.is_some() && given.static_role.is_some() {
            self.check_static(given, at);
        }
        let declared = given.credential_type.map(CredentialType::from);
        let ttl = given.ttl.as_deref().map(|text| self.ttl(text, at.push_key("ttl"), declared));
        let role_arn = given.role_arn.as_deref();
        let role_arn =
            role_arn.map(|text| self.read(text, at.push_key("role_arn"), RoleArn::from_str));
        let session_name = given.session_name.as_deref().map(|text| {
            self.read(text, at.push_key("session_name"), |text| {
                text.parse::<Template>()?.fill_session_name(pod)
            })
        });
        let name = given.role.as_deref();
        let name = name.map(|text| self.read(text, at.push_key("role"), VaultName::from_str));
        let fixed = given.static_role.as_deref();
        let fixed =
            fixed.map(|text| self.read(text, at.push_key("static_role"), VaultName::from_str));
        one?;
        if let Some(name) = fixed {
            return Some(VaultRole::Static { name: name? });
        }
        Some(VaultRole::Dynamic {
            name: name??,
            ttl: optional(ttl)?,
            role_arn: optional(role_arn)?,
            session_name: optional(session_name)?,
            credential_type: declared.map_or(DeclaredType::Unsaid, DeclaredType::Said),
        })
    }

    fn check_static(&mut self, given: &VaultSourceDocument, at: ValuePointerRef<'_>) {
        let of_role = [
            ("ttl", given.ttl.is_some()),
            ("role_arn", given.role_arn.is_some()),
            ("session_name", given.session_name.is_some()),
            ("credential_type", given.credential_type.is_some()),
        ];
        for (key, _) in of_role.into_iter().filter(|(_, there)| *there) {
            let what = "it belongs to role: a static role gives the keys of its user as they are; remove it";
            self.mistakes.add(at.push_key(key), what);
        }
    }

    fn ttl(
        &mut self,
        text: &str,
        at: ValuePointerRef<'_>,
        declared: Option<CredentialType>,
    ) -> Option<Duration> {
        let longest = match declared {
            Some(CredentialType::AssumedRole) => values::LONGEST,
            _ => values::LONGEST_OF_USER,
        };
        let ttl = self.read(text, at, |text| values::lifetime(text, longest))?;
        if declared == Some(CredentialType::IamUser) {
            let what = "an iam_user role ignores it: the keys live as long as the engine's lease configuration \
                        says (config/lease)";
            self.warnings.add(at, what);
        } else {
            self.warn_of_short(ttl, at, "Vault");
        }
        Some(ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;
    use crate::config::load::{load, parse};
    use crate::config::vault::{Login, RoleId, SecretId};
    use crate::config::{Config, Profile, Source};

    const VAULT: &str = "
vault:
  address: https://vault.example.internal:8200/
  namespace: platform/team-a
  client_cert: /tls/cert.pem
  client_key: /tls/key.pem
  redirect_hosts: [Vault-2, vault-1]
  propagation: { settle: 0s }
  auth: { kubernetes: { role: relay } }
sts: { region: eu-west-1 }
profiles:
";

    fn read(text: &str, variables: &[(&str, &str)]) -> Config {
        let environment: Environment = variables.iter().copied().collect();
        parse(text, &environment).unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }

    fn profiles(text: &str) -> Config {
        read(&format!("{VAULT}{text}"), &[])
    }

    fn source(profile: &Profile) -> &VaultSource {
        let Source::Vault(source) = &profile.source else { panic!("{:?}", profile.source) };
        source
    }

    #[test]
    fn profiles_share_what_they_do_not_say_themselves() {
        let config = profiles(
            "
  a: { source: { vault: { role: a } } }
  b: { source: { vault: { role: b, mount: /team/aws/, ttl: 36h, session_name: 'of-{profile}' } } }
  c: { source: { vault: { role: c, namespace: root, auth: { cert: { name: relay } } } } }
",
        );
        let [a, b, c] = ["a", "b", "c"].map(|name| source(&config.profiles[name]));
        assert_eq!(a.vault, b.vault);
        assert_eq!(a.mount.as_str(), "aws");
        assert_eq!(a.namespace.header(), Some("platform/team-a"));
        assert_eq!(a.vault.auth_namespace, a.namespace);
        assert_eq!(a.vault.address.as_str(), "https://vault.example.internal:8200");
        assert_eq!(a.vault.timeout, Duration::from_secs(10));
        assert_eq!(a.vault.redirect_hosts, ["vault-1", "vault-2"]);
        let cert = a.vault.tls.client.as_ref().map(|client| client.cert.as_path());
        assert_eq!(cert, Some("/tls/cert.pem".as_ref()));
        let login = Login::Kubernetes {
            mount: "kubernetes".parse().unwrap(),
            role: "relay".parse().unwrap(),
            token_file: super::super::SERVICE_ACCOUNT_TOKEN.into(),
        };
        assert_eq!(a.vault.login, login);
        assert_eq!(b.mount.as_str(), "team/aws");
        let role = VaultRole::Dynamic {
            name: "b".parse().unwrap(),
            ttl: Some(Duration::from_secs(36 * 3600)),
            role_arn: None,
            session_name: Some("of-b".parse().unwrap()),
            credential_type: DeclaredType::Unsaid,
        };
        assert_eq!(b.role, role);
        assert_eq!(c.namespace, VaultNamespace::Root);
        assert_eq!(c.vault.auth_namespace, VaultNamespace::Root);
        assert!(matches!(&c.vault.login, Login::Cert { name: Some(_), .. }));
    }

    #[test]
    fn every_login_is_read() {
        let login = |auth: &str| {
            let config =
                profiles(&format!("  a: {{ source: {{ vault: {{ role: a, auth: {auth} }} }} }}"));
            source(&config.profiles["a"]).vault.login.clone()
        };
        let mount = |text: &str| text.parse().unwrap();
        let name = |text: &str| text.parse().unwrap();
        let wrapped =
            "{ approle: { role_id: id, wrapped_secret_id: { file: /s, creation_path: a/b } } }";
        assert_eq!(
            login(wrapped),
            Login::AppRole {
                mount: mount("approle"),
                role_id: RoleId::Plain("id".to_owned()),
                secret_id: SecretId::Wrapped { path: "/s".into(), creation_path: mount("a/b") },
            }
        );
        assert_eq!(
            login("{ approle: { mount: team, role_id_file: /r } }"),
            Login::AppRole {
                mount: mount("team"),
                role_id: RoleId::File("/r".into()),
                secret_id: SecretId::None,
            }
        );
        assert_eq!(
            login("{ jwt: { role: a, token_file: /j } }"),
            Login::Jwt { mount: mount("jwt"), role: name("a"), token_file: "/j".into() }
        );
        assert_eq!(
            login("{ aws: { role: a, server_id: vault, source: { file: { path: /k } } } }"),
            Login::Aws {
                mount: mount("aws"),
                role: name("a"),
                server_id: Some("vault".to_owned()),
                region: "eu-west-1".parse().unwrap(),
                endpoint: None,
                credentials: Box::new(Source::File { path: "/k".into() }),
            }
        );
        assert_eq!(
            login("{ userpass: { username: a, password_file: /p } }"),
            Login::Userpass {
                mount: mount("userpass"),
                username: name("a"),
                password_file: "/p".into(),
            }
        );
        assert_eq!(login("{ token_file: { path: /t } }"), Login::TokenFile { path: "/t".into() });
        assert_eq!(login("{ token: {} }"), Login::Token);
    }

    #[test]
    fn new_keys_are_tried_out_where_they_are_served() {
        let config = profiles(
            "
  served: { source: { vault: { static_role: a } }, serve_long_lived_keys: true }
  exchanged: { source: { vault: { role: a } }, get_session_token: { region: us-east-1 } }
  found-out: { source: { vault: { role: a } } }
  session: { source: { vault: { role: a, credential_type: session_token } } }
  chained:
    source: { vault: { static_role: a } }
    chain: [{ role_arn: 'arn:aws:iam::111122223333:role/hub', duration: 12h }]
  environment: { source: { environment: {} }, get_session_token: {} }
",
        );
        let tried = |name: &str| match &config.profiles[name].propagation {
            PropagationCheck::Off => None,
            PropagationCheck::On { successes, settle, sts } => {
                assert_eq!((*successes, *settle), (5, Duration::ZERO));
                Some(sts.region.as_str())
            }
        };
        assert_eq!(tried("served"), Some("eu-west-1"));
        assert_eq!(tried("exchanged"), Some("us-east-1"));
        for name in ["found-out", "session", "chained", "environment"] {
            assert_eq!(tried(name), None, "{name}");
        }
        let exchanged = &config.profiles["environment"].long_lived_keys;
        let LongLivedKeys::Exchanged { duration, .. } = exchanged else { panic!("{exchanged:?}") };
        assert_eq!(*duration, Duration::from_secs(12 * 3600));
        assert_eq!(config.profiles["chained"].chain[0].duration, Duration::from_secs(12 * 3600));
        assert_eq!(config.warnings, Vec::<String>::new());
    }

    #[test]
    fn what_is_right_but_should_be_known_is_told() {
        let config = profiles(
            "
  a:
    source: { vault: { role: a, credential_type: assumed_role } }
    chain: [{ role_arn: 'arn:aws:iam::111122223333:role/hub', duration: 2h }]
  b:
    source: { vault: { role: a, credential_type: iam_user, ttl: 20m } }
    get_session_token: { duration: 15m }
  c: { source: { vault: { role: a, ttl: 15m, auth: { token: {} } } } }
",
        );
        assert_eq!(config.profiles["a"].chain[0].duration, Duration::from_secs(3600));
        let starts = [
            "profiles.a.chain[0].duration: 2h was lowered to 1h: STS grants no more to a role session",
            "profiles.b.source.vault.ttl: an iam_user role ignores it",
            "profiles.b.get_session_token.duration: 15m is short",
            "profiles.c.source.vault.ttl: 15m is short: it is renewed every 2m15s, which takes 26.7 calls to Vault",
            "profiles.c.source.vault.auth.token: for development",
        ];
        assert_eq!(config.warnings.len(), starts.len(), "{:#?}", config.warnings);
        for (warning, start) in config.warnings.iter().zip(starts) {
            assert!(warning.starts_with(start), "{warning}");
        }
        let unused = read(
            "{ vault: { address: 'http://10.0.0.1', allow_insecure: true }, \
               profiles: { a: { source: { file: { path: /k } } } } }",
            &[("VAULT_ADDR", "nowhere"), ("VAULT_CACERT", "nowhere")],
        );
        let starts = ["vault: no profile's source is a Vault", "vault.address: plain http"];
        for (warning, start) in unused.warnings.iter().zip(starts) {
            assert!(warning.starts_with(start), "{warning}");
        }
        assert_eq!(unused.warnings.len(), starts.len());
    }

    #[test]
    fn the_variables_of_vault_are_honoured() {
        let text = "
vault: { auth: { namespace: login, kubernetes: { role: relay } } }
profiles: { a: { source: { vault: { role: a } } } }
";
        let variables = [
            ("VAULT_ADDR", "http://127.0.0.1:8200"),
            ("VAULT_NAMESPACE", "team"),
            ("VAULT_CACERT", "/ca.pem"),
            ("VAULT_CLIENT_CERT", "/cert.pem"),
            ("VAULT_CLIENT_KEY", "/key.pem"),
            ("VAULT_TLS_SERVER_NAME", "vault"),
            ("VAULT_CLIENT_TIMEOUT", "60"),
            ("CREDENTIAL_RELAY_NATIVE_SIDECAR", "true"),
        ];
        let config = read(text, &variables);
        assert_eq!(config.leases_at_end, LeasesAtEnd::Revoked);
        let a = source(&config.profiles["a"]);
        assert_eq!(a.namespace.header(), Some("team"));
        assert_eq!(a.vault.auth_namespace.header(), Some("login"));
        assert_eq!(a.vault.timeout, Duration::from_secs(60));
        let client = ClientCertificate { cert: "/cert.pem".into(), key: "/key.pem".into() };
        let tls = Tls {
            ca_cert: Some("/ca.pem".into()),
            client: Some(client),
            server_name: Some("vault".to_owned()),
        };
        assert_eq!(a.vault.tls, tls);
        let said = text.replace("auth:", "revoke_on_shutdown: false, auth:");
        assert_eq!(read(&said, &variables).leases_at_end, LeasesAtEnd::Left);
    }

    #[test]
    fn variables_alone_are_enough_for_vault() {
        let mut variables = vec![
            ("VAULT_ADDR", "https://vault.example.internal:8200"),
            ("CREDENTIAL_RELAY_VAULT_ROLE", "payments"),
            ("CREDENTIAL_RELAY_VAULT_MOUNT", "team/aws"),
            ("CREDENTIAL_RELAY_VAULT_AUTH_ROLE", "relay"),
            ("CREDENTIAL_RELAY_VAULT_TOKEN_FILE", "/token"),
            ("CREDENTIAL_RELAY_VAULT_TTL", "1h"),
        ];
        let load = |variables: &[(&str, &str)]| {
            let environment: Environment = variables.iter().copied().collect();
            load(None, &environment).unwrap_or_else(|mistakes| panic!("{mistakes}"))
        };
        let config = load(&variables);
        let profile = &config.profiles["default"];
        assert!(profile.chain.is_empty());
        let vault = source(profile);
        assert_eq!(vault.mount.as_str(), "team/aws");
        assert!(matches!(&vault.role, VaultRole::Dynamic { ttl: Some(_), .. }));
        let Login::Kubernetes { role, token_file, .. } = &vault.vault.login else {
            panic!("{:?}", vault.vault.login)
        };
        assert_eq!((role.as_str(), token_file.to_str()), ("relay", Some("/token")));
        variables.push(("AWS_REGION", "eu-west-1"));
        variables.push(("CREDENTIAL_RELAY_ROLE_ARN", "arn:aws:iam::111122223333:role/hub"));
        let config = load(&variables);
        assert_eq!(config.profiles["default"].chain.len(), 1);
        assert!(matches!(config.profiles["default"].source, Source::Vault(_)));
    }
}
