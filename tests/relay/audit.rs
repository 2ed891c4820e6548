//! The audit of a whole relay.

use credential_relay::dev::sts::IssuedLifetime;
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{USER_SECRET, World, two_hops};
use crate::harness::{Program, run, token, write_config};
use crate::search::Secrets;

fn records(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_key_is_followed_from_its_fetch_to_its_first_use() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let text = world.text(&[("payments", &two_hops())]);
    let text = format!("{{ audit: {{ to: stdout }}, {}", text.strip_prefix('{').unwrap());
    let mut relay = Program::serve(&world, &text, &["--drain", "0"]);
    let place = relay.place(&world.path("admin.sock")).await;
    let key = place.answers(&world, "payments", 200).await.key_id();
    place.credential(&world, "payments").await;
    assert_eq!(place.ask_with("payments", "a-token-of-nobody").await.status, 401);
    let rotated = place.rotate("payments").await.json();
    let next = rotated["credential"]["access_key_id"].as_str().unwrap().to_owned();
    place.credential(&world, "payments").await;
    relay.signal(Signal::TERM);
    let left = relay.ended().await;
    assert_eq!(left.code, Some(0), "{left:?}");

    let records = records(&left.out);
    // Requests before the first credential may have been held or refused.
    let of = |event: &str| -> Vec<&Value> {
        records.iter().filter(|record| record["event"] == event).collect()
    };
    let keys = |records: &[&Value]| -> Vec<Value> {
        records.iter().map(|record| record["access_key_id"].clone()).collect()
    };
    assert_eq!(keys(&of("rotated")), [key.as_str(), next.as_str()]);
    let issued = of("issued");
    assert_eq!(keys(&issued), [key.as_str(), key.as_str(), next.as_str()]);
    let first: Vec<_> = issued.iter().map(|record| record["first_use"].clone()).collect();
    assert_eq!(first, [true, false, true]);
    for record in &issued {
        assert_eq!(record["profile"], "payments");
        assert!(record["role_arn"].as_str().unwrap().starts_with("arn:aws:iam::"), "{record}");
        assert!(record["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
    }
    let refused: Vec<_> = of("refused").iter().map(|record| record["decision"].clone()).collect();
    assert!(refused.contains(&"wrong_token".into()), "{refused:?}");
    let token = token(&world, "payments");
    let issued = world.issued.all().into_iter();
    Secrets::new(issued.chain([USER_SECRET.to_owned(), token]))
        .assert_untold(&[("the audit".to_owned(), left.out)]);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_told_at_the_start() {
    let world = World::live(IssuedLifetime::AsAsked).await;
    let text = world.text(&[("payments", &two_hops())]);
    let text = format!("{{ audit: {{ to: /nowhere/audit }}, {}", text.strip_prefix('{').unwrap());
    let config = write_config(&world, &text);
    let left = run(&["serve", "--config", config.to_str().unwrap()], &[]).await;
    assert_eq!(left.code, Some(3), "{left:?}");
    assert!(left.err.contains("audit.to: the file cannot be written"), "{left:?}");
}
