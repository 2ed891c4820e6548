//! What Vault, or something before it, answers: logins, tokens, roles of each kind, refusals. The first line of an input
//! names a source, the rest is a script (`credential_relay_fuzz::upstream`).

#![no_main]

use std::collections::BTreeMap;

use credential_relay::config::Config;
use credential_relay_fuzz::bench::Bench;
use credential_relay_fuzz::upstream::known_canary;
use libfuzzer_sys::fuzz_target;

/// What the relay shows Vault at a login. An input may have it too: as what is sent back.
const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6ZGVmYXVsdDpwYXltZW50cyJ9.c2lnbmF0dXJl";
const WRAPPING: &str = "hvs.wrapping-token-of-the-relay-0001";

const KUBERNETES: &str = "kubernetes: { role: app, token_file: '{folder}/jwt' }";
const WRAPPED: &str = "approle: { role_id: 9d1c4f2e, wrapped_secret_id: { file: '{folder}/wrapping', creation_path: auth/approle/role/app/secret-id } }";

/// The sources, with the login and the profile of each.
const SOURCES: [(&str, &str, &str); 5] = [
    (
        "assumed_role",
        KUBERNETES,
        "source: { vault: { role: hub, ttl: 1h, credential_type: assumed_role } }",
    ),
    (
        "iam_user",
        KUBERNETES,
        "source: { vault: { role: user, credential_type: iam_user } }, serve_long_lived_keys: true",
    ),
    ("any", KUBERNETES, "source: { vault: { role: any } }, serve_long_lived_keys: true"),
    (
        "static",
        KUBERNETES,
        "source: { vault: { static_role: legacy } }, serve_long_lived_keys: true",
    ),
    ("wrapped", WRAPPED, "source: { vault: { role: hub, credential_type: assumed_role } }"),
];

struct World {
    bench: Bench,
    configs: BTreeMap<&'static str, Config>,
}

impl World {
    fn start() -> Self {
        let bench = Bench::start();
        let config = |login: &str, profile: &str| {
            bench.config(&format!(
                "{{ sts: {{ region: us-east-1 }}, vault: {{ address: 'http://{{upstream}}', timeout: 5s, auth: {{ {login} }} }},
                    profiles: {{ p: {{ {profile} }} }} }}"
            ))
        };
        let configs = SOURCES.map(|(name, login, profile)| (name, config(login, profile)));
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
        let Some(config) = configs.get(name) else { return };
        // A login may use them up.
        bench.write("jwt", JWT.as_bytes());
        bench.write("wrapping", WRAPPING.as_bytes());
        let mut secrets = vec![if name == "wrapped" { WRAPPING } else { JWT }];
        secrets.extend(known_canary(script));
        bench.fetch(config, script, &secrets);
    });
});
