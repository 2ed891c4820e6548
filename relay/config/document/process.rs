//! What is about the process itself.

use deserr::Deserr;
use schemars::JsonSchema;

use crate::config::Sandbox;
use crate::config::mistakes::Mistakes;

/// Whether the relay confines itself.
#[derive(Clone, Copy, Debug, Deserr, JsonSchema)]
#[deserr(error = Mistakes)]
#[schemars(rename_all = "kebab-case")]
pub enum SandboxDocument {
    /// As far as the kernel can; what it cannot is a warning.
    #[deserr(rename = "best-effort")]
    BestEffort,
    /// Whole, or the relay does not start.
    #[deserr(rename = "required")]
    Required,
    /// Not at all.
    #[deserr(rename = "off")]
    Off,
}

impl From<SandboxDocument> for Sandbox {
    fn from(given: SandboxDocument) -> Self {
        match given {
            SandboxDocument::BestEffort => Self::BestEffort,
            SandboxDocument::Required => Self::Required,
            SandboxDocument::Off => Self::Off,
        }
    }
}
