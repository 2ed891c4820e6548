//! Sources that give a role's session for what the pod or the host is: a web identity, a certificate.

use std::str::FromStr;
use std::time::Duration;

use deserr::ValuePointerRef;

use super::hop::DEFAULT_DURATION;
use super::source::{ROLE, TOKEN_FILE};
use super::{Resolver, optional, sts};
use crate::arn::RoleArn;
use crate::config::document::{RolesAnywhereDocument, WebIdentityDocument};
use crate::config::mistakes::Place;
use crate::config::source::{RolesAnywhere, WebIdentity};
use crate::config::template::Pod;
use crate::config::values::{self, RolesAnywhereArn, SessionName, UpstreamUrl};
use crate::config::{ClientCertificate, Source};

const ROLE_SESSION: &str = "AWS_ROLE_SESSION_NAME";

impl Resolver<'_> {
    pub(super) fn web_identity(
        &mut self,
        given: &WebIdentityDocument,
        at: ValuePointerRef<'_>,
        pod: &Pod<'_>,
        sts: &sts::Defaults,
    ) -> Option<Source> {
        let role_at = at.push_key("role_arn");
        let role = given.role_arn.as_deref();
        let what = "write arn:aws:iam::<account>:role/<name>";
        let role_arn = self.needed_or_variable(role, role_at, ROLE, what, RoleArn::from_str);
        let file_at = at.push_key("token_file");
        let file = given.token_file.as_deref();
        let what = "the path of the file with the token of the OIDC issuer";
        let token_file =
            self.needed_or_variable(file, file_at, TOKEN_FILE, what, values::absolute_path);
        let token_file = token_file.map(|(path, place)| {
            self.files.push((place, path.clone()));
            path
        });
        let session_name =
            self.session_name_or(given.session_name.as_deref(), at.push_key("session_name"), pod);
        let duration = self.source_duration(given.duration.as_deref(), at, "STS");
        let policy = given.policy.as_ref();
        let policy = policy.map(|policy| self.policy(policy, at.push_key("policy")));
        let policy_arns = self.policy_arns(given.policy_arns.as_ref(), at.push_key("policy_arns"));
        let sts = self.sts_of(&given.into(), at, sts)?;
        let (role_arn, place) = role_arn?;
        let region = sts.region.partition();
        self.check_partition(place, role_arn.partition(), region);
        self.check_policies(&policy_arns, at.push_key("policy_arns"), region);
        Some(Source::WebIdentity(Box::new(WebIdentity {
            role_arn,
            token_file: token_file?,
            session_name: session_name?,
            duration,
            policy: optional(policy)?,
            policy_arns,
            sts,
        })))
    }

    /// The name of a web identity's session: a template, else the SDKs' variable, else what is
    /// known of the pod.
    fn session_name_or(
        &mut self,
        given: Option<&str>,
        at: ValuePointerRef<'_>,
        pod: &Pod<'_>,
    ) -> Option<SessionName> {
        match (given, self.environment.get(ROLE_SESSION)) {
            (None, Some(text)) => {
                self.read(text, Place::variable(ROLE_SESSION), SessionName::from_str)
            }
            (given, _) => self.session_name(given, at, pod),
        }
    }

    fn source_duration(
        &mut self,
        given: Option<&str>,
        at: ValuePointerRef<'_>,
        upstream: &str,
    ) -> Duration {
        let at = at.push_key("duration");
        let read = |text: &str| values::lifetime(text, values::LONGEST);
        let Some(duration) = given.and_then(|text| self.read(text, at, read)) else {
            return DEFAULT_DURATION;
        };
        self.warn_of_short(duration, at, upstream);
        duration
    }

    pub(super) fn roles_anywhere(
        &mut self,
        given: &RolesAnywhereDocument,
        at: ValuePointerRef<'_>,
        pod: &Pod<'_>,
        sts: &sts::Defaults,
    ) -> Option<Source> {
        let anchor_at = at.push_key("trust_anchor_arn");
        let anchor = given.trust_anchor_arn.as_deref();
        let trust_anchor_arn = self.needed(anchor, anchor_at, "the trust anchor", |text| {
            RolesAnywhereArn::read(text, "trust-anchor")
        });
        let profile_at = at.push_key("profile_arn");
        let profile = given.profile_arn.as_deref();
        let profile_arn = self.needed(profile, profile_at, "the Roles Anywhere profile", |text| {
            RolesAnywhereArn::read(text, "profile")
        });
        let role_at = at.push_key("role_arn");
        let role = given.role_arn.as_deref();
        let what = "write arn:aws:iam::<account>:role/<name>";
        let role_arn = self.needed(role, role_at, what, RoleArn::from_str);
        let certificate = given.certificate.as_deref();
        let what = "the path of the file with the certificate";
        let cert = self.needed_file(certificate, at.push_key("certificate"), what);
        let key = given.private_key.as_deref();
        let what = "the path of the file with the certificate's key";
        let key = self.needed_file(key, at.push_key("private_key"), what);
        let session_name = given.session_name.as_deref();
        let session_name = session_name
            .map(|text| self.session_name(Some(text), at.push_key("session_name"), pod));
        let duration = self.source_duration(given.duration.as_deref(), at, "Roles Anywhere");
        let region = given.region.as_deref();
        let region =
            region.map(|text| self.read(text, at.push_key("region"), values::Region::from_str));
        let endpoint = self.anywhere_endpoint(given.endpoint.as_deref(), at.push_key("endpoint"));
        let ca_cert = given.ca_cert.as_deref();
        let ca_cert = ca_cert.map(|text| self.file(text, at.push_key("ca_cert")));
        let (trust_anchor_arn, role_arn, profile_arn) =
            (trust_anchor_arn?, role_arn?, profile_arn?);
        let region = optional(region)?.unwrap_or_else(|| trust_anchor_arn.region().clone());
        let partition = region.partition();
        self.check_partition(anchor_at, trust_anchor_arn.partition(), partition);
        self.check_partition(profile_at, profile_arn.partition(), partition);
        self.check_partition(role_at, role_arn.partition(), partition);
        Some(Source::RolesAnywhere(Box::new(RolesAnywhere {
            trust_anchor_arn,
            profile_arn,
            role_arn,
            certificate: ClientCertificate { cert: cert?, key: key? },
            session_name: optional(session_name)?,
            duration,
            region,
            endpoint: endpoint?,
            ca_cert: optional(ca_cert)?.or_else(|| sts.ca_cert().cloned()),
        })))
    }

    fn anywhere_endpoint(
        &mut self,
        given: Option<&str>,
        at: ValuePointerRef<'_>,
    ) -> Option<Option<UpstreamUrl>> {
        let Some(text) = given else { return Some(None) };
        let endpoint = self.read(text, at, UpstreamUrl::from_str)?;
        if !endpoint.is_private() {
            let what = "plain http on another machine, where anybody between could read the credentials; \
                        write https";
            self.mistakes.add(at, what);
        }
        Some(Some(endpoint))
    }
}
