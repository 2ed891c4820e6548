//! Apache OpenDAL's S3 service, whose credentials come by reqsign. See ../../README.md.

use std::{env, io};

use credential_relay_clients_protocol::serve;
use opendal::Operator;
use opendal::services::S3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let bucket = env::var("CLIENT_BUCKET").map_err(io::Error::other)?;
    let operator = Operator::new(S3::default().bucket(&bucket)).map_err(io::Error::other)?;
    serve(async || operator.stat("hello").await.map(|_| None)).await
}
