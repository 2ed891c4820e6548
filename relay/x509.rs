//! X.509 as far as it is needed: certificates, and the PEM that they and their keys come in.

mod algorithm;
mod certificate;
pub(crate) mod der;
pub(crate) mod pem;

pub(crate) use algorithm::Algorithm;
pub(crate) use certificate::Certificate;
