//! The whole relay over the embedded Vault: new keys on trial, keys that died, leaks, the end.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use credential_relay::credential::Secret;
use credential_relay::dev::sts::{IssuedLifetime, Propagation};
use credential_relay::dev::vault::{
    CredentialType, Fault, FaultKind, Grant, Login, Material, Operation, Role, Settings, Vault,
};
use rustix::process::Signal;

use crate::common::{HUB, World, parse};
use crate::harness::{Left, Program, Relay, eventually, run, token, write_config};
use crate::search::Secrets;

const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6ZGVmYXVsdDpwYXltZW50cyJ9.c2lnbmVkLWJ5LW5vYm9keS1hdC1hbGwtYnV0LWxvbmctZW5vdWdo";
const PASSWORD: &str = "correct-horse-battery-staple";

/// A Vault in a world, and the text of a relay's configuration over it.
struct Bench {
    world: World,
    vault: Vault,
    address: String,
}

impl Bench {
    async fn start(propagation: Propagation) -> Self {
        let world = World::live(IssuedLifetime::AsAsked).await;
        let login = |mount: &str, material| Login {
            mount: mount.to_owned(),
            role: "app".to_owned(),
            material,
            grant: Grant::default(),
        };
        let hub = CredentialType::AssumedRole(vec![HUB.parse().unwrap()]);
        let settings = Settings {
            logins: vec![
                login("kubernetes", Material::Kubernetes { jwt: Secret::new(JWT.to_owned()) }),
                login(
                    "userpass",
                    Material::UserPass { password: Secret::new(PASSWORD.to_owned()) },
                ),
            ],
            roles: BTreeMap::from([
                ("user".to_owned(), Role::new(CredentialType::IamUser)),
                ("hub".to_owned(), Role::new(hub)),
            ]),
            propagation,
            ..Settings::default()
        };
        let (vault, address) = world.vault(settings);
        fs::write(world.path("jwt"), format!("{JWT}\n")).unwrap();
        fs::write(world.path("password"), format!("{PASSWORD}\n")).unwrap();
        Self { world, vault, address: format!("http://{address}") }
    }

    /// Profiles, each a name, its `source.vault` and more of it.
    fn text(&self, profiles: &[(&str, &str, &str)]) -> String {
        let profiles: Vec<_> = profiles
            .iter()
            .map(|(name, vault, more)| {
                let token = self.world.token_file(name);
                format!(
                    "{name}: {{ source: {{ vault: {vault} }}, access: {{ token_file: {} }} {more} }}",
                    token.display()
                )
            })
            .collect();
        format!(
            "{{ endpoint: {{ listen: '127.0.0.1:0' }}, admin: {{ listen: '127.0.0.1:0', socket: {} }},
                sts: {{ region: us-east-1, endpoint: 'http://{}' }},
                vault: {{ address: '{}', timeout: 2s, propagation: {{ successes: 2, settle: 0s }},
                          auth: {{ kubernetes: {{ role: app, token_file: {} }} }} }},
                profiles: {{ {} }} }}",
            self.world.path("admin.sock").display(),
            self.world.address,
            self.address,
            self.world.path("jwt").display(),
            profiles.join(", ")
        )
    }

    fn users_text(&self) -> String {
        self.text(&[("user", "{ role: user }", ", serve_long_lived_keys: true")])
    }

    async fn status(&self, socket: &str) -> Left {
        let config = write_config(&self.world, &self.users_text());
        let _ = socket;
        run(&["status", "--json", "--config", config.to_str().unwrap()], &[]).await
    }

    fn users(&self) -> u64 {
        self.vault.ledger().count(Operation::Creds("user".to_owned()))
    }
}

#[tokio::test]
async fn a_new_key_is_on_trial_until_aws_knows_it_and_no_other_is_made() {
    let bench = Bench::start(Propagation::failing(4)).await;
    let relay = Relay::start(&parse(&bench.users_text()));
    let place = &relay.place;
    let waiting = place.answers(&bench.world, "user", 503).await;
    eventually("the trial is told", async || {
        let answer = place.credential(&bench.world, "user").await;
        (answer.status == 200 || answer.body.contains("is new")).then_some(())
    })
    .await;
    assert!(!waiting.body.contains("SecretAccessKey"), "{waiting:?}");
    let served = place.answers(&bench.world, "user", 200).await;
    assert_eq!(bench.users(), 1, "the same key was tried on");
    assert_eq!(place.probe("/startupz").await.status, 200);
    assert!(served.key_id().starts_with("AKIA"), "{served:?}");
    let metrics = place.probe("/metrics").await.body;
    let known = r#"propagation_checks_total{profile="user",result="known"} 1"#;
    assert!(metrics.contains(known), "{metrics}");
    relay.stop().await;
}

#[tokio::test]
async fn a_key_that_died_with_its_token_is_withdrawn_and_replaced() {
    let bench = Bench::start(Propagation::default()).await;
    let text = bench.text(&[
        ("user", "{ role: user }", ", serve_long_lived_keys: true"),
        ("hub", "{ role: hub }", ""),
    ]);
    let relay = Relay::start(&parse(&text));
    let place = &relay.place;
    let dead = place.answers(&bench.world, "user", 200).await.key_id();
    place.answers(&bench.world, "hub", 200).await;
    bench.vault.revoke_all_tokens();
    // The other profile's rotation finds out.
    assert_eq!(place.rotate("hub").await.status, 200);
    eventually("another user's key is served", async || {
        let answer = place.credential(&bench.world, "user").await;
        (answer.status == 200 && answer.key_id() != dead).then_some(())
    })
    .await;
    assert_eq!(bench.vault.ledger().count(Operation::Login), 2);
    assert_eq!(bench.users(), 2);
    relay.stop().await;
}

