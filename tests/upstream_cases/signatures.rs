//! Requests that are signed by hand, and broken in one place. The signer shares nothing with the
//! upstream's own check of signatures.

use std::collections::BTreeMap;

use credential_relay::clock::{Clock, Timestamp};
use ring::{digest, hmac};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Answer, ExpectedError, Keys, Upstream, World, calls};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Why moto cannot pass it.
    not_on_moto: Option<String>,
    /// Whether a session of the hub signs, not the base user.
    #[serde(default)]
    as_session: bool,
    #[serde(default)]
    with: Breakage,
    /// Nothing if it must be accepted.
    expect: Option<ExpectedError>,
}

/// How a request differs from a right one.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Breakage {
    method: Option<String>,
    path: Option<String>,
    /// The form that is signed.
    parameters: Option<String>,
    /// The form that is sent, if it is another.
    sent_parameters: Option<String>,
    key_id: Option<String>,
    secret: Option<String>,
    token: Option<String>,
    region: Option<String>,
    service: Option<String>,
    terminator: Option<String>,
    scope_date: Option<String>,
    signed_this_much_later: i64,
    /// Headers that are sent but not signed.
    unsigned: Vec<String>,
    /// Headers that are signed but not sent.
    dropped: Vec<String>,
    /// Headers that are sent with another value than was signed.
    altered: BTreeMap<String, String>,
    /// Further headers, signed like the others.
    pub(crate) further: BTreeMap<String, String>,
}

/// Runs the cases; every failure is told.
pub(crate) async fn run(world: &World, upstream: Upstream) {
    let cases: Vec<Case> = serde_json::from_str(include_str!("signatures.json")).unwrap();
    let session = calls::client(world, &world.base)
        .assume_role()
        .role_arn(&world.hub_role_arn)
        .role_session_name("signatures")
        .send()
        .await
        .unwrap();
    let session = calls::session_keys(&session);
    let mut failures = Vec::new();
    let mut ran = 0;
    for case in cases {
        if !upstream.runs(case.not_on_moto.as_ref()) {
            continue;
        }
        ran += 1;
        let keys = if case.as_session { &session } else { &world.base };
        let now = Clock::system().now().wall;
        let answer = send(world, keys, &case.with, now).await;
        let result = match &case.expect {
            Some(expected) => expected.holds(&answer),
            None if answer.status == 200 => Ok(()),
            None => Err(format!("{} {}", answer.status, answer.body)),
        };
        if let Err(why) = result {
            failures.push(format!("{}: {why}", case.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(ran > 0, "no case was run");
}

/// A request that is signed.
pub(crate) struct Signed {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// Signs a GetCallerIdentity (or what `with` has in its place) at `now`, and sends it.
pub(crate) async fn send(world: &World, keys: &Keys, with: &Breakage, now: Timestamp) -> Answer {
    let Signed { method, target, headers, body } = sign(world, keys, with, now);
    let mut request = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in &headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n{body}", body.len());
    exchange(world.endpoint.trim_start_matches("http://"), &request).await
}

/// Signs it.
pub(crate) fn sign(world: &World, keys: &Keys, with: &Breakage, now: Timestamp) -> Signed {
    let or = |changed: &Option<String>, right: &str| changed.clone().unwrap_or(right.to_owned());
    let address = world.endpoint.trim_start_matches("http://");
    let method = or(&with.method, "POST");
    let signed_form = or(&with.parameters, "Action=GetCallerIdentity&Version=2011-06-15");
    let sent_form = or(&with.sent_parameters, &signed_form);
    let date = Timestamp::from_secs(now.as_secs() + with.signed_this_much_later);
    let date = date.to_string().replace(['-', ':'], "");

    let mut headers = BTreeMap::from([
        ("host".to_owned(), address.to_owned()),
        ("x-amz-date".to_owned(), date.clone()),
    ]);
    if method == "POST" {
        headers.insert("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned());
    }
    if let Some(token) = with.token.as_ref().or(keys.session_token.as_ref()) {
        headers.insert("x-amz-security-token".to_owned(), token.clone());
    }
    headers.extend(with.further.clone());

    let scope = format!(
        "{}/{}/{}/{}",
        or(&with.scope_date, &date[..8]),
        or(&with.region, &world.region),
        or(&with.service, "sts"),
        or(&with.terminator, "aws4_request"),
    );
    let authorization = authorize(
        &or(&with.key_id, &keys.access_key_id),
        &or(&with.secret, &keys.secret_access_key),
        &scope,
        &date,
        headers.iter().filter(|(name, _)| !with.unsigned.contains(name)),
        &method,
        &signed_form,
    );
    headers.insert("authorization".to_owned(), authorization);
    headers.retain(|name, _| !with.dropped.contains(name));
    headers.extend(with.altered.clone());

    let path = or(&with.path, "/");
    let (target, body) = match method.as_str() {
        "POST" => (path, sent_form),
        _ => (format!("{path}?{sent_form}"), String::new()),
    };
    Signed { method, target, headers, body }
}

fn authorize<'a>(
    key_id: &str,
    secret: &str,
    scope: &str,
    date: &str,
    headers: impl Iterator<Item = (&'a String, &'a String)>,
    method: &str,
    form: &str,
) -> String {
    let headers: Vec<_> = headers.collect();
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let lines: String = headers
        .iter()
        .map(|(name, value)| {
            let words: Vec<_> = value.split_whitespace().collect();
            format!("{name}:{}\n", words.join(" "))
        })
        .collect();
    let (query, body) = if method == "POST" { ("", form) } else { (form, "") };
    let canonical = format!("{method}\n/\n{query}\n{lines}\n{names}\n{}", sha256(body));
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(&canonical));
    let key =
        scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part));
    format!(
        "AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={}",
        hex(&mac(&key, &to_sign))
    )
}

async fn exchange(address: &str, request: &str) -> Answer {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    Answer { status: status.parse().unwrap(), body: body.to_owned() }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
