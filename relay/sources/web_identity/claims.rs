//! What a JWT says of itself. None of it is secret: CloudTrail shows it. Its signature is.

use std::fmt;

use aws_smithy_types::base64;
use serde::Deserialize;

use crate::clock::Timestamp;
use crate::credential::Secret;

/// The claims that IAM goes by. Nobody has checked the signature.
#[derive(Debug, Deserialize)]
pub struct Claims {
    /// The issuer.
    #[serde(default)]
    iss: Option<String>,
    /// The subject.
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    aud: Audiences,
    /// When it ends, in seconds since 1970.
    #[serde(default)]
    exp: Option<f64>,
}

/// One is written as a text, several as a list (RFC 7519).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

impl Default for Audiences {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Claims {
    /// Those of a JWT; nothing if it is none.
    pub fn read(token: &Secret) -> Option<Self> {
        let mut parts = token.expose().split('.');
        let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none() && !signature.is_empty();
        object::<serde::de::IgnoredAny>(header).filter(|_| whole)?;
        object(payload)
    }

    /// Who made it.
    pub fn issuer(&self) -> Option<&str> {
        self.iss.as_deref()
    }

    /// Who it is for.
    pub fn subject(&self) -> Option<&str> {
        self.sub.as_deref()
    }

    /// Who may be shown it.
    pub fn audiences(&self) -> &[String] {
        match &self.aud {
            Audiences::One(one) => std::slice::from_ref(one),
            Audiences::Several(several) => several,
        }
    }

    /// When it ends.
    pub fn end(&self) -> Option<Timestamp> {
        // Whole seconds are enough; a cast takes what is beyond the bounds to them.
        #[expect(clippy::cast_possible_truncation, reason = "as above")]
        self.exp.map(|seconds| Timestamp::from_secs(seconds as i64))
    }
}

/// A JSON object in base64url.
fn object<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    let standard = part.trim_end_matches('=').replace('-', "+").replace('_', "/");
    let padded = format!("{standard:=<width$}", width = standard.len().next_multiple_of(4));
    let json = base64::decode(padded).ok()?;
    // A list of the right texts would do for serde.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(&json).ok()
}

impl fmt::Display for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuer = self.issuer().unwrap_or("none");
        let subject = self.subject().unwrap_or("none");
        write!(f, "of issuer {issuer}, for subject {subject}, audience ")?;
        match self.audiences() {
            [] => f.write_str("none")?,
            several => f.write_str(&several.join(" "))?,
        }
        match self.end() {
            Some(end) => write!(f, ", with its end at {end}"),
            None => f.write_str(", without an end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use ::base64::Engine;
    use ::base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn jwt(payload: &str) -> Secret {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        Secret::new(format!("{}.{}.c2lnbmF0dXJl", part(r#"{"alg":"RS256"}"#), part(payload)))
    }

    #[test]
    fn the_claims_of_a_service_account_are_read() {
        let claims = jwt(
            r#"{"iss":"https://oidc.test/id/A","sub":"system:serviceaccount:shop:payments~ÿ?","aud":["sts.amazonaws.com","x"],"exp":1764044830.5,"more":{}}"#,
        );
        let claims = Claims::read(&claims).unwrap();
        assert_eq!(
            claims.to_string(),
            "of issuer https://oidc.test/id/A, for subject system:serviceaccount:shop:payments~ÿ?, \
             audience sts.amazonaws.com x, with its end at 2025-11-25T04:27:10Z"
        );
        let bare = Claims::read(&jwt(r#"{"aud":"one"}"#)).unwrap();
        assert_eq!(bare.audiences(), ["one"]);
        assert_eq!(
            bare.to_string(),
            "of issuer none, for subject none, audience one, without an end"
        );
    }

    #[test]
    fn what_is_no_jwt_has_no_claims() {
        let whole = jwt("{}").expose().to_owned();
        let (signed, _) = whole.rsplit_once('.').unwrap();
        for text in [
            String::new(),
            "hvs.CAESIJ".to_owned(),
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            "a.b.c".to_owned(),
            signed.to_owned(),
            format!("{signed}."),
            format!("{whole}.more"),
            jwt("[]").expose().to_owned(),
            jwt(r#"{"iss":7}"#).expose().to_owned(),
            whole[1..].to_owned(),
        ] {
            assert!(Claims::read(&Secret::new(text.clone())).is_none(), "{text}");
        }
    }
}
