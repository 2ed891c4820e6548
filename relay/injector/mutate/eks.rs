//! What EKS's webhooks give to a pod whose service account has a role: for IAM roles for service
//! accounts and for Pod Identity. Where it may be replaced it goes from the applications to the relay,
//! whose base credentials it can be. Whoever makes a pod may write these names into it himself, so what
//! is not exactly as EKS makes it never goes over.

use serde_json::{Value, json};

use super::plan::Plan;
use super::{Denial, Pod, again, variables};
use crate::arn::RoleArn;
use crate::config::values::Region;
use crate::injector::pod::{LISTS, cut, name_of};

/// Containers that EKS's webhooks leave alone, by their own documentation.
pub(super) const SKIP_CONTAINERS: &str = "eks.amazonaws.com/skip-containers";

/// One of the ways in which EKS gives a role to a pod.
struct Way {
    volume: &'static str,
    /// Where the volume is mounted.
    folder: &'static str,
    /// The token in it.
    file: &'static str,
    /// Whom the token is for, where that is the same for every pod.
    audience: Option<&'static str>,
    /// What leads to it.
    variables: [&'static str; 2],
}

const WAYS: [Way; 2] = [
    Way {
        volume: "aws-iam-token",
        folder: "/var/run/secrets/eks.amazonaws.com/serviceaccount",
        file: "token",
        // The service account says it.
        audience: None,
        variables: ["AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"],
    },
    Way {
        volume: "eks-pod-identity-token",
        folder: "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount",
        file: "eks-pod-identity-token",
        audience: Some("pods.eks.amazonaws.com"),
        variables: ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"],
    },
];

/// The agents of Pod Identity, on every node.
const AGENTS: [&str; 2] =
    ["http://169.254.170.23/v1/credentials", "http://[fd00:ec2::23]/v1/credentials"];

/// Whether a variable is one of EKS's, with a value that EKS gives it. Its webhooks set the region too,
/// where no other is set.
pub(super) fn gives(variable: &Value) -> bool {
    let (Some(name), Some(value)) = (name_of(variable), plain(variable)) else { return false };
    match name {
        "AWS_REGION" | "AWS_DEFAULT_REGION" => value.parse::<Region>().is_ok(),
        _ => WAYS.iter().any(|way| way.variables.contains(&name) && way.gives(name, value)),
    }
}

/// The value of a variable that says it itself, and nothing else.
fn plain(variable: &Value) -> Option<&str> {
    let map = variable.as_object()?;
    map.get("value")?.as_str().filter(|_| map.len() == 2)
}

impl Way {
    fn gives(&self, name: &str, value: &str) -> bool {
        match name {
            "AWS_ROLE_ARN" => value.parse::<RoleArn>().is_ok(),
            "AWS_CONTAINER_CREDENTIALS_FULL_URI" => AGENTS.contains(&value),
            _ => {
                value.strip_prefix(self.folder).and_then(|rest| rest.strip_prefix('/'))
                    == Some(self.file)
            }
        }
    }

    fn mount(&self) -> Value {
        json!({ "name": self.volume, "mountPath": self.folder, "readOnly": true })
    }

    /// Whether the pod's volume of its name holds a token of the service account's and no more.
    fn is_in(&self, pod: Pod<'_>) -> bool {
        let mut volumes =
            pod.list("volumes").iter().filter(|one| name_of(one) == Some(self.volume));
        let (Some(volume), None) = (volumes.next(), volumes.next()) else { return false };
        let projected = &volume["projected"];
        let [source] = projected["sources"].as_array().map_or(&[][..], Vec::as_slice) else {
            return false;
        };
        let token = &source["serviceAccountToken"];
        has_only(volume, &["name", "projected"])
            && has_only(projected, &["sources", "defaultMode"])
            && has_only(source, &["serviceAccountToken"])
            && has_only(token, &["audience", "expirationSeconds", "path"])
            && token["path"] == self.file
            && self.audience.is_none_or(|audience| token["audience"] == audience)
    }
}

fn has_only(value: &Value, known: &[&str]) -> bool {
    let map = value.as_object();
    map.is_some_and(|map| map.keys().all(|name| known.contains(&name.as_str())))
}

/// What was taken from the applications.
#[derive(Debug, Default)]
pub(super) struct Handed {
    env: Vec<Value>,
    mounts: Vec<Value>,
}

/// Takes the mounts of EKS's tokens from the containers that get something, and notes the variables
/// beside them. The variables themselves are taken out with all others that lead past the relay.
/// What has EKS's names and is not EKS's is refused: nobody could tell which of both was meant.
pub(super) fn take_from(pod: &mut Value, plan: &Plan<'_>, denial: &mut Denial) -> Handed {
    let mut handed = Handed::default();
    let there = WAYS.map(|way| way.is_in(Pod(pod)));
    for list in LISTS {
        let Some(Value::Array(containers)) = pod.pointer_mut(&format!("/spec/{list}")) else {
            continue;
        };
        for container in containers {
            let share = name_of(container).and_then(|name| plan.share(name));
            let Some(share) = share else { continue };
            let own = variables::wanted(plan, share);
            for (way, there) in WAYS.iter().zip(there) {
                handed.take(container, way, there, &own, denial);
            }
        }
    }
    handed
}

impl Handed {
    /// `there` says that the pod's volume is EKS's, `own` is what the injector gave to the container
    /// when it looked at it before.
    fn take(
        &mut self,
        container: &mut Value,
        way: &Way,
        there: bool,
        own: &[Value],
        denial: &mut Denial,
    ) {
        let whose = cut(name_of(container).unwrap_or_default());
        let Some(Value::Array(mounts)) = container.get_mut("volumeMounts") else { return };
        let count = mounts.len();
        let mut right = there;
        let wanted = way.mount();
        mounts.retain(|mount| {
            let named = name_of(mount) == Some(way.volume);
            right = right && (!named || *mount == wanted);
            !named
        });
        if mounts.len() == count {
            return;
        }
        if !right {
            denial.add("spec.containers", not_eks(&whose, &format!("the volume {}", way.volume)));
            return;
        }
        add(&mut self.mounts, &wanted);
        let env = container.get("env").and_then(Value::as_array);
        for variable in env.into_iter().flatten().filter(|one| !own.contains(one)) {
            let name = name_of(variable).unwrap_or_default();
            if !way.variables.contains(&name) {
                continue;
            }
            if gives(variable) {
                self.hand(variable, name, denial);
            } else {
                denial.add("spec.containers", not_eks(&whose, name));
            }
        }
    }

    fn hand(&mut self, variable: &Value, name: &str, denial: &mut Denial) {
        let other = |there: &Value| name_of(there) == Some(name) && there != variable;
        if self.env.iter().any(other) {
            let what = format!(
                "containers have {name} with different values, and the pod has one relay: keep one of them"
            );
            denial.add("spec.containers", what);
        } else {
            add(&mut self.env, variable);
        }
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

fn not_eks(container: &str, what: &str) -> String {
    format!(
        "the container {container} has {what} otherwise than EKS makes it: the relay takes over EKS's own alone; remove it, or let EKS set it"
    )
}

fn add(list: &mut Vec<Value>, item: &Value) {
    if !list.contains(item) {
        list.push(item.clone());
    }
}
