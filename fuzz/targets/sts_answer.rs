//! What STS answers: AssumeRole, AssumeRoleWithWebIdentity, GetSessionToken, GetCallerIdentity. The first line of an
//! input names what is asked, the rest is a script (`credential_relay_fuzz::upstream`).

#![no_main]

use std::collections::BTreeMap;

use credential_relay::config::Config;
use credential_relay_fuzz::bench::Bench;
use credential_relay_fuzz::upstream::known_canary;
use libfuzzer_sys::fuzz_target;

const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6ZGVmYXVsdDpwYXltZW50cyJ9.c2lnbmF0dXJl";
/// Of the base, which signs: STS's errors may quote it.
const BASE_SECRET: &str = "secret/of/the+base/user";
const BASE_TOKEN: &str = "session/token/of/the+base";

/// What is asked, with the settings of each. Two hops, so that the second is signed by what the first one gave.
const ASKED: [(&str, &str); 3] = [
    (
        "AssumeRole",
        "source: { file: { path: '{folder}/base.json' } }, chain: [
            { role_arn: 'arn:aws:iam::111122223333:role/hub' }, { role_arn: 'arn:aws:iam::444455556666:role/spoke' }]",
    ),
    (
        "AssumeRoleWithWebIdentity",
        "source: { web_identity: { role_arn: 'arn:aws:iam::111122223333:role/hub', token_file: '{folder}/jwt' } }",
    ),
    ("GetSessionToken", "source: { file: { path: '{folder}/user.json' } }, get_session_token: {}"),
];

/// It is asked with what no profile has.
const IDENTITY: &str = "GetCallerIdentity";

struct World {
    bench: Bench,
    configs: BTreeMap<&'static str, Config>,
}

impl World {
    fn start() -> Self {
        let bench = Bench::start();
        let keys = |more: &str| {
            format!(
                r#"{{"Version":1,"AccessKeyId":"AKIAFUZZTEST00000001","SecretAccessKey":"{BASE_SECRET}"{more}}}"#
            )
        };
        bench.write("user.json", keys("").as_bytes());
        bench.write("base.json", keys(&format!(r#","SessionToken":"{BASE_TOKEN}""#)).as_bytes());
        bench.write("jwt", JWT.as_bytes());
        let config = |profile: &str| {
            bench.config(&format!(
                "{{ sts: {{ region: us-east-1, endpoint: 'http://{{upstream}}' }}, profiles: {{ p: {{ {profile} }} }} }}"
            ))
        };
        let configs = ASKED.map(|(name, profile)| (name, config(profile)));
        Self { configs: configs.into(), bench }
    }
}

thread_local! {
    static WORLD: World = World::start();
}

fuzz_target!(|data: &[u8]| {
    let input = String::from_utf8_lossy(data);
    let Some((name, script)) = input.split_once('\n') else { return };
    WORLD.with(|World { bench, configs }| {
        // What was shown to STS.
        let mut secrets = match name {
            "AssumeRoleWithWebIdentity" => vec![JWT],
            "GetSessionToken" => vec![BASE_SECRET],
            _ => vec![BASE_SECRET, BASE_TOKEN],
        };
        // The second hop is signed by what the first one gave, so what it says of the base is not known to be secret.
        let (_, later) = script.split_once("\n---\n").unwrap_or_default();
        secrets.retain(|secret| !later.contains(secret));
        secrets.extend(known_canary(script));
        match configs.get(name) {
            Some(config) => bench.fetch(config, script, &secrets),
            None if name == IDENTITY => {
                bench.identify(&configs["AssumeRole"], script, [BASE_SECRET, BASE_TOKEN], &secrets)
            }
            None => {}
        }
    });
});
