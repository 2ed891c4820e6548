//! What the API server asks and is answered (admission.k8s.io/v1).

use aws_smithy_types::base64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::denial::Denial;
use super::mutate::Outcome;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// A question of the API server's, as far as the injector reads it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

/// What is asked about.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) uid: String,
    // Without a default: what is not said to be anything else is not let through as such.
    kind: Kind,
    operation: Operation,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) object: Value,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Kind {
    group: String,
    version: String,
    kind: String,
}

/// What is done to the object.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Request {
    /// Reads a question.
    ///
    /// # Errors
    /// Why it is none; the text holds nothing of what was sent.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let review: Review = serde_json::from_slice(body).map_err(|error| {
            format!(
                "no {KIND} of {API_VERSION}: line {}, column {} cannot be read",
                error.line(),
                error.column()
            )
        })?;
        match review.request {
            Some(request) if review.api_version == API_VERSION && review.kind == KIND => {
                if request.is_new_pod() && !request.object["metadata"].is_object() {
                    return Err("a pod is made, and its object has no metadata".to_owned());
                }
                Ok(request)
            }
            Some(_) => Err(format!("another kind or version; {KIND} of {API_VERSION} is answered")),
            None => Err("there is no request in it".to_owned()),
        }
    }

    /// Whether it is about a pod that is being made. Anything else the injector has no say in, such as
    /// ephemeral containers.
    pub(super) fn is_new_pod(&self) -> bool {
        let Kind { group, version, kind } = &self.kind;
        let pod = (group.as_str(), version.as_str(), kind.as_str()) == ("", "v1", "Pod");
        let whole = self.sub_resource.as_deref().unwrap_or_default().is_empty();
        pod && whole && self.operation == Operation::Create
    }

    /// The answer to it.
    pub(super) fn answer(&self, outcome: &Result<Outcome, Denial>) -> Value {
        let mut response = json!({ "uid": self.uid, "allowed": outcome.is_ok() });
        match outcome {
            Ok(Outcome::NotAsked | Outcome::Unchanged) => {}
            Ok(Outcome::Injected(operations)) => {
                // Operations are maps with texts for keys, which always can be written as JSON.
                let patch = serde_json::to_vec(operations).unwrap_or_default();
                response["patchType"] = "JSONPatch".into();
                response["patch"] = base64::encode(patch).into();
            }
            Err(denial) => {
                response["status"] = json!({
                    "status": "Failure",
                    "reason": "Forbidden",
                    "code": 403,
                    "message": denial.to_string(),
                });
            }
        }
        json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_review_is_told_without_its_text() {
        for body in [
            "",
            "secret",
            "[]",
            "{}",
            "null",
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
            r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"secret"}}"#,
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":7}}"#,
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a"}}"#,
            &"[".repeat(100_000),
        ] {
            let error = Request::read(body.as_bytes()).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(Request::read(b"\xff\xfe").is_err());
    }

    #[test]
    fn only_new_pods_are_looked_at() {
        let request = |kind: &str, operation: &str, sub: &str| {
            let body = json!({
                "apiVersion": API_VERSION, "kind": KIND,
                "request": {
                    "uid": "u", "kind": { "group": "", "version": "v1", "kind": kind },
                    "operation": operation, "subResource": sub, "more": [],
                    "object": { "metadata": {} },
                },
            });
            Request::read(body.to_string().as_bytes()).unwrap().is_new_pod()
        };
        assert!(request("Pod", "CREATE", ""));
        assert!(!request("Pod", "UPDATE", "ephemeralcontainers"));
        assert!(!request("Pod", "CREATE", "binding"));
        assert!(!request("Deployment", "CREATE", ""));
    }

    #[test]
    fn a_review_that_says_too_little_is_not_let_through() {
        let whole = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "request": {
                "uid": "u", "kind": { "group": "", "version": "v1", "kind": "Pod" },
                "operation": "CREATE", "namespace": "payments", "object": { "metadata": {} },
            },
        });
        let read = |review: &Value| Request::read(review.to_string().as_bytes());
        assert!(read(&whole).is_ok_and(|request| request.is_new_pod()));
        for (pointer, values) in [
            ("/request/kind", vec![Value::Null, json!({}), json!("Pod"), json!([])]),
            ("/request/kind/group", vec![Value::Null, json!(1)]),
            ("/request/kind/version", vec![Value::Null]),
            ("/request/kind/kind", vec![Value::Null, json!({})]),
            (
                "/request/operation",
                vec![Value::Null, json!("Create"), json!(""), json!(["CREATE"])],
            ),
            ("/request/namespace", vec![Value::Null, json!({})]),
            ("/request/object", vec![Value::Null, json!([]), json!("secret"), json!({})]),
            ("/request/object/metadata", vec![Value::Null, json!([]), json!("secret")]),
        ] {
            let (holder, field) = pointer.rsplit_once('/').unwrap();
            let mut review = whole.clone();
            review.pointer_mut(holder).unwrap().as_object_mut().unwrap().remove(field);
            let namespace = field == "namespace";
            assert_eq!(read(&review).is_ok(), namespace, "without {pointer}");
            for value in values {
                let mut review = whole.clone();
                *review.pointer_mut(pointer).unwrap() = value;
                let error = read(&review).unwrap_err();
                assert!(!error.contains("secret"), "{review}: {error}");
            }
        }
    }
}
