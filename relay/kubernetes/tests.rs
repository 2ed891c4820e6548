use hyper::StatusCode;

use super::error::Quoted;
use super::*;

#[test]
fn objects_are_where_the_api_server_has_them() {
    let secret = Object::secret("relay", "tls");
    assert_eq!(secret.path(Verb::Get), "/api/v1/namespaces/relay/secrets/tls");
    assert_eq!(secret.path(Verb::Create), "/api/v1/namespaces/relay/secrets");
    assert_eq!(secret.to_string(), "Secret relay/tls");
    let lease = Object::lease("relay", "leader").path(Verb::Patch);
    assert_eq!(lease, "/apis/coordination.k8s.io/v1/namespaces/relay/leases/leader");
    assert_eq!(
        Object::mutating_webhook("relay").path(Verb::Patch),
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/relay"
    );
}

#[test]
fn a_refusal_tells_verb_object_and_the_rule_that_is_missing() {
    let said = br#"{"kind":"Status","message":"secrets \"tls\" is forbidden"}"#;
    let token = Secret::new("token-of-the-account".to_owned());
    let kind = |status, said| Kind::of(status, said, &token, Quoted::Names);
    let error =
        |verb, object: Object, status| Error::new(verb, &object, kind(status, said)).to_string();
    let secret = || Object::secret("relay", "tls");
    assert_eq!(
        error(Verb::Get, secret(), StatusCode::FORBIDDEN),
        "get Secret relay/tls: 403: secrets \"tls\" is forbidden; give the injector's service account a Role in namespace relay with the rule {apiGroups: [\"\"], resources: [secrets], resourceNames: [tls], verbs: [get]}"
    );
    let create = error(Verb::Create, secret(), StatusCode::FORBIDDEN);
    assert!(create.contains("resources: [secrets], verbs: [create]"), "{create}");
    let webhook = error(Verb::Patch, Object::mutating_webhook("relay"), StatusCode::FORBIDDEN);
    assert!(webhook.contains("a ClusterRole with the rule"), "{webhook}");
    assert!(error(Verb::Get, secret(), StatusCode::UNAUTHORIZED).contains("401"));
    assert!(error(Verb::Get, secret(), StatusCode::TOO_MANY_REQUESTS).contains("429"));
    assert_eq!(kind(StatusCode::NOT_FOUND, said), Kind::Missing);
    assert_eq!(kind(StatusCode::CONFLICT, b"half"), Kind::Conflict);
    assert_eq!(
        kind(StatusCode::UNAUTHORIZED, br#"{"message":"not token-of-the-account"}"#),
        Kind::Refused(401, "not [redacted]".to_owned())
    );
}

#[test]
fn a_refusal_of_a_secret_does_not_tell_its_keys() {
    let line = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1y8Yd0aXbL7kQ2xV";
    let said = format!(
        r#"{{"message":"policy.example denied it: found {line}\nin data.\"tls.key\"={line}: no"}}"#
    );
    let token = Secret::new("token-of-the-account".to_owned());
    let object = Object::secret("relay", "tls");
    for verb in [Verb::Create, Verb::Patch] {
        assert_eq!(
            Kind::of(StatusCode::BAD_REQUEST, said.as_bytes(), &token, object.quoted_by(verb)),
            Kind::Refused(
                400,
                r#"policy.example denied it: found [redacted] in data."tls.key"[redacted]: no"#
                    .to_owned()
            )
        );
    }
    assert_eq!(object.quoted_by(Verb::Get), Quoted::Names);
    assert_eq!(Object::lease("relay", "leader").quoted_by(Verb::Patch), Quoted::Names);
}

#[test]
fn without_a_cluster_it_says_what_is_missing() {
    let asked = |variables: &[(&str, &str)]| {
        let environment = variables.iter().copied().collect();
        let transports = Transports::default();
        Kubernetes::in_cluster(&environment, Path::new("/nowhere"), &transports)
            .unwrap_err()
            .to_string()
    };
    assert!(asked(&[]).contains("KUBERNETES_SERVICE_HOST"));
    assert!(asked(&[(HOST, "10.0.0.1")]).contains("KUBERNETES_SERVICE_PORT"));
    let both = asked(&[(HOST, "fd00::1"), (PORT, "443")]);
    assert!(both.contains("/nowhere/ca.crt") && both.contains("automount"), "{both}");
    assert!(asked(&[(HOST, "no host"), (PORT, "443")]).contains("no address"));
}

#[test]
fn an_answer_that_cannot_be_read_is_not_quoted() {
    let object = Object::secret("relay", "tls");
    let error = read::<Vec<u8>>(Verb::Get, &object, b"{\"hush\":1}").unwrap_err().to_string();
    assert!(error.contains("line 1") && !error.contains("hush"), "{error}");
}
