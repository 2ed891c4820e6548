//! What the Secret holds: read with distrust, since anybody who may write it may have done so, and
//! changed as was decided.

use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use zeroize::Zeroizing;

use super::decide::{Authority, Edit, Id, Kept, Leaf, Span};
use super::issue::{self, SigningKey};
use super::pair::{self, CERTIFICATE, KEY, Key, Pair};
use crate::clock::Timestamp;
use crate::x509::pem;

/// The Secret's keys. The first three are what every such Secret has.
pub(super) const SERVING: &str = "tls.crt";
pub(super) const SERVING_KEY: &str = "tls.key";
pub(super) const AUTHORITIES: &str = "ca.crt";
pub(super) const SIGNING_KEY: &str = "ca.key";
pub(super) const PREVIOUS: &str = "previous.crt";

/// What certificates are for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The Service's DNS names; the API server asks by the first.
    pub(super) names: Vec<String>,
    /// Of a serving certificate.
    pub(super) lifetime: Duration,
}

impl Wanted {
    pub(super) fn of(service: &str, namespace: &str, lifetime: Duration) -> Self {
        let names = ["svc", "svc.cluster.local"].map(|end| format!("{service}.{namespace}.{end}"));
        let names = names.into_iter().chain([format!("{service}.{namespace}")]).collect();
        Self { names, lifetime }
    }
}

/// A CA's certificate.
#[derive(Clone)]
pub(super) struct Trusted {
    pub(super) facts: Authority,
    pub(super) der: CertificateDer<'static>,
}

impl Trusted {
    pub(super) fn of(der: CertificateDer<'static>) -> Option<Self> {
        let facts = Authority { id: id(&der), span: pair::span(&der)? };
        Some(Self { facts, der })
    }
}

/// The SHA-256 of a certificate.
pub(super) fn id(der: &CertificateDer<'_>) -> Id {
    let mut id = [0; 32];
    id.copy_from_slice(digest(&SHA256, der).as_ref());
    Id(id)
}

/// A serving certificate with its key, and the CA that it is of.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) pair: Pair,
    pub(super) issuer: Trusted,
}

impl Serving {
    pub(super) fn leaf(&self) -> Leaf {
        Leaf { issuer: self.issuer.facts.id, span: self.pair.span }
    }
}

/// What is sound in the Secret.
#[derive(Default)]
pub(super) struct Material {
    /// The oldest first.
    authorities: Vec<Trusted>,
    /// Of the newest of them.
    signing: Option<SigningKey>,
    serving: Option<Serving>,
    previous: Vec<(CertificateDer<'static>, Leaf)>,
}

/// What the Secret has under one of its keys, decoded.
pub(super) type Entry<'a> = Option<&'a [u8]>;

/// What the Secret has.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) struct Entries<'a> {
    pub(super) serving: Entry<'a>,
    pub(super) serving_key: Entry<'a>,
    pub(super) authorities: Entry<'a>,
    pub(super) signing_key: Entry<'a>,
    pub(super) previous: Entry<'a>,
}

impl Material {
    /// Takes what is sound, and says what is not.
    pub(super) fn read(entries: &Entries<'_>, wanted: &Wanted) -> (Self, Vec<String>) {
        let mut wrong = Vec::new();
        let mut material = Self::default();
        // The chart makes it so: then the injectors need no right to make Secrets.
        if *entries == Entries::default() {
            return (material, wrong);
        }
        match entries.authorities.map(pair::certificates) {
            None => wrong.push(format!("{AUTHORITIES} is missing")),
            Some(Err(why)) => wrong.push(format!("{AUTHORITIES}: {why}")),
            Some(Ok(all)) => {
                material.authorities = all.into_iter().filter_map(Trusted::of).collect();
            }
        }
        match material.signing_key(entries.signing_key, wanted) {
            Ok(key) => material.signing = Some(key),
            Err(why) => wrong.push(format!("{SIGNING_KEY}: {why}")),
        }
        match material.serving_pair(entries, wanted) {
            Ok(serving) => material.serving = Some(serving),
            Err(why) => wrong.push(why),
        }
        let previous = entries.previous.map(pair::certificates).and_then(Result::ok);
        for certificate in previous.unwrap_or_default() {
            if let Some(span) = pair::span(&certificate)
                && let Some(issuer) = material.issuer_of(&certificate, span, wanted)
            {
                let leaf = Leaf { issuer: issuer.facts.id, span };
                material.previous.push((certificate, leaf));
            }
        }
        (material, wrong)
    }

    /// The key of the newest CA, if what it signs is of that CA.
    fn signing_key(&self, pem: Entry<'_>, wanted: &Wanted) -> Result<SigningKey, &'static str> {
        let newest = self.authorities.last().ok_or("there is no CA that it could be of")?;
        let key = pair::the_key(pem::blocks(pem.ok_or("it is missing")?))?;
        let key = SigningKey::read(&key.der).ok_or("it is no PKCS#8 key of ECDSA over P-256")?;
        let span = newest.facts.span;
        let trial = issue::serving(&wanted.names, wanted.lifetime, span.from, (&key, span));
        let trial = trial.map_err(|_| "it cannot sign")?.certificate;
        let span = pair::span(&trial).ok_or("it cannot sign")?;
        if is_of(&trial, span, newest, wanted) {
            Ok(key)
        } else {
            Err("it is not the key of the newest CA, the last in ca.crt")
        }
    }

    fn serving_pair(&self, entries: &Entries<'_>, wanted: &Wanted) -> Result<Serving, String> {
        let there = |entry: Entry<'_>, name: &str| {
            entry.map(ToOwned::to_owned).ok_or_else(|| format!("{name} is missing"))
        };
        let certificate = there(entries.serving, SERVING)?;
        let key = Zeroizing::new(there(entries.serving_key, SERVING_KEY)?);
        let pair = Pair::read(&certificate, &key).map_err(|(part, why)| match part {
            pair::Part::Certificate => format!("{SERVING}: {why}"),
            pair::Part::Key => format!("{SERVING_KEY}: {why}"),
        })?;
        let issuer = self.issuer_of(pair.leaf(), pair.span, wanted).ok_or_else(|| {
            format!("{SERVING}: it is not for {}, or of no CA in {AUTHORITIES}", wanted.names[0])
        })?;
        Ok(Serving { issuer: issuer.clone(), pair })
    }

