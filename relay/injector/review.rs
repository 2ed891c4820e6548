//! What the API server asks and is answered (admission.k8s.io/v1).

use aws_smithy_types::base64;
use std::fmt;

use serde::Deserialize;
use serde_json::{Value, json};

use super::denial::Denial;
use super::document::{self, End};
use super::mutate::Outcome;
use super::patch;
use super::pod::{LABEL, Pod};
use crate::listener::body::Received;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// The most bytes of a question that are looked at. Pods have some 10 kB, and the cluster's store takes none of
/// more than 1.5 MB, of which `managedFields` can be most. There may be one of these for each connection.
pub(super) const MOST_BYTES: usize = 512 * 1024;

/// The most values of a question that are looked at, each member of an object and each item of a list: a
/// variable that comes from a Secret has six of them. Each may cost 650 bytes, thrice while a patch is made.
pub(super) const MOST_VALUES: usize = 20_000;

/// The most bytes of a patch. The largest that is of any use gives 200 containers some 700 bytes each.
const LARGEST_PATCH: usize = 256 * 1024;

/// A question of the API server's, as far as the injector reads it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

/// What is asked about. Its debug print is without the pod, which may hold secrets.
#[derive(Deserialize)]
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
    /// As much of it as was looked at.
    #[serde(skip)]
    pub(super) object: Value,
    #[serde(skip)]
    pub(super) extent: Extent,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("uid", &self.uid).finish_non_exhaustive()
    }
}

