//! Which STS is asked: what the file says, else what the SDKs' own variables say.

use std::path::PathBuf;
use std::str::FromStr;

use deserr::ValuePointerRef;

use super::{ROOT, Resolver, keys};
use crate::config::Sts;
use crate::config::document::{
    Document, GetSessionTokenDocument, HopDocument, SourceDocument, StsDocument,
    WebIdentityDocument,
};
use crate::config::environment::Environment;
use crate::config::mistakes::Place;
use crate::config::values::{self, Region, UpstreamUrl};

/// What every hop asks, unless it says otherwise.
#[derive(Debug)]
pub(super) struct Defaults {
    region: Option<Region>,
    endpoint: Option<UpstreamUrl>,
    allow_insecure: bool,
    fips: bool,
    dual_stack: bool,
    ca_cert: Option<PathBuf>,
}

impl Defaults {
    /// Them alone, where they are whole.
    pub(super) fn everywhere(&self) -> Option<Sts> {
        Some(Sts {
            region: self.region.clone()?,
            endpoint: self.endpoint.clone(),
            fips: self.fips,
            dual_stack: self.dual_stack,
            ca_cert: self.ca_cert.clone(),
        })
    }

    /// The roots alone.
    pub(super) fn ca_cert(&self) -> Option<&PathBuf> {
        self.ca_cert.as_ref()
    }

    /// The region alone.
    pub(super) fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }
}

/// What one setting says in the place of the defaults.
pub(super) struct Overrides<'d> {
    region: Option<&'d str>,
    endpoint: Option<&'d str>,
    fips: Option<bool>,
    dual_stack: Option<bool>,
    ca_cert: Option<&'d str>,
}

/// They stand in each of these documents by the same names.
macro_rules! overrides {
    ($($document:ty),*) => {$(
        impl<'d> From<&'d $document> for Overrides<'d> {
            fn from(given: &'d $document) -> Self {
                Self {
                    region: given.region.as_deref(),
                    endpoint: given.endpoint.as_deref(),
                    fips: given.fips,
                    dual_stack: given.dual_stack,
                    ca_cert: given.ca_cert.as_deref(),
                }
            }
        }
    )*};
}

overrides!(HopDocument, GetSessionTokenDocument, WebIdentityDocument);

/// What asks STS, and what to say where no region is there for it.
struct Askers {
    any: bool,
    without_region: Vec<&'static str>,
}

impl Askers {
    fn of(document: &Document, environment: &Environment) -> Self {
        let profiles = || document.profiles.iter().flat_map(|named| named.0.values());
        let hops = || profiles().flat_map(|profile| profile.chain.iter().flatten().flatten());
        let exchanges = || profiles().filter_map(|profile| profile.get_session_token.as_ref());
        let logins = document.vault.iter().filter_map(|vault| vault.auth.as_ref());
        let own = profiles().filter_map(|profile| profile.source.as_ref()?.vault.as_ref());
        let logins = logins.chain(own.filter_map(|vault| vault.auth.as_ref()));
        let login: Vec<_> = logins.filter_map(|auth| auth.aws.as_ref()).collect();
        let identities =
            login.iter().filter_map(|login| login.source.as_ref()?.web_identity.as_ref());
        let sources = || profiles().filter_map(|profile| profile.source.as_ref());
        let web_identities: Vec<_> =
            sources().filter_map(|source| source.web_identity.as_ref()).chain(identities).collect();
        let auto = sources().any(|source| source.auto.is_some())
            && environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some();
        // These have the roots from here.
        let by_tls = |source: &SourceDocument| {
            source.roles_anywhere.is_some() || source.profile.is_some() || source.auto.is_some()
        };
        let without_region = [
            (
                auto || web_identities.iter().any(|source| source.region.is_none()),
                "missing; AssumeRoleWithWebIdentity asks the STS of a region: set sts.region, the region of \
                 web_identity, or AWS_REGION",
            ),
            (
                hops().any(|hop| hop.region.is_none()),
                "missing; a hop asks the STS of a region: set sts.region, the region of the hop, or AWS_REGION",
            ),
            (
                exchanges().any(|exchange| exchange.region.is_none()),
                "missing; GetSessionToken asks the STS of a region: set sts.region, the region of \
                 get_session_token, or AWS_REGION",
            ),
            (
                profiles().any(|profile| keys::tries_out(profile, document.vault.as_ref())),
                "missing; new keys of a user are tried out at the STS of a region before they are served: \
                 set sts.region or AWS_REGION, or turn that off with `vault.propagation.successes: 0`",
            ),
            (
                login.iter().any(|login| login.region.is_none()),
                "missing; Vault's login with aws is signed for a region: set sts.region, the region of the \
                 login, or AWS_REGION",
            ),
        ];
        let without_region: Vec<_> =
            without_region.into_iter().filter_map(|(is, what)| is.then_some(what)).collect();
        let any = hops().next().is_some()
            || exchanges().next().is_some()
            || !web_identities.is_empty()
            || sources().any(by_tls);
        Self { any: any || !without_region.is_empty(), without_region }
    }
}

