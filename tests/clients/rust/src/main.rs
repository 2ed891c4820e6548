//! The AWS SDK for Rust. See ../../README.md.

use std::io;
use std::sync::{Arc, Mutex};

use aws_config::BehaviorVersion;
use aws_sdk_sts::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_sts::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sts::error::BoxError;
use credential_relay_clients_protocol::serve;

/// Reads the access key that a request was signed with.
#[derive(Clone, Debug, Default)]
struct NoteKey(Arc<Mutex<Option<String>>>);

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
        let (_, scope) = header.split_once("Credential=").ok_or("the request is not signed")?;
        *self.0.lock().unwrap() = scope.split('/').next().map(str::to_owned);
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let shared = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let key = NoteKey::default();
    let settings = aws_sdk_sts::config::Builder::from(&shared).interceptor(key.clone()).build();
    let sts = aws_sdk_sts::Client::from_conf(settings);
    serve(async || {
        let called = sts.get_caller_identity().send().await;
        called.map(|_| key.0.lock().unwrap().clone())
    })
    .await
}
