//! A role for a certificate: IAM Roles Anywhere's CreateSession, signed with the certificate's key.

mod errors;
mod identity;
mod key;
mod signing;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use serde::{Deserialize, Serialize};

use super::{Fetch, Freshness, Source, headers};
use crate::clock::{Clock, Moment, Timestamp};
use crate::config::source::RolesAnywhere as Settings;
use crate::credential::{
    AccessKeyId, Credential, Lifetime, Principal, Propagation, Secret, Session, Validity,
};
use crate::failure::{Cause, Failure, Stage};
use crate::files::Aside;
use crate::metrics::ProfileMetrics;
use crate::transport::{Security, TlsError, Transport, Transports};
use crate::x509::Certificate;
use identity::Identity;

const KIND: &str = "roles_anywhere";

/// CreateSession assumes the role on its way, so it may take a little longer than STS does.
const LIMIT: Duration = Duration::from_secs(10);

/// A life that is shorter by more than this than what was asked for was cut by somebody.
const CUT: Duration = Duration::from_secs(60);

/// A role for a certificate: IAM Roles Anywhere.
pub struct RolesAnywhere {
    settings: Settings,
    aside: Aside,
    /// `https://rolesanywhere.<region>.amazonaws.com`, or what is set in its place.
    endpoint: String,
    transport: Transport,
    clock: Clock,
    metrics: ProfileMetrics,
    /// The serial number of a certificate of which was told that its renewal is late.
    late_told: Option<String>,
    /// Whether a life that was cut short was told already.
    cut_told: bool,
}

/// What is asked for, beside the query.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    duration_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_session_name: Option<&'a str>,
}

/// What is answered, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    credential_set: Vec<Issued>,
}

#[derive(Deserialize)]
struct Issued {
    credentials: Keys,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Secret,
    /// RFC 3339.
    expiration: String,
}

impl RolesAnywhere {
    /// One that will read the certificate and its key at each call.
    ///
    /// # Errors
    /// If the CA file cannot be used.
    pub fn new(
        settings: &Settings,
        transports: &Transports,
        clock: Clock,
        metrics: ProfileMetrics,
    ) -> Result<Self, TlsError> {
        let security = Security::of(settings.endpoint.as_ref(), settings.ca_cert.as_ref());
        Ok(Self {
            endpoint: endpoint(settings),
            settings: settings.clone(),
            aside: Aside::default(),
            transport: transports.get(security)?,
            clock,
            metrics,
            late_told: None,
            cut_told: false,
        })
    }

    async fn create_session(&mut self) -> Result<Credential, Failure> {
        let started = self.clock.now();
        let identity =
            Identity::read(&self.settings.certificate, &mut self.aside, started.wall).await?;
        self.tell_late_renewal(&identity.certificate, started.wall);
        let request = self
            .request(&identity, started.wall)
            .ok_or_else(|| fail(Cause::Internal, "the request could not be made and signed"))?;
        // The key has done its work.
        drop(identity);
        let sent = self.transport.send(request, LIMIT).await;
        let result = match sent {
            Err(error) => Err(errors::unsent(&error, &self.endpoint)),
            Ok(answer) if answer.status().is_success() => self.read(&answer, started),
            Ok(answer) => Err(errors::refused(&answer, &self.endpoint)),
        };
        let label = result.as_ref().map_or_else(|failure| failure.cause.as_str(), |_| "success");
        self.metrics.upstream_call("rolesanywhere", "CreateSession", label);
        result
    }

    fn request(&self, identity: &Identity, now: Timestamp) -> Option<Request<Full<Bytes>>> {
        let settings = &self.settings;
        let query = signing::query(&[
            ("profileArn", settings.profile_arn.as_str()),
            ("roleArn", settings.role_arn.as_str()),
            ("trustAnchorArn", settings.trust_anchor_arn.as_str()),
        ]);
        let uri: Uri = format!("{}/sessions?{query}", self.endpoint).parse().ok()?;
        let body = serde_json::to_vec(&Asked {
            duration_seconds: settings.duration.as_secs(),
            role_session_name: settings.session_name.as_ref().map(|name| name.as_str()),
        })
        .ok()?;
        let unsigned =
            signing::Request { uri: &uri, region: settings.region.as_str(), body: &body };
        let mut signed = unsigned.sign(identity, now)?;
        signed.insert(USER_AGENT, HeaderValue::from_static(headers::AGENT));
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = signed;
        *request.uri_mut() = uri;
        Some(request)
    }