#[tokio::test]
async fn a_native_sidecar_revokes_at_its_end_and_another_does_not() {
    for (variables, left) in
        [(&[][..], (1, 1)), (&[("CREDENTIAL_RELAY_NATIVE_SIDECAR", "true")][..], (0, 0))]
    {
        let bench = Bench::start(Propagation::default()).await;
        let config = write_config(&bench.world, &bench.users_text());
        let arguments = ["serve", "--drain", "0", "--config", config.to_str().unwrap()];
        let mut relay = Program::start(&arguments, variables);
        let place = relay.place(&bench.world.path("admin.sock")).await;
        place.answers(&bench.world, "user", 200).await;
        relay.signal(Signal::TERM);
        let ended = relay.ended().await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!((bench.vault.users_alive(), bench.vault.tokens_alive()), left, "{variables:?}");
    }
}

#[tokio::test]
async fn an_end_is_not_held_up_by_a_vault_that_hangs() {
    let bench = Bench::start(Propagation::default()).await;
    let config = write_config(&bench.world, &bench.users_text());
    let arguments = ["serve", "--drain", "0", "--config", config.to_str().unwrap()];
    let native = [("CREDENTIAL_RELAY_NATIVE_SIDECAR", "true")];
    let mut relay = Program::start(&arguments, &native);
    let place = relay.place(&bench.world.path("admin.sock")).await;
    place.answers(&bench.world, "user", 200).await;
    bench.vault.faults().set(vec![Fault::every("auth/token/", FaultKind::Hang)]);
    relay.signal(Signal::TERM);
    let ended = relay.ended().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.err.contains("revoked"), "{ended:?}");
}

#[tokio::test]
async fn a_check_leaves_no_user_behind() {
    let bench = Bench::start(Propagation::failing(2)).await;
    let config = write_config(&bench.world, &bench.users_text());
    let left = run(&["check", "--connect", "--config", config.to_str().unwrap()], &[]).await;
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(left.out.contains("user/"), "AWS says whose they are: {left:?}");
    assert_eq!((bench.vault.users_alive(), bench.vault.tokens_alive()), (0, 0));
}

#[tokio::test]
async fn nothing_that_the_relay_says_of_vault_holds_a_secret() {
    let bench = Bench::start(Propagation::failing(1)).await;
    let userpass = format!(
        "{{ role: hub, auth: {{ userpass: {{ username: app, password_file: {} }} }} }}",
        bench.world.path("password").display()
    );
    let text = bench.text(&[
        ("user", "{ role: user }", ", serve_long_lived_keys: true"),
        ("hub", &userpass, ""),
        ("missing", "{ role: none }", ""),
    ]);
    let mut relay = Program::serve(&bench.world, &text, &[]);
    let place = relay.place(&bench.world.path("admin.sock")).await;
    place.answers(&bench.world, "user", 200).await;
    place.answers(&bench.world, "hub", 200).await;
    for status in [400, 403, 500] {
        // A login alone sends what could come back.
        bench.vault.faults().set(vec![
            Fault::every("auth/kubernetes/", FaultKind::status(status, JWT)),
            Fault::every("auth/userpass/", FaultKind::status(status, PASSWORD)),
        ]);
        bench.vault.revoke_all_tokens();
        place.rotate("user").await;
        place.rotate("hub").await;
    }
    for kind in [
        FaultKind::status(403, JWT),
        FaultKind::Garbage,
        FaultKind::Truncated,
        FaultKind::Field("/data/access_key", Some(PASSWORD.into())),
        FaultKind::Field("/auth/client_token", None),
        FaultKind::Redirect("http://vault.example.com".to_owned()),
        FaultKind::Close,
    ] {
        bench.vault.faults().set(vec![Fault::every("", kind)]);
        place.rotate("user").await;
        place.rotate("hub").await;
    }
    bench.vault.faults().set(Vec::new());
    bench.vault.revoke_all_tokens();
    place.rotate("user").await;
    let status = bench.status("").await;
    let metrics = place.probe("/metrics").await.body;
    let missing = place.credential(&bench.world, "missing").await;
    relay.signal(Signal::TERM);
    let ended = relay.ended().await;
    let issued = bench.world.issued.all().into_iter().filter(|secret| secret.len() >= 16);
    let tokens = ["user", "hub", "missing"].map(|name| token(&bench.world, name));
    let secrets = issued.chain(tokens).chain([JWT, PASSWORD].map(str::to_owned));
    Secrets::new(secrets).assert_untold(&[
        ("its log".to_owned(), ended.err),
        ("its output".to_owned(), ended.out),
        ("its status".to_owned(), status.out + &status.err),
        ("its metrics".to_owned(), metrics),
        ("its refusal".to_owned(), missing.body),
    ]);
}

/// Nothing here takes so long.
#[tokio::test]
async fn a_dead_vault_is_spared_and_what_is_held_is_served() {
    let bench = Bench::start(Propagation::default()).await;
    let text = bench.text(&[("hub", "{ role: hub }", "")]);
    let relay = Relay::start(&parse(&text));
    let held = relay.place.answers(&bench.world, "hub", 200).await.key_id();
    bench.vault.seal(true);
    let before = bench.vault.ledger().calls().len();
    assert_eq!(relay.place.rotate("hub").await.status, 502);
    for _ in 0..20 {
        assert_eq!(relay.place.credential(&bench.world, "hub").await.key_id(), held);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let calls = bench.vault.ledger().calls().len() - before;
    // The rotation's own are few, however long this took: it backs off.
    assert!(calls < 10, "requests of applications cause none: {calls}");
    bench.vault.seal(false);
    assert_eq!(relay.place.rotate("hub").await.status, 200);
    relay.stop().await;
}
