//! What every STS must do, as data: `calls.json` is run with AWS's own client, `signatures.json`
//! with requests that are signed and broken by hand. They hold for the embedded upstream and, but
//! for those that say why not, for moto.

pub(crate) mod calls;
pub(crate) mod signatures;

use serde::Deserialize;

/// Where an STS is and who lives in it; the document that `tests/e2e/moto_server.py` prints.
#[derive(Clone, Deserialize)]
pub(crate) struct World {
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) hub_account: String,
    pub(crate) spoke_account: String,
    pub(crate) base: Keys,
    pub(crate) hub_role_arn: String,
    pub(crate) spoke_role_arn: String,
    pub(crate) external_id: String,
}

/// What a request is signed with.
#[derive(Clone, Deserialize)]
pub(crate) struct Keys {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: Option<String>,
}

impl World {
    /// Puts the world's own names in the place of `{hub}`, `{spoke}`, `{external_id}`…
    fn fill(&self, text: &str) -> String {
        [
            ("{hub}", &self.hub_role_arn),
            ("{spoke}", &self.spoke_role_arn),
            ("{external_id}", &self.external_id),
            ("{hub_account}", &self.hub_account),
            ("{spoke_account}", &self.spoke_account),
        ]
        .into_iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

/// Which cases are run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// All of them.
    Embedded,
    /// Those without a reason why moto cannot pass.
    #[allow(dead_code, reason = "each of the two test programs is one upstream")]
    Moto,
}

impl Upstream {
    fn runs(self, not_on_moto: Option<&String>) -> bool {
        self == Self::Embedded || not_on_moto.is_none()
    }
}

/// An error answer; the message need only hold the text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedError {
    status: u16,
    code: String,
    #[serde(default)]
    message: String,
}

impl ExpectedError {
    fn holds(&self, answer: &Answer) -> Result<(), String> {
        let code = answer.element("Code");
        let told = answer.element("Message").contains(&self.message);
        if (answer.status, code) == (self.status, self.code.as_str()) && told {
            Ok(())
        } else {
            Err(format!(
                "expected {} {} ({}), got {} {}",
                self.status, self.code, self.message, answer.status, answer.body
            ))
        }
    }
}

/// An answer's status and body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    /// The text of the first XML element of this name.
    pub(crate) fn element(&self, name: &str) -> &str {
        let inside = self.body.split_once(&format!("<{name}>"));
        let text = inside.and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
        text.map_or("", |(text, _)| text)
    }
}
