//! The login by AWS's own identity: a GetCallerIdentity that the relay signs and Vault sends.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_types::base64;
use hyper::Uri;
use vaultrs::api::auth::aws::requests::IamLoginRequest;

use super::super::errors::fail;
use crate::clock::Timestamp;
use crate::config::values::{Region, UpstreamUrl};
use crate::credential::Credential;
use crate::failure::{Cause, Failure};

const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// Where the signed request is meant to go.
pub(super) struct Target<'a> {
    pub(super) region: &'a Region,
    pub(super) endpoint: Option<&'a UpstreamUrl>,
    pub(super) server_id: Option<&'a str>,
}

impl Target<'_> {
    fn url(&self) -> String {
        let region = self.region.as_str();
        match (self.endpoint, self.region.partition()) {
            (Some(endpoint), _) => format!("{}/", endpoint.as_str().trim_end_matches('/')),
            (None, partition) => format!("https://sts.{region}.{}/", partition.domain()),
        }
    }
}

/// The login: what Vault needs to ask STS who the relay is.
///
/// # Errors
/// If it cannot be signed, which is a fault of the relay's own.
pub(super) fn request(
    mount: &str,
    role: &str,
    target: &Target<'_>,
    credential: &Credential,
    now: Timestamp,
) -> Result<IamLoginRequest, Failure> {
    let url = target.url();
    let headers = signed(&url, target, credential, now)
        .ok_or_else(|| fail(Cause::Internal, "GetCallerIdentity could not be signed"))?;
    // One value each, in a list: Vault's own form.
    let headers: BTreeMap<_, _> =
        headers.into_iter().map(|(name, value)| (name, [value])).collect();
    let headers = serde_json::json!(headers).to_string();
    Ok(IamLoginRequest {
        mount: mount.to_owned(),
        role: Some(role.to_owned()),
        iam_http_request_method: "POST".to_owned(),
        iam_request_url: base64::encode(url),
        iam_request_body: base64::encode(BODY),
        iam_request_headers: base64::encode(headers),
    })
}

/// The headers of the request, all of them signed. Vault lets eight through to STS.
fn signed(
    url: &str,
    target: &Target<'_>,
    credential: &Credential,
    now: Timestamp,
) -> Option<Vec<(String, String)>> {
    let uri: Uri = url.parse().ok()?;
    let mut headers = vec![
        ("Content-Type".to_owned(), FORM.to_owned()),
        ("Host".to_owned(), uri.authority()?.to_string()),
    ];
    if let Some(server_id) = target.server_id {
        headers.push(("X-Vault-AWS-IAM-Server-ID".to_owned(), server_id.to_owned()));
    }
    let token = credential.session.token().map(|token| token.expose().to_owned());
    let identity = Credentials::new(
        credential.access_key_id.as_str(),
        credential.secret_access_key.expose(),
        token,
        None,
        "vault.auth.aws",
    )
    .into();
    let seconds = u64::try_from(now.as_secs()).ok()?;
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(target.region.as_str())
        .name("sts")
        .time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        .settings(SigningSettings::default())
        .build()
        .ok()?
        .into();
    let signable = SignableRequest::new(
        "POST",
        url,
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())),
        SignableBody::Bytes(BODY.as_bytes()),
    )
    .ok()?;
    let (instructions, _) = sign(signable, &parameters).ok()?.into_parts();
    let canonical = |name: &str| match name {
        "authorization" => "Authorization".to_owned(),
        "x-amz-date" => "X-Amz-Date".to_owned(),
        "x-amz-security-token" => "X-Amz-Security-Token".to_owned(),
        other => other.to_owned(),
    };
    headers.extend(instructions.headers().map(|(name, value)| (canonical(name), value.to_owned())));
    Some(headers)
}
