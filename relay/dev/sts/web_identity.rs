//! AssumeRoleWithWebIdentity: a session of a role for a JWT, of which the issuer, the audience and the
//! end are looked at, and not the signature.

use super::Inner;
use super::answer::{Answer, Refusal, Shown};
use super::keys::{RoleSession, Tags};
use super::ledger::Outcome;
use super::query::Form;
use super::request::AssumeRoleWithWebIdentity;
use crate::clock::Timestamp;
use crate::sources::web_identity::Claims;

/// The audience that the OIDC provider of every account here has.
const AUDIENCE: &str = "sts.amazonaws.com";

impl Inner {
    pub(super) fn assume_role_with_web_identity(
        &self,
        form: &Form,
    ) -> Result<(Answer, Outcome), Refusal> {
        let request = AssumeRoleWithWebIdentity::read(form)?;
        let claims = Claims::read(&request.token)
            .ok_or_else(|| invalid("The ID Token provided is not a valid JWT."))?;
        let shown = check(&claims, self.clock.now().wall)?;
        if self.settings.external_ids.contains_key(&request.role) {
            return Err(Refusal::forbidden(
                "AccessDenied",
                "Not authorized to perform sts:AssumeRoleWithWebIdentity",
            ));
        }
        let session = RoleSession {
            role: request.role,
            name: request.session_name,
            transitive_tags: Tags::new(),
            source_identity: None,
        };
        let (granted, role, outcome) =
            self.give(session, request.duration, Tags::new(), request.packed)?;
        Ok((Answer::WebIdentity(granted, role, shown), outcome))
    }
}

/// What the OIDC provider would look at, in the order and the words of the real STS.
fn check(claims: &Claims, now: Timestamp) -> Result<Shown, Refusal> {
    let issuer = claims.issuer().filter(|issuer| issuer.starts_with("https://"));
    let issuer = issuer.ok_or_else(|| {
        let issuer = claims.issuer().unwrap_or_default();
        invalid(&format!("No OpenIDConnect provider found in your account for {issuer}"))
    })?;
    let end = claims.end().ok_or_else(|| invalid("Missing a required claim: exp"))?;
    let subject = claims.subject().ok_or_else(|| invalid("Missing a required claim: sub"))?;
    if end <= now {
        let message = format!(
            "Token expired: current date/time {} must be before the expiration date/time {}",
            now.as_secs(),
            end.as_secs()
        );
        return Err(Refusal::bad_request("ExpiredTokenException", message));
    }
    if !claims.audiences().iter().any(|audience| audience == AUDIENCE) {
        return Err(invalid("Incorrect token audience"));
    }
    Ok(Shown {
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        audience: AUDIENCE.to_owned(),
    })
}

fn invalid(message: &str) -> Refusal {
    Refusal::bad_request("InvalidIdentityToken", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_looked_at_as_the_real_sts_does() {
        let now = Timestamp::from_secs(1_000);
        for (claims, code, says) in [
            (r#"{"iss":"https://a","sub":"s","aud":"sts.amazonaws.com","exp":1001}"#, "", ""),
            (
                r#"{"sub":"s","aud":"sts.amazonaws.com","exp":1001}"#,
                "InvalidIdentityToken",
                "No OpenIDConnect",
            ),
            (r#"{"iss":"http://a","sub":"s","exp":1001}"#, "InvalidIdentityToken", "for http://a"),
            (r#"{"iss":"https://a","sub":"s","aud":"x"}"#, "InvalidIdentityToken", "exp"),
            (r#"{"iss":"https://a","aud":"x","exp":1001}"#, "InvalidIdentityToken", "sub"),
            (
                r#"{"iss":"https://a","sub":"s","aud":"x","exp":1000}"#,
                "ExpiredTokenException",
                "Token expired",
            ),
            (
                r#"{"iss":"https://a","sub":"s","aud":["x"],"exp":1001}"#,
                "InvalidIdentityToken",
                "audience",
            ),
        ] {
            let claims = serde_json::from_str(claims).unwrap();
            let found = check(&claims, now).err();
            let (found_code, message) =
                found.map_or(("", String::new()), |refusal| (refusal.code, refusal.message));
            assert_eq!(found_code, code, "{claims:?}");
            assert!(message.contains(says), "{message}");
        }
    }
}
