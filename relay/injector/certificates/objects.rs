//! The API server's objects, as far as they are read and written.

use std::collections::BTreeMap;

use aws_smithy_types::base64;
use rustls::pki_types::CertificateDer;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::decide::Bundle;
use super::material::{
    AUTHORITIES, Entries, Entry, Material, PREVIOUS, SERVING, SERVING_KEY, SIGNING_KEY, Trusted,
    Wanted,
};
use super::pair;
use crate::credential::Secret;

/// The type of the Secret. Kubernetes lets nobody change a type, so a Secret of it is the injector's
/// own, and one of another type is somebody else's.
pub(super) const TYPE: &str = "credential-relay.io/injector-certificates";

/// The annotation by which somebody asks for a new CA.
pub(super) const ROTATE: &str = "credential-relay.io/rotate";

/// What tells that an object is as it was.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) resource_version: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// The Secret.
#[derive(Deserialize)]
pub(super) struct SecretObject {
    pub(super) metadata: Metadata,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    data: Option<BTreeMap<String, Secret>>,
}

impl SecretObject {
    pub(super) fn rotation_asked(&self) -> bool {
        self.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(ROTATE))
    }

    /// What of it is sound, and what is wrong with the rest.
    pub(super) fn material(&self, wanted: &Wanted) -> (Material, Vec<String>) {
        let decoded = |name: &str| {
            let text = self.data.as_ref()?.get(name)?;
            base64::decode(text.expose()).ok().map(Zeroizing::new)
        };
        let all = [SERVING, SERVING_KEY, AUTHORITIES, SIGNING_KEY, PREVIOUS].map(decoded);
        let [serving, serving_key, authorities, signing_key, previous] =
            all.each_ref().map(|entry| -> Entry<'_> { entry.as_ref().map(|e| e.as_slice()) });
        let entries = Entries { serving, serving_key, authorities, signing_key, previous };
        Material::read(&entries, wanted)
    }
}

/// The data of a Secret as it is written.
struct Data<'a> {
    material: &'a Material,
    /// Whether what is to go is named, as a patch must.
    with_nulls: bool,
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.material.entries();
        let mut map = serializer.serialize_map(None)?;
        for (name, text) in &entries {
            let encoded = text.as_ref().map(|text| Zeroizing::new(base64::encode(text.as_str())));
            if encoded.is_some() || self.with_nulls {
                map.serialize_entry(name, &encoded.as_ref().map(|text| text.as_str()))?;
            }
        }
        map.end()
    }
}

/// The Secret anew.
#[derive(Serialize)]
pub(super) struct NewSecret<'a> {
    metadata: NewMetadata<'a>,
    #[serde(rename = "type")]
    kind: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
pub(super) struct NewMetadata<'a> {
    name: &'a str,
    labels: BTreeMap<&'static str, &'static str>,
}

impl<'a> NewMetadata<'a> {
    pub(super) fn named(name: &'a str) -> Self {
        Self { name, labels: [("app.kubernetes.io/managed-by", "credential-relay")].into() }
    }
}

impl<'a> NewSecret<'a> {
    pub(super) fn of(name: &'a str, material: &'a Material) -> Self {
        Self {
            metadata: NewMetadata::named(name),
            kind: TYPE,
            data: Data { material, with_nulls: false },
        }
    }
}

/// A change of the Secret.
#[derive(Serialize)]
pub(super) struct SecretPatch<'a> {
    metadata: PatchMetadata<'a>,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PatchMetadata<'a> {
    resource_version: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, Option<&'static str>>,
}

impl<'a> SecretPatch<'a> {
    /// With a new CA in it, the wish for one is fulfilled.
    pub(super) fn of(
        secret: &'a SecretObject,
        material: &'a Material,
        with_new_authority: bool,
    ) -> Self {
        let fulfilled = with_new_authority && secret.rotation_asked();
        let annotations = fulfilled.then_some((ROTATE, None)).into_iter().collect();
        let resource_version = &secret.metadata.resource_version;
        Self {
            metadata: PatchMetadata { resource_version, annotations },
            data: Data { material, with_nulls: true },
        }
    }
}

/// The MutatingWebhookConfiguration.
#[derive(Deserialize)]
pub(super) struct Webhooks {
    metadata: Metadata,
    #[serde(default)]
    webhooks: Option<Vec<Webhook>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    name: String,
    client_config: ClientConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientConfig {
    #[serde(default)]
    service: Option<Service>,
    #[serde(default)]
    ca_bundle: Option<String>,
}

#[derive(Deserialize)]
struct Service {
    namespace: String,
    name: String,
}

impl Webhooks {
    fn of<'a>(&'a self, namespace: &'a str, service: &'a str) -> impl Iterator<Item = &'a Webhook> {
        self.webhooks.iter().flatten().filter(move |webhook| {
            let called = webhook.client_config.service.as_ref();
            called.is_some_and(|called| called.namespace == namespace && called.name == service)
        })
    }

    /// What the webhooks of this Service trust.
    pub(super) fn bundle(&self, namespace: &str, service: &str) -> Bundle {
        let mut all = self.of(namespace, service).map(|webhook| webhook.client_config.trusted());
        let Some((mut trusted, mut clean)) = all.next() else {
            return Bundle::Nowhere;
        };
        for (others, other_clean) in all {
            clean &= other_clean && others == trusted;
            trusted.retain(|id| others.contains(id));
        }
        Bundle::Of { trusted, clean }
    }

    /// The change that lets the webhooks of this Service trust what `pem` holds.
    pub(super) fn patch<'a>(
        &'a self,
        namespace: &'a str,
        service: &'a str,
        pem: &str,
    ) -> WebhooksPatch<'a> {
        let ca_bundle = base64::encode(pem);
        let webhooks = self.of(namespace, service).map(|webhook| WebhookPatch {
            name: &webhook.name,
            client_config: BundlePatch { ca_bundle: ca_bundle.clone() },
        });
        WebhooksPatch {
            webhooks: webhooks.collect(),
            metadata: PatchMetadata {
                resource_version: &self.metadata.resource_version,
                annotations: BTreeMap::new(),
            },
        }
    }
}