    fn issuer_of(
        &self,
        leaf: &CertificateDer<'_>,
        span: Span,
        wanted: &Wanted,
    ) -> Option<&Trusted> {
        self.authorities.iter().rev().find(|authority| is_of(leaf, span, authority, wanted))
    }

    /// The facts that decisions are made of.
    pub(super) fn kept(&self, rotation_asked: bool) -> Kept {
        Kept {
            authorities: self.authorities.iter().map(|each| each.facts).collect(),
            newest_signs: self.signing.is_some(),
            serving: self.serving.as_ref().map(Serving::leaf),
            previous: self.previous.iter().map(|(_, leaf)| *leaf).collect(),
            rotation_asked,
        }
    }

    /// What is to be served.
    pub(super) fn serving(&self) -> Option<&Serving> {
        self.serving.as_ref()
    }

    /// What the caBundles are to be, as PEM.
    pub(super) fn bundle(&self) -> String {
        pem_of(self.authorities.iter().map(|each| &each.der))
    }

    /// Changes it as was decided.
    ///
    /// # Errors
    /// If no certificate could be made.
    pub(super) fn change(
        &mut self,
        edits: &[Edit],
        held: Option<&Serving>,
        wanted: &Wanted,
        now: Timestamp,
    ) -> Result<(), String> {
        self.previous.retain(|(_, leaf)| !leaf.span.has_ended(now));
        for edit in edits {
            match edit {
                Edit::Restore => self.restore(held),
                Edit::Authority => {
                    let unmade = |error| format!("no CA could be made: {error}");
                    let (der, key) = issue::authority(wanted.lifetime, now).map_err(unmade)?;
                    self.authorities.extend(Trusted::of(der));
                    self.signing = Some(key);
                }
                Edit::Issue => self.issue(wanted, now)?,
                Edit::Retire(id) => self.authorities.retain(|each| each.facts.id != *id),
            }
        }
        Ok(())
    }

    fn restore(&mut self, held: Option<&Serving>) {
        let Some(held) = held else {
            return;
        };
        if !self.authorities.iter().any(|each| each.facts.id == held.issuer.facts.id) {
            self.authorities.insert(0, held.issuer.clone());
        }
        self.serving = Some(held.clone());
    }

    fn issue(&mut self, wanted: &Wanted, now: Timestamp) -> Result<(), String> {
        let unmade = |why: String| format!("no serving certificate could be made: {why}");
        let (Some(newest), Some(key)) = (self.authorities.last().cloned(), &self.signing) else {
            return Err(unmade("there is no CA".to_owned()));
        };
        let made = issue::serving(&wanted.names, wanted.lifetime, now, (key, newest.facts.span));
        let made = made.map_err(|error| unmade(error.to_string()))?;
        let pair = Pair::of(vec![made.certificate], Key::pkcs8(made.key));
        let pair = pair.map_err(|(_, why)| unmade(why.to_owned()))?;
        let issued = Serving { pair, issuer: newest };
        if let Some(before) = self.serving.replace(issued)
            && self.authorities.last().is_some_and(|last| last.facts.id != before.leaf().issuer)
        {
            self.previous.push((before.pair.leaf().clone(), before.leaf()));
        }
        Ok(())
    }

    /// What the Secret is to have, as PEM, each under its key; none where the key is to go.
    pub(super) fn entries(&self) -> [(&'static str, Option<Zeroizing<String>>); 5] {
        let serving = self.serving.as_ref().map(|serving| &serving.pair);
        let public = |text: String| Some(text).filter(|text| !text.is_empty()).map(Zeroizing::new);
        [
            (SERVING, public(serving.map(|pair| pem_of(&pair.certified.cert)).unwrap_or_default())),
            (SERVING_KEY, serving.map(|pair| pair.key.pem())),
            (AUTHORITIES, public(self.bundle())),
            (SIGNING_KEY, self.signing.as_ref().map(|key| pem::written(KEY, key.der()))),
            (PREVIOUS, public(pem_of(self.previous.iter().map(|(der, _)| der)))),
        ]
    }
}

fn pem_of<'a>(all: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    all.into_iter().map(|der| pem::written(CERTIFICATE, der).as_str().to_owned()).collect()
}

/// Whether a serving certificate is for the Service and of this CA. Its time is another question: a
/// replica whose clock is wrong must not take good ones for rubbish.
fn is_of(leaf: &CertificateDer<'_>, span: Span, authority: &Trusted, wanted: &Wanted) -> bool {
    let at = span.from.max(authority.facts.span.from);
    let at = Duration::from_secs(u64::try_from(at.as_secs()).unwrap_or(0));
    let Ok(name) = ServerName::try_from(wanted.names[0].as_str()) else {
        return false;
    };
    let mut roots = RootCertStore::empty();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    roots.add(authority.der.clone()).is_ok()
        && WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().is_ok_and(
            |verifier| {
                let at = UnixTime::since_unix_epoch(at);
                verifier.verify_server_cert(leaf, &[], &name, &[], at).is_ok()
            },
        )
}

#[cfg(test)]
mod tests;
