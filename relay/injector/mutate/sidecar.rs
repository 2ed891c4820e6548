//! The relay's container.

use serde_json::{Map, Value, json};

use super::RELAY;
use super::plan::{Plan, Source};
use super::volumes;
use crate::config::injector::RunAs;

/// What is in the image.
const PROGRAM: &str = "/credential-relay";

/// The variable that holds the whole configuration.
pub(super) const TEXT: &str = "CREDENTIAL_RELAY_CONFIG_TEXT";

/// The container as it shall be. `behind_proxy` says that a service mesh's proxy is in the pod, which
/// would stand between the kubelet and a probe by HTTP: Istio turns those into questions to its proxy,
/// which may wait for the relay itself, and a mesh that demands TLS refuses the kubelet. So the probes
/// are programs there.
pub(super) fn container(plan: &Plan<'_>, behind_proxy: bool) -> Value {
    let sidecar = &plan.settings.sidecar;
    let port = plan.settings.catalogue.admin_port();
    let probe = |path: &str, name: &str| match behind_proxy {
        true => json!({ "exec": { "command": [PROGRAM, "healthcheck", "--probe", name] } }),
        false => json!({ "httpGet": { "path": path, "port": "relay-admin" } }),
    };
    let mut startup = probe("/startupz", "startup");
    startup["periodSeconds"] = 1.into();
    startup["timeoutSeconds"] = 5.into();
    startup["failureThreshold"] = sidecar.startup_failure_threshold.into();
    let mut liveness = probe("/livez", "live");
    liveness["periodSeconds"] = 10.into();
    liveness["timeoutSeconds"] = 5.into();
    let mut container = json!({
        "name": RELAY,
        "image": sidecar.image,
        "args": ["serve"],
        "restartPolicy": "Always",
        "env": env(plan),
        "ports": [{ "name": "relay-admin", "containerPort": port, "protocol": "TCP" }],
        "startupProbe": startup,
        "livenessProbe": liveness,
        "resources": {},
        "securityContext": security(sidecar.run_as),
        "volumeMounts": volumes::of_relay(plan),
    });
    for (kind, list) in [("requests", &sidecar.requests), ("limits", &sidecar.limits)] {
        if !list.is_empty() {
            container["resources"][kind] = json!(list);
        }
    }
    if let Some(policy) = sidecar.image_pull_policy {
        container["imagePullPolicy"] = policy.into();
    }
    container
}

fn env(plan: &Plan<'_>) -> Vec<Value> {
    let of_pod = [
        ("POD_NAME", "metadata.name"),
        ("POD_NAMESPACE", "metadata.namespace"),
        ("POD_SERVICE_ACCOUNT", "spec.serviceAccountName"),
    ];
    let of_pod = of_pod.map(|(name, field)| {
        json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": field } } })
    });
    // As the API server writes it down: what is empty is not there.
    let variable = |name: &str, value: &str| match value {
        "" => json!({ "name": name }),
        value => json!({ "name": name, "value": value }),
    };
    let mut env = Vec::from(of_pod);
    // Kubernetes ends this container after the applications.
    env.push(variable("CREDENTIAL_RELAY_NATIVE_SIDECAR", "true"));
    env.push(match &plan.source {
        // Kubernetes takes $(NAME) and $$ for its own.
        Source::Text(text) => variable(TEXT, &text.as_str().replace('$', "$$")),
        Source::ConfigMap(_) => variable("CREDENTIAL_RELAY_CONFIG", volumes::CONFIG_FILE),
    });
    env.extend(plan.settings.sidecar.env.iter().map(|(name, value)| variable(name, value)));
    env
}

/// What the Pod Security Standard `restricted` wants, and a root that cannot be written.
fn security(run_as: RunAs) -> Value {
    let mut security = Map::new();
    security.insert("allowPrivilegeEscalation".to_owned(), false.into());
    security.insert("capabilities".to_owned(), json!({ "drop": ["ALL"] }));
    security.insert("readOnlyRootFilesystem".to_owned(), true.into());
    security.insert("runAsNonRoot".to_owned(), true.into());
    security.insert("seccompProfile".to_owned(), json!({ "type": "RuntimeDefault" }));
    if let RunAs::User(user) = run_as {
        security.insert("runAsUser".to_owned(), user.into());
        security.insert("runAsGroup".to_owned(), user.into());
    }
    security.into()
}