impl ClientConfig {
    /// The CAs, and whether there is nothing else.
    fn trusted(&self) -> (Vec<super::decide::Id>, bool) {
        let text = self.ca_bundle.as_ref().and_then(|text| base64::decode(text).ok());
        let read = pair::certificates(&text.unwrap_or_default());
        let all: Vec<CertificateDer<'static>> = read.clone().unwrap_or_default();
        let count = all.len();
        let ids: Vec<_> =
            all.into_iter().filter_map(Trusted::of).map(|each| each.facts.id).collect();
        let clean = read.is_ok() && ids.len() == count;
        (ids, clean)
    }
}

/// A change of the caBundles.
#[derive(Serialize)]
pub(super) struct WebhooksPatch<'a> {
    metadata: PatchMetadata<'a>,
    webhooks: Vec<WebhookPatch<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WebhookPatch<'a> {
    name: &'a str,
    client_config: BundlePatch,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BundlePatch {
    ca_bundle: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::decide::Edit;
    use super::*;
    use crate::clock::Timestamp;

    fn material() -> Material {
        let wanted = Wanted::of("injector", "relay", std::time::Duration::from_secs(3600));
        let mut material = Material::default();
        let now = Timestamp::from_secs(1_795_565_230);
        material.change(&[Edit::Authority, Edit::Issue], None, &wanted, now).unwrap();
        material
    }

    fn webhooks(bundles: &[Option<&str>]) -> Webhooks {
        let of = |bundle: &Option<&str>, service: &str| {
            let bundle = bundle.map(base64::encode);
            json!({"name": format!("{service}.io"), "clientConfig": {
                "service": {"namespace": "relay", "name": service}, "caBundle": bundle}})
        };
        let mut all: Vec<Value> = bundles.iter().map(|bundle| of(bundle, "injector")).collect();
        all.push(of(&Some("of another"), "other"));
        all.push(json!({"name": "by.url", "clientConfig": {"url": "https://elsewhere"}}));
        let whole = json!({"metadata": {"resourceVersion": "9"}, "webhooks": all});
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn the_bundle_is_what_all_webhooks_of_the_service_trust() {
        let (first, second) = (material(), material());
        let ids = |material: &Material| -> Vec<_> {
            material.kept(false).authorities.iter().map(|each| each.id).collect()
        };
        let (one, other) = (first.bundle(), second.bundle());
        let both = format!("{one}{other}");
        let bundle = |bundles: &[Option<&str>]| webhooks(bundles).bundle("relay", "injector");
        let of = |trusted: Vec<_>, clean| Bundle::Of { trusted, clean };
        assert_eq!(bundle(&[]), Bundle::Nowhere);
        assert_eq!(bundle(&[None]), of(Vec::new(), true));
        assert_eq!(bundle(&[Some(&one)]), of(ids(&first), true));
        assert_eq!(bundle(&[Some(&one), Some(&both)]), of(ids(&first), false));
        assert_eq!(bundle(&[Some(&one), None]), of(Vec::new(), false));
        let rubbish = one.replace("MII", "!!!");
        assert_eq!(bundle(&[Some(&rubbish)]), of(Vec::new(), false));
    }

    #[test]
    fn a_patch_changes_the_webhooks_of_the_service_alone() {
        let all = webhooks(&[None]);
        let patch = serde_json::to_value(all.patch("relay", "injector", "pem")).unwrap();
        let bundle = json!({"name": "injector.io", "clientConfig": {"caBundle": "cGVt"}});
        assert_eq!(patch, json!({"metadata": {"resourceVersion": "9"}, "webhooks": [bundle]}));
    }

    fn secret(annotations: &Value) -> SecretObject {
        let metadata = json!({"resourceVersion": "5", "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "type": TYPE, "data": null})).unwrap()
    }

    #[test]
    fn a_wish_for_a_new_ca_is_taken_off_with_the_ca_that_fulfils_it() {
        let (asked, unasked) = (secret(&json!({ ROTATE: "now" })), secret(&Value::Null));
        assert!(asked.rotation_asked() && !unasked.rotation_asked());
        let material = material();
        let annotations = |secret, made| {
            let patch = serde_json::to_value(SecretPatch::of(secret, &material, made)).unwrap();
            assert_eq!(patch["metadata"]["resourceVersion"], "5");
            assert_eq!(patch["data"][PREVIOUS], Value::Null);
            patch["metadata"].get("annotations").cloned()
        };
        assert_eq!(annotations(&asked, true), Some(json!({ ROTATE: null })));
        assert_eq!(annotations(&asked, false), None);
        assert_eq!(annotations(&unasked, true), None);
    }

    #[test]
    fn a_new_secret_is_read_as_it_was_written() {
        let written = serde_json::to_value(NewSecret::of("tls", &material())).unwrap();
        assert!(written["data"].get(PREVIOUS).is_none());
        let mut whole = written;
        whole["metadata"]["resourceVersion"] = json!("1");
        let read: SecretObject = serde_json::from_value(whole).unwrap();
        let wanted = Wanted::of("injector", "relay", std::time::Duration::from_secs(3600));
        let (material, wrong) = read.material(&wanted);
        assert_eq!(wrong, [""; 0]);
        assert!(material.serving().is_some() && material.kept(false).newest_signs);
    }
}
