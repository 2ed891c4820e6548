//! The `object_store` crate: what DataFusion, Polars, delta-rs and LanceDB read S3 with. See ../../README.md.

use std::{env, io};

use credential_relay_clients_protocol::serve;
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let bucket = env::var("CLIENT_BUCKET").map_err(io::Error::other)?;
    // It refuses plain HTTP, which only the test AWS speaks, unless told.
    let store =
        AmazonS3Builder::from_env().with_bucket_name(bucket).with_allow_http(true).build()?;
    serve(async || store.head(&Path::from("hello")).await.map(|_| None)).await
}