impl Resolver<'_> {
    pub(super) fn sts_defaults(&mut self, document: &Document) -> Defaults {
        let at = ROOT.push_key("sts");
        let nothing = StsDocument::default();
        let given = document.sts.as_ref().unwrap_or(&nothing);
        let askers = Askers::of(document, self.environment);
        // A region in the file has `check` ask whose a profile's credentials are.
        let asked = askers.any || given.region.is_some();
        let region = self.value(
            (given.region.as_deref(), at.push_key("region")),
            &["AWS_REGION", "AWS_DEFAULT_REGION"],
            asked,
            Region::from_str,
        );
        let endpoint = self.value(
            (given.endpoint.as_deref(), at.push_key("endpoint")),
            &["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"],
            asked,
            UpstreamUrl::from_str,
        );
        let ca_cert = self.value(
            (given.ca_cert.as_deref(), at.push_key("ca_cert")),
            &["AWS_CA_BUNDLE"],
            asked,
            values::absolute_path,
        );
        self.files.extend(ca_cert.clone().map(|(path, place)| (place, path)));
        let fips = self.flag(given.fips, "AWS_USE_FIPS_ENDPOINT", asked);
        let dual_stack = self.flag(given.dual_stack, "AWS_USE_DUALSTACK_ENDPOINT", asked);
        let allow_insecure = given.allow_insecure.unwrap_or(false);
        if let Some((endpoint, place)) = &endpoint {
            self.check_private(endpoint.is_private(), "sts", allow_insecure, place.clone());
            self.check_alone(true, fips, dual_stack, place.clone());
        }
        let defaults = Defaults {
            region: region.map(|(region, _)| region),
            endpoint: endpoint.map(|(endpoint, _)| endpoint),
            allow_insecure,
            fips,
            dual_stack,
            ca_cert: ca_cert.map(|(path, _)| path),
        };
        if defaults.region.is_none() {
            self.missing_region(&askers);
        }
        defaults
    }

    fn missing_region(&mut self, askers: &Askers) {
        let sts = ROOT.push_key("sts");
        let at = sts.push_key("region");
        let variables = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        if self.mistakes.touch(at) || variables.iter().any(|name| self.mistakes.blame(name)) {
            return;
        }
        for what in &askers.without_region {
            self.mistakes.add(at, *what);
        }
    }

    /// The STS that a hop or an exchange asks. None where something is wrong.
    pub(super) fn sts_of(
        &mut self,
        given: &Overrides<'_>,
        at: ValuePointerRef<'_>,
        defaults: &Defaults,
    ) -> Option<Sts> {
        let region = match given.region {
            Some(text) => self.read(text, at.push_key("region"), Region::from_str),
            None => defaults.region.clone(),
        };
        let own = given.endpoint;
        let own = own.map(|text| self.read(text, at.push_key("endpoint"), UpstreamUrl::from_str));
        if let Some(Some(endpoint)) = &own {
            let place = at.push_key("endpoint").into();
            self.check_private(endpoint.is_private(), "sts", defaults.allow_insecure, place);
        }
        let fips = given.fips.unwrap_or(defaults.fips);
        let dual_stack = given.dual_stack.unwrap_or(defaults.dual_stack);
        let overridden = [
            (given.endpoint.is_some(), "endpoint"),
            (given.fips == Some(true), "fips"),
            (given.dual_stack == Some(true), "dual_stack"),
        ];
        // Where the hop says nothing of its own, the defaults were checked already.
        if let Some((_, key)) = overridden.into_iter().find(|(given, _)| *given) {
            let endpoint = own.as_ref().unwrap_or(&defaults.endpoint).is_some();
            self.check_alone(endpoint, fips, dual_stack, at.push_key(key).into());
        }
        let ca_cert = match given.ca_cert {
            Some(text) => Some(self.file(text, at.push_key("ca_cert"))?),
            None => defaults.ca_cert.clone(),
        };
        Some(Sts {
            region: region?,
            endpoint: own.unwrap_or_else(|| defaults.endpoint.clone()),
            fips,
            dual_stack,
            ca_cert,
        })
    }

    /// The SDK refuses an endpoint together with a variant of the region's own.
    fn check_alone(&mut self, endpoint: bool, fips: bool, dual_stack: bool, place: Place) {
        if endpoint && (fips || dual_stack) {
            let what = "an endpoint and fips or dual_stack exclude each other: these choose among AWS's own \
                        endpoints; keep one";
            self.mistakes.add(place, what);
        }
    }
}