    fn read(&mut self, answer: &Response<Bytes>, started: Moment) -> Result<Credential, Failure> {
        let garbage = |what: &str| {
            fail(Cause::Transient, format!("Roles Anywhere's answer {what}")).advised(
                "endpoint",
                "look what answers at the endpoint: it is not what AWS answers",
            )
        };
        // serde_json quotes what it did not expect, which may be a key: only the place is told.
        let answer: Answer = serde_json::from_slice(answer.body()).map_err(|error| {
            garbage(&format!("cannot be read (line {} column {})", error.line(), error.column()))
        })?;
        let keys = answer.credential_set.into_iter().next();
        let keys = keys.ok_or_else(|| garbage("has no credentials"))?.credentials;
        let access_key_id: AccessKeyId = keys.access_key_id.parse().map_err(|error| {
            garbage(&format!("has an accessKeyId that cannot be right: {error}"))
        })?;
        if keys.secret_access_key.is_empty() || keys.session_token.is_empty() {
            return Err(garbage("has an empty key or token"));
        }
        let expiration = Timestamp::parse_rfc3339(&keys.expiration)
            .ok_or_else(|| garbage("has an expiration that is no time"))?;
        if expiration <= started.wall {
            return Err(fail(
                Cause::Transient,
                format!("Roles Anywhere's answer has an expiration in the past: {expiration}, and it is {} here", started.wall),
            )
            .advised("clock", "set this machine's clock"));
        }
        self.tell_cut(expiration.saturating_since(started.wall));
        let life = Lifetime::from_request(started, self.settings.duration, Some(expiration));
        Ok(Credential {
            access_key_id,
            secret_access_key: keys.secret_access_key,
            session: Session::Token(keys.session_token),
            validity: Validity::Until(life),
            principal: Principal::Role(self.settings.role_arn.clone()),
            propagation: Propagation::Done,
        })
    }

    fn tell_late_renewal(&mut self, certificate: &Certificate, now: Timestamp) {
        let told = self.late_told.as_ref() == Some(&certificate.serial);
        if !told && certificate.renewal_is_late(now) {
            self.late_told = Some(certificate.serial.clone());
            tracing::warn!(
                file = %self.settings.certificate.cert.display(),
                serial = %certificate.serial,
                expires = %certificate.not_after,
                left_s = certificate.left(now).as_secs(),
                "less than a tenth of the certificate's life is left, and it was not renewed: look at whoever renews it"
            );
        }
    }

    fn tell_cut(&mut self, granted: Duration) {
        let asked = self.settings.duration;
        if granted + CUT < asked && !self.cut_told {
            self.cut_told = true;
            tracing::warn!(
                asked_s = asked.as_secs(),
                granted_s = granted.as_secs(),
                "Roles Anywhere grants a shorter life than roles_anywhere.duration asks for: its profile or the role sets the longest one; else this machine's clock is wrong"
            );
        }
    }
}

impl Source for RolesAnywhere {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn fetch(&mut self, _: Freshness) -> Fetch<'_> {
        Box::pin(self.create_session())
    }
}

/// Where the region is asked, without a slash at the end.
fn endpoint(settings: &Settings) -> String {
    let region = settings.region.as_str();
    match (&settings.endpoint, settings.region.partition()) {
        (Some(endpoint), _) => endpoint.as_str().trim_end_matches('/').to_owned(),
        (None, partition) => format!("https://rolesanywhere.{region}.{}", partition.domain()),
    }
}

fn fail(cause: Cause, reason: impl Into<String>) -> Failure {
    Failure::new(cause, Stage::Base(KIND), reason)
}

#[cfg(test)]
mod tests;