/// Whether a question was looked at whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Extent {
    /// It was.
    #[default]
    Whole,
    /// There is more of it than may be.
    Start,
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
    pub(super) fn read(body: &Received) -> Result<Self, String> {
        let (text, cut) = match body {
            Received::Whole(text) => (text, false),
            Received::Start(text) => (text, true),
        };
        let (mut review, end) = document::read(text, MOST_VALUES);
        let extent = match end {
            End::Whole if !cut => Extent::Whole,
            End::CutOff { .. } if cut => Extent::Start,
            End::Whole | End::TooMany => Extent::Start,
            End::CutOff { line, column } | End::NoJson { line, column } => {
                return Err(format!("line {line}, column {column} cannot be read as JSON"));
            }
        };
        let object = review.pointer_mut("/request/object").map(Value::take);
        if extent == Extent::Start && !object.as_ref().is_some_and(Value::is_object) {
            return Err("it is too large, and does not start with what is asked about".to_owned());
        }
        let review = serde_json::from_value::<Review>(review)
            .map_err(|_| format!("no {KIND} of {API_VERSION}: it has another shape"))?;
        match review.request {
            Some(request) if review.api_version == API_VERSION && review.kind == KIND => {
                let request = Self { object: object.unwrap_or_default(), extent, ..request };
                let named = extent == Extent::Start || request.object["metadata"].is_object();
                if request.is_new_pod() && !named {
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

    /// Whether the pod has the label that asks for the relay, or may have it where there is more of the pod
    /// than was looked at: what says who a pod is comes before what it does.
    pub(super) fn may_ask(&self) -> bool {
        let unknown = self.extent == Extent::Start && self.object.get("spec").is_none();
        unknown || !matches!(Pod(&self.object).asks(), Ok(false))
    }

    /// Refuses a pod that was not looked at whole.
    ///
    /// # Errors
    /// Where it was not.
    pub(super) fn check_extent(&self) -> Result<(), Denial> {
        match self.extent {
            Extent::Whole => Ok(()),
            Extent::Start => Err(Denial::one(
                "pod",
                format!(
                    "it is too large to be injected: {} KiB and {MOST_VALUES} fields and items at most are looked at; move what it carries into ConfigMaps, or leave out the label {LABEL}",
                    MOST_BYTES / 1024
                ),
            )),
        }
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

/// Refuses a patch that nobody needs and that would have to be kept until it is fetched.
///
/// # Errors
/// Where it is too large.
pub(super) fn check_patch(operations: &[patch::Operation]) -> Result<(), Denial> {
    match serde_json::to_vec(operations) {
        Ok(patch) if patch.len() <= LARGEST_PATCH => Ok(()),
        _ => Err(Denial::one(
            "pod",
            format!(
                "so much of it would have to be changed that the patch has more than {} KiB",
                LARGEST_PATCH / 1024
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(body: &[u8]) -> Result<Request, String> {
        Request::read(&Received::Whole(body.to_vec()))
    }

    fn start(body: &str) -> Result<Request, String> {
        Request::read(&Received::Start(body.as_bytes().to_vec()))
    }

    const HEAD: &str = r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"secret","kind":{"group":"","version":"v1","kind":"Pod"},"namespace":"payments","operation":"CREATE","object":"#;

    fn of_pod(pod: &str) -> String {
        format!("{HEAD}{pod}")
    }

    #[test]
    fn what_there_is_too_much_of_is_refused_by_what_it_starts_with() {
        let labelled = r#"{"metadata":{"labels":{"credential-relay.io/inject":"true"}},"spec":"#;
        let other = r#"{"metadata":{"labels":{"credential-relay.io/inject":"false"}},"spec":"#;
        let unknown = r#"{"metadata":{"annotations":{"a":"#;
        for (pod, asks) in [(labelled, true), (other, false), (unknown, true)] {
            let cut = start(&of_pod(&format!("{pod}{{\"a\":\"b"))).unwrap();
            // Without its end it is no JSON; what is too large is not looked at to its end.
            let many = ["0,"; MOST_VALUES].concat();
            let many = whole(of_pod(&format!("{pod}[{many}")).as_bytes()).unwrap();
            for request in [cut, many] {
                assert!(request.is_new_pod());
                assert_eq!((request.uid.as_str(), request.extent), ("secret", Extent::Start));
                assert_eq!(request.may_ask(), asks, "{pod}");
                assert!(request.check_extent().is_err());
            }
        }
    }

    #[test]
    fn the_shapes_that_cost_most_are_refused() {
        let pod = r#"{"metadata":{"labels":{"credential-relay.io/inject":"true"}},"spec":"#;
        for value in
            [r#"{"":0}"#, "[0]", r#"{"":{"":{"":0}}}"#, r#"{"name":"A","value":"B"}"#, "{}"]
        {
            let length = MOST_BYTES / (value.len() + 1) - 1_000;
            let body = of_pod(&format!("{pod}[{}0]}}}}}}", format!("{value},").repeat(length)));
            let request = whole(body.as_bytes()).unwrap();
            assert_eq!(request.extent, Extent::Start, "{value}");
        }
    }

    #[test]
    fn a_start_that_does_not_say_who_asks_about_what_is_no_question() {
        for body in ["", "secret", "{", r#"{"kind":"AdmissionReview","#, &HEAD[..100], "[[[[", "{}"]
        {
            let error = start(body).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_patch_that_is_too_large_is_refused() {
        let value = |bytes: usize| patch::Operation::Add {
            path: "/spec".to_owned(),
            value: "x".repeat(bytes).into(),
        };
        assert_eq!(check_patch(&[value(200 * 1024)]), Ok(()));
        assert!(check_patch(&[value(300 * 1024)]).is_err());
    }

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
            let error = whole(body.as_bytes()).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(whole(b"\xff\xfe").is_err());
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
            whole(body.to_string().as_bytes()).unwrap().is_new_pod()
        };
        assert!(request("Pod", "CREATE", ""));
        assert!(!request("Pod", "UPDATE", "ephemeralcontainers"));
        assert!(!request("Pod", "CREATE", "binding"));
        assert!(!request("Deployment", "CREATE", ""));
    }

    #[test]
    fn a_review_that_says_too_little_is_not_let_through() {
        let complete = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "request": {
                "uid": "u", "kind": { "group": "", "version": "v1", "kind": "Pod" },
                "operation": "CREATE", "namespace": "payments", "object": { "metadata": {} },
            },
        });
        let read = |review: &Value| whole(review.to_string().as_bytes());
        assert!(read(&complete).is_ok_and(|request| request.is_new_pod()));
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
            let mut review = complete.clone();
            review.pointer_mut(holder).unwrap().as_object_mut().unwrap().remove(field);
            let namespace = field == "namespace";
            assert_eq!(read(&review).is_ok(), namespace, "without {pointer}");
            for value in values {
                let mut review = complete.clone();
                *review.pointer_mut(pointer).unwrap() = value;
                let error = read(&review).unwrap_err();
                assert!(!error.contains("secret"), "{review}: {error}");
            }
        }
    }
}
