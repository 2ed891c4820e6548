//! The relay's transport as the AWS SDK's clients take it.

use aws_sdk_sts::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::Full;

use super::client::ATTEMPT;
#[cfg(feature = "host")]
use crate::config::values::UpstreamUrl;
use crate::transport::{SendError, Transport};

/// What the SDK's clients are given.
pub(super) fn http_client(transport: Transport) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(transport));
    http_client_fn(move |_, _| connector.clone())
}

/// What clients are given that ask https and http addresses alike: plain http is spoken to this
/// machine and its link alone.
#[cfg(feature = "host")]
pub(crate) fn http_client_by_scheme(secure: Transport, plain: Transport) -> SharedHttpClient {
    let connector =
        SharedHttpConnector::new(ByScheme { secure: Connector(secure), plain: Connector(plain) });
    http_client_fn(move |_, _| connector.clone())
}

#[cfg(feature = "host")]
#[derive(Debug)]
struct ByScheme {
    secure: Connector,
    plain: Connector,
}

#[cfg(feature = "host")]
impl HttpConnector for ByScheme {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri = request.uri();
        let address = uri.split(['?', '#']).next().and_then(|uri| uri.parse::<UpstreamUrl>().ok());
        match address {
            Some(address) if !address.is_plain() => self.secure.call(request),
            Some(address) if address.is_private() => self.plain.call(request),
            Some(_) | None => HttpConnectorFuture::ready(Err(ConnectorError::user(
                "an address with plain http on another machine, where anybody between could read the credentials"
                    .into(),
            ))),
        }
    }
}

#[derive(Debug)]
struct Connector(Transport);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let transport = self.0.clone();
        HttpConnectorFuture::new(async move { exchange(&transport, request).await })
    }
}

async fn exchange(
    transport: &Transport,
    request: HttpRequest,
) -> Result<HttpResponse, ConnectorError> {
    let request =
        request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?.map(
            // STS is asked with short texts, which are in memory.
            |body| Full::new(Bytes::copy_from_slice(body.bytes().unwrap_or_default())),
        );
    let answer = transport.send(request, ATTEMPT).await.map_err(|error| match error {
        SendError::NoConnection(_) | SendError::Late(_) => ConnectorError::timeout(error.into()),
        SendError::Connection(_) | SendError::Answer(_) => ConnectorError::io(error.into()),
    })?;
    answer
        .map(SdkBody::from)
        .try_into()
        .map_err(|error| ConnectorError::other(Box::new(error), None))
}
