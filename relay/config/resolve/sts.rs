//! Which STS is asked: what the file says, else what the SDKs' own variables say.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use deserr::ValuePointerRef;

use super::{ROOT, Resolver};
use crate::config::Sts;
use crate::config::document::{Document, HopDocument, StsDocument};
use crate::config::mistakes::Place;
use crate::config::values::{self, Region, StsEndpoint};

/// What every hop asks, unless it says otherwise.
#[derive(Debug)]
pub(super) struct Defaults {
    region: Option<Region>,
    endpoint: Option<StsEndpoint>,
    allow_insecure: bool,
    fips: bool,
    dual_stack: bool,
    ca_cert: Option<PathBuf>,
}

impl Defaults {
    /// Them alone, where they are whole.
    pub(super) fn everywhere(self) -> Option<Sts> {
        Some(Sts {
            region: self.region?,
            endpoint: self.endpoint,
            fips: self.fips,
            dual_stack: self.dual_stack,
            ca_cert: self.ca_cert,
        })
    }
}

impl Resolver<'_> {
    pub(super) fn sts_defaults(&mut self, document: &Document) -> Defaults {
        let at = ROOT.push_key("sts");
        let nothing = StsDocument::default();
        let given = document.sts.as_ref().unwrap_or(&nothing);
        let hops = || {
            let profiles = document.profiles.iter().flat_map(|named| named.0.values());
            profiles.flat_map(|profile| profile.chain.iter().flatten().flatten())
        };
        let asked = hops().next().is_some();
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
            StsEndpoint::from_str,
        );
        let ca_cert = self.value(
            (given.ca_cert.as_deref(), at.push_key("ca_cert")),
            &["AWS_CA_BUNDLE"],
            asked,
            values::absolute_path,
        );
        let fips = self.flag(given.fips, "AWS_USE_FIPS_ENDPOINT", asked);
        let dual_stack = self.flag(given.dual_stack, "AWS_USE_DUALSTACK_ENDPOINT", asked);
        let allow_insecure = given.allow_insecure.unwrap_or(false);
        if let Some((endpoint, place)) = &endpoint {
            self.check_private(endpoint, allow_insecure, place.clone());
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
        if defaults.region.is_none() && hops().any(|hop| hop.region.is_none()) {
            self.missing_region();
        }
        defaults
    }

    fn missing_region(&mut self) {
        let variables = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        if !variables.iter().any(|name| self.mistakes.blame(name)) {
            self.missing(
                ROOT.push_key("sts").push_key("region"),
                "missing; a hop asks the STS of a region: set sts.region, the region of the hop, or AWS_REGION",
            );
        }
    }

    /// The STS that a hop asks. None where something is wrong.
    pub(super) fn sts_of(
        &mut self,
        given: &HopDocument,
        at: ValuePointerRef<'_>,
        defaults: &Defaults,
    ) -> Option<Sts> {
        let region = match &given.region {
            Some(text) => self.read(text, at.push_key("region"), Region::from_str),
            None => defaults.region.clone(),
        };
        let own = given.endpoint.as_deref();
        let own = own.map(|text| self.read(text, at.push_key("endpoint"), StsEndpoint::from_str));
        if let Some(Some(endpoint)) = &own {
            self.check_private(endpoint, defaults.allow_insecure, at.push_key("endpoint").into());
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
        let ca_cert = match given.ca_cert.as_deref() {
            Some(text) => Some(self.read(text, at.push_key("ca_cert"), values::absolute_path)?),
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

    /// What the file gives, else the first of the variables that is set, where hops ask for it.
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

    fn check_private(&mut self, endpoint: &StsEndpoint, allow_insecure: bool, place: Place) {
        if endpoint.is_private() {
            return;
        }
        if allow_insecure {
            self.warnings.add(
                place,
                "plain http on another machine: anybody between can read the credentials",
            );
        } else {
            self.mistakes.add(
                place,
                "plain http on another machine, which would send credentials in the clear; write https, \
                 or for a test set sts.allow_insecure to true",
            );
        }
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
