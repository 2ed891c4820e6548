//! What EKS's webhooks give to a pod whose service account has a role: for IAM roles for service
//! accounts and for Pod Identity. Where it may be replaced it goes from the applications to the relay,
//! whose base credentials it can be.

use serde_json::Value;

use super::plan::Plan;
use super::{again, variables};
use crate::injector::pod::{LISTS, name_of};

/// Containers that EKS's webhooks leave alone, by their own documentation.
pub(super) const SKIP_CONTAINERS: &str = "eks.amazonaws.com/skip-containers";

const VOLUMES: [&str; 2] = ["aws-iam-token", "eks-pod-identity-token"];

/// The variables that they set.
pub(super) const VARIABLES: [&str; 7] = [
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
];

/// What was taken from the applications.
#[derive(Debug, Default)]
pub(super) struct Handed {
    env: Vec<Value>,
    mounts: Vec<Value>,
}

/// Takes the mounts of EKS's tokens from the containers that get something, and notes the variables
/// beside them. The variables themselves are taken out with all others that lead past the relay.
pub(super) fn take_from(pod: &mut Value, plan: &Plan<'_>) -> Handed {
    let mut handed = Handed::default();
    for list in LISTS {
        let Some(Value::Array(containers)) = pod.pointer_mut(&format!("/spec/{list}")) else {
            continue;
        };
        for container in containers {
            let share = name_of(container).and_then(|name| plan.share(name));
            if let Some(share) = share {
                let own = variables::wanted(plan, share);
                handed.take(container, &own);
            }
        }
    }
    handed
}

impl Handed {
    fn take(&mut self, container: &mut Value, own: &[Value]) {
        let is_token = |mount: &Value| name_of(mount).is_some_and(|name| VOLUMES.contains(&name));
        let Some(Value::Array(mounts)) = container.get_mut("volumeMounts") else { return };
        let tokens: Vec<Value> = mounts.iter().filter(|mount| is_token(mount)).cloned().collect();
        if tokens.is_empty() {
            return;
        }
        mounts.retain(|mount| !is_token(mount));
        self.mounts = again::merged(&self.mounts, &tokens, "mountPath");
        let env = container.get("env").and_then(Value::as_array);
        let is_eks = |variable: &&Value| {
            name_of(variable).is_some_and(|n| VARIABLES.contains(&n)) && !own.contains(variable)
        };
        let env: Vec<Value> = env.into_iter().flatten().filter(is_eks).cloned().collect();
        self.env = again::merged(&self.env, &env, "name");
    }

    /// Gives it to the relay; what the injector's configuration says there outranks it.
    pub(super) fn given_to(self, mut relay: Value) -> Value {
        let given = [("env", "name", self.env), ("volumeMounts", "mountPath", self.mounts)];
        for (field, key, given) in given {
            if let Some(Value::Array(list)) = relay.get_mut(field) {
                *list = again::merged(&given, list, key);
            }
        }
        relay
    }
}
