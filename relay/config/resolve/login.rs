//! How the relay logs in to Vault.

use std::path::PathBuf;
use std::str::FromStr;

use deserr::ValuePointerRef;

use super::{Resolver, optional, sts};
use crate::config::Source;
use crate::config::document::{
    AppRoleDocument, AuthDocument, AwsDocument, KubernetesDocument, WrappedDocument,
};
use crate::config::template::Pod;
use crate::config::values::{self, Region, UpstreamUrl, VaultName, VaultNamespace, VaultPath};
use crate::config::vault::{Login, RoleId, SecretId};

/// Where Kubernetes puts a pod's own token, whose audience is the API server.
pub(in crate::config) const SERVICE_ACCOUNT_TOKEN: &str =
    "/var/run/secrets/kubernetes.io/serviceaccount/token";

pub(super) const METHODS: &str =
    "write one of kubernetes, approle, jwt, aws, cert, userpass, token_file and token";

/// A login, and where it happens.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// None is the namespace of the secrets.
    pub(super) namespace: Option<VaultNamespace>,
    pub(super) login: Login,
}

impl Resolver<'_> {
    /// One way in. `client` says whether there is a client certificate.
    pub(super) fn way(
        &mut self,
        given: &AuthDocument,
        at: ValuePointerRef<'_>,
        client: bool,
        sts: &sts::Defaults,
    ) -> Option<Way> {
        let there = [
            ("kubernetes", given.kubernetes.is_some()),
            ("approle", given.approle.is_some()),
            ("jwt", given.jwt.is_some()),
            ("aws", given.aws.is_some()),
            ("cert", given.cert.is_some()),
            ("userpass", given.userpass.is_some()),
            ("token_file", given.token_file.is_some()),
            ("token", given.token.is_some()),
        ];
        let one = self.one_of(&there, at, METHODS);
        let namespace = given.namespace.as_deref();
        let namespace = namespace
            .map(|text| self.read(text, at.push_key("namespace"), VaultNamespace::from_str));
        // Each is checked even where there are several.
        let login = self.login_with_token(given, at);
        let login = login.or(self.login_with_material(given, at, client, sts));
        one?;
        Some(Way { namespace: optional(namespace)?, login: login? })
    }

    fn login_with_material(
        &mut self,
        given: &AuthDocument,
        at: ValuePointerRef<'_>,
        client: bool,
        sts: &sts::Defaults,
    ) -> Option<Login> {
        let kubernetes = given.kubernetes.as_ref();
        let kubernetes =
            kubernetes.and_then(|given| self.kubernetes(given, at.push_key("kubernetes")));
        let approle = given.approle.as_ref();
        let approle = approle.and_then(|given| self.approle(given, at.push_key("approle")));
        let aws = given.aws.as_ref().and_then(|given| self.aws(given, at.push_key("aws"), sts));
        let jwt = given.jwt.as_ref().and_then(|given| {
            let at = at.push_key("jwt");
            let mount = self.mount(given.mount.as_deref(), at, "jwt");
            let role = self.auth_role(given.role.as_deref(), at);
            let what = "the path of the file with the JWT";
            let token_file =
                self.needed_file(given.token_file.as_deref(), at.push_key("token_file"), what);
            Some(Login::Jwt { mount: mount?, role: role?, token_file: token_file? })
        });
        let cert = given.cert.as_ref().and_then(|given| {
            let at = at.push_key("cert");
            if !client {
                let what = "it logs in with the client certificate, and there is none: set \
                            vault.client_cert and vault.client_key";
                self.mistakes.add(at, what);
            }
            let mount = self.mount(given.mount.as_deref(), at, "cert");
            let name = given.name.as_deref();
            let name = name.map(|text| self.read(text, at.push_key("name"), VaultName::from_str));
            Some(Login::Cert { mount: mount?, name: optional(name)? })
        });
        let userpass = given.userpass.as_ref().and_then(|given| {
            let at = at.push_key("userpass");
            let mount = self.mount(given.mount.as_deref(), at, "userpass");
            let name = given.username.as_deref();
            let what = "the name of the user";
            let username = self.needed(name, at.push_key("username"), what, VaultName::from_str);
            let file = given.password_file.as_deref();
            let what = "the path of the file with the password";
            let password_file = self.needed_file(file, at.push_key("password_file"), what);
            Some(Login::Userpass {
                mount: mount?,
                username: username?,
                password_file: password_file?,
            })
        });
        kubernetes.or(approle).or(jwt).or(aws).or(cert).or(userpass)
    }

    fn login_with_token(&mut self, given: &AuthDocument, at: ValuePointerRef<'_>) -> Option<Login> {
        let file = given.token_file.as_ref().and_then(|given| {
            let at = at.push_key("token_file");
            let what = "the path of the file with the token";
            let path = self.needed_file(given.path.as_deref(), at.push_key("path"), what)?;
            Some(Login::TokenFile { path })
        });
        let variable = given.token.as_ref().map(|_| {
            let what =
                "for development: the relay cannot log in again when the token of VAULT_TOKEN ends";
            self.warnings.add(at.push_key("token"), what);
            Login::Token
        });
        file.or(variable)
    }

    pub(super) fn mount(
        &mut self,
        given: Option<&str>,
        at: ValuePointerRef<'_>,
        default: &str,
    ) -> Option<VaultPath> {
        self.read(given.unwrap_or(default), at.push_key("mount"), VaultPath::from_str)
    }

    fn auth_role(&mut self, given: Option<&str>, at: ValuePointerRef<'_>) -> Option<VaultName> {
        let what = "the role of the login, which Vault's administrator named";
        self.needed(given, at.push_key("role"), what, VaultName::from_str)
    }

    fn kubernetes(&mut self, given: &KubernetesDocument, at: ValuePointerRef<'_>) -> Option<Login> {
        let mount = self.mount(given.mount.as_deref(), at, "kubernetes");
        let role = self.auth_role(given.role.as_deref(), at);
        let file = given.token_file.as_deref().unwrap_or(SERVICE_ACCOUNT_TOKEN);
        let token_file = self.file(file, at.push_key("token_file"));
        Some(Login::Kubernetes { mount: mount?, role: role?, token_file: token_file? })
    }

    fn approle(&mut self, given: &AppRoleDocument, at: ValuePointerRef<'_>) -> Option<Login> {
        let there =
            [("role_id", given.role_id.is_some()), ("role_id_file", given.role_id_file.is_some())];
        let one = self.one_of(&there, at, "write role_id, or role_id_file with a path");
        let mount = self.mount(given.mount.as_deref(), at, "approle");
        let plain = given.role_id.as_deref().and_then(|text| {
            let visible = |c: char| c.is_ascii_graphic();
            self.read(text, at.push_key("role_id"), |text| {
                values::within(text, 1, 512, visible, "the visible characters of ASCII")
                    .map(|()| RoleId::Plain(text.to_owned()))
            })
        });
        let file = given.role_id_file.as_deref();
        let file = file.and_then(|text| self.file(text, at.push_key("role_id_file")));
        let secret_id = self.secret_id(given, at);
        one?;
        let role_id = plain.or(file.map(RoleId::File));
        Some(Login::AppRole { mount: mount?, role_id: role_id?, secret_id: secret_id? })
    }

    fn secret_id(&mut self, given: &AppRoleDocument, at: ValuePointerRef<'_>) -> Option<SecretId> {
        let file = given.secret_id_file.as_deref();
        let file = file.map(|text| self.file(text, at.push_key("secret_id_file")));
        let wrapped = given.wrapped_secret_id.as_ref();
        let wrapped = wrapped.map(|given| self.wrapped(given, at.push_key("wrapped_secret_id")));
        match (file, wrapped) {
            (None, None) => Some(SecretId::None),
            (Some(file), None) => file.map(SecretId::File),
            (None, Some(wrapped)) => wrapped,
            (Some(_), Some(_)) => {
                let what = "secret_id_file and wrapped_secret_id are there together; keep one";
                self.mistakes.add(at, what);
                None
            }
        }
    }

    fn wrapped(&mut self, given: &WrappedDocument, at: ValuePointerRef<'_>) -> Option<SecretId> {
        let what = "the path of the file with the wrapping token";
        let path: Option<PathBuf> =
            self.needed_file(given.file.as_deref(), at.push_key("file"), what);
        let creation_path = self.needed(
            given.creation_path.as_deref(),
            at.push_key("creation_path"),
            "where the wrapping token must have been made, such as auth/approle/role/payments/secret-id: \
             only so is one from elsewhere found out",
            VaultPath::from_str,
        );
        Some(SecretId::Wrapped { path: path?, creation_path: creation_path? })
    }

    fn aws(
        &mut self,
        given: &AwsDocument,
        at: ValuePointerRef<'_>,
        sts: &sts::Defaults,
    ) -> Option<Login> {
        let mount = self.mount(given.mount.as_deref(), at, "aws");
        let role = self.auth_role(given.role.as_deref(), at);
        let server_id = given.server_id.as_deref().map(|text| {
            let visible = |c: char| c.is_ascii_graphic();
            self.read(text, at.push_key("server_id"), |text| {
                values::within(text, 1, 253, visible, "the visible characters of ASCII")
                    .map(|()| text.to_owned())
            })
        });
        let region = match &given.region {
            Some(text) => self.read(text, at.push_key("region"), Region::from_str),
            // That it is missing is said at sts.region.
            None => sts.region().cloned(),
        };
        // The relay sends nothing there: Vault does.
        let endpoint = given.endpoint.as_deref();
        let endpoint =
            endpoint.map(|text| self.read(text, at.push_key("endpoint"), UpstreamUrl::from_str));
        let credentials = self.identity(given, at.push_key("source"), sts);
        Some(Login::Aws {
            mount: mount?,
            role: role?,
            server_id: optional(server_id)?,
            region: region?,
            endpoint: optional(endpoint)?,
            credentials: Box::new(credentials?),
        })
    }

    fn identity(
        &mut self,
        given: &AwsDocument,
        at: ValuePointerRef<'_>,
        sts: &sts::Defaults,
    ) -> Option<Source> {
        const CHOICE: &str = "write one of `environment: {}`, `file: { path: … }`, `web_identity: {}`, \
                              `container: {}` and `imds: {}`";
        let Some(given) = &given.source else {
            return Some(Source::Environment);
        };
        let there = [
            ("environment", given.environment.is_some()),
            ("file", given.file.is_some()),
            ("web_identity", given.web_identity.is_some()),
            ("container", given.container.is_some()),
            ("imds", given.imds.is_some()),
        ];
        let one = self.one_of(&there, at, CHOICE);
        // One login may serve several profiles.
        let pod = Pod::of(self.environment, "vault");
        let found = [
            given.environment.as_ref().map(|_| Some(Source::Environment)),
            given.file.as_ref().map(|given| self.source_file(given, at.push_key("file"))),
            given
                .web_identity
                .as_ref()
                .map(|given| self.web_identity(given, at.push_key("web_identity"), &pod, sts)),
            given.container.as_ref().map(|given| self.container(given, at.push_key("container"))),
            given.imds.as_ref().map(|given| self.imds(given, at.push_key("imds"))),
        ];
        one?;
        found.into_iter().flatten().next()?
    }
}
