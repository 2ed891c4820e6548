//! A long-lived client of the AWS SDK for Rust: signed calls until it has used `CLIENT_KEYS` access keys. See ../README.md.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_config::BehaviorVersion;
use aws_sdk_sts::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_sts::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sts::error::{BoxError, DisplayErrorContext};

/// Reads the access key that each request was signed with.
#[derive(Clone, Debug, Default)]
struct NoteKey(Arc<Mutex<BTreeSet<String>>>);

impl NoteKey {
    fn used(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Intercept for NoteKey {
    fn name(&self) -> &'static str {
        "NoteKey"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let header = context.request().headers().get("authorization").unwrap_or_default();
        let key = header
            .split_once("Credential=")
            .and_then(|(_, scope)| scope.split_once('/'))
            .map(|(key, _)| key.to_owned())
            .ok_or("the request is not signed")?;
        if self.0.lock().unwrap().insert(key.clone()) {
            println!("key {key}");
        }
        Ok(())
    }
}

fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect(name))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let wanted = setting("CLIENT_KEYS", 4);
    let deadline =
        Instant::now() + Duration::from_secs(setting("CLIENT_DEADLINE_SECONDS", 90) as u64);
    let shared = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let keys = NoteKey::default();
    let settings = aws_sdk_sts::config::Builder::from(&shared).interceptor(keys.clone()).build();
    let sts = aws_sdk_sts::Client::from_conf(settings);
    for calls in 1_usize.. {
        let identity = match sts.get_caller_identity().send().await {
            Ok(identity) => identity,
            Err(error) => {
                eprintln!("call {} failed: {}", calls - 1, DisplayErrorContext(&error));
                return ExitCode::FAILURE;
            }
        };
        if keys.used() >= wanted {
            println!("done {calls} {}", identity.arn().unwrap_or_default());
            return ExitCode::SUCCESS;
        }
        if Instant::now() > deadline {
            eprintln!("deadline: {} of {wanted} keys in {calls} calls", keys.used());
            return ExitCode::FAILURE;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    unreachable!("the loop above only returns");
}
