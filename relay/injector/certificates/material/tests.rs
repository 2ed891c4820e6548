use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_795_565_230);
const LIFETIME: Duration = Duration::from_secs(720 * 3600);

fn wanted() -> Wanted {
    Wanted::of("injector", "relay", LIFETIME)
}

/// A Secret's data, as its texts.
fn texts(material: &Material) -> Vec<(&'static str, Option<String>)> {
    let entries = material.entries().into_iter();
    entries.map(|(name, text)| (name, text.map(|text| text.as_str().to_owned()))).collect()
}

fn read(texts: &[(&str, Option<String>)]) -> (Material, Vec<String>) {
    let of = |name: &str| {
        let found = texts.iter().find(|(each, _)| *each == name);
        found.and_then(|(_, text)| text.as_ref()).map(|text| text.as_bytes())
    };
    let entries = Entries {
        serving: of(SERVING),
        serving_key: of(SERVING_KEY),
        authorities: of(AUTHORITIES),
        signing_key: of(SIGNING_KEY),
        previous: of(PREVIOUS),
    };
    Material::read(&entries, &wanted())
}

fn made(edits: &[Edit]) -> Material {
    let mut material = Material::default();
    material.change(edits, None, &wanted(), NOW).unwrap();
    material
}

const NEW: [Edit; 2] = [Edit::Authority, Edit::Issue];

#[test]
fn what_is_written_is_read_and_is_sound() {
    let (read, wrong) = read(&texts(&made(&NEW)));
    assert_eq!(wrong, [""; 0]);
    let kept = read.kept(false);
    assert!(kept.newest_signs && kept.previous.is_empty());
    let (authority, leaf) = (kept.authorities[0], kept.serving.unwrap());
    assert_eq!(leaf.issuer, authority.id);
    let secs = |span: Span| span.until.saturating_since(NOW).as_secs();
    assert_eq!((secs(leaf.span), secs(authority.span)), (720 * 3600, 7200 * 3600));
    assert_eq!(NOW.saturating_since(leaf.span.from), Duration::from_secs(300));
    let served = read.serving().unwrap();
    for name in ["injector.relay.svc", "injector.relay", "injector.relay.svc.cluster.local"] {
        let other = Wanted { names: vec![name.to_owned()], ..wanted() };
        assert!(is_of(served.pair.leaf(), leaf.span, &read.authorities[0], &other), "{name}");
    }
    let other = Wanted::of("injector", "other", LIFETIME);
    assert!(!is_of(served.pair.leaf(), leaf.span, &read.authorities[0], &other));
}

#[test]
fn a_secret_that_has_nothing_yet_is_not_wrong() {
    let (material, wrong) = read(&[]);
    assert_eq!(wrong, [""; 0]);
    assert!(material.kept(false).authorities.is_empty() && material.serving().is_none());
}

#[test]
fn a_ca_is_followed_and_its_last_certificate_is_remembered_until_it_has_ended() {
    let mut material = made(&NEW);
    let first = material.kept(false).serving.unwrap();
    material.change(&[Edit::Authority], None, &wanted(), NOW).unwrap();
    let kept = material.kept(false);
    assert_eq!((kept.authorities.len(), kept.serving), (2, Some(first)));
    material.change(&[Edit::Issue], None, &wanted(), NOW).unwrap();
    let (mut material, wrong) = read(&texts(&material));
    assert_eq!(wrong, [""; 0]);
    let kept = material.kept(false);
    assert_eq!(kept.serving.unwrap().issuer, kept.authorities[1].id);
    assert_eq!(kept.previous, [first]);
    let end = NOW + LIFETIME;
    material.change(&[Edit::Retire(first.issuer)], None, &wanted(), end).unwrap();
    let kept = material.kept(false);
    assert_eq!((kept.authorities.len(), kept.previous.len()), (1, 0));
    assert_eq!(texts(&material)[4], (PREVIOUS, None));
}

#[test]
fn a_renewal_of_the_same_ca_leaves_nothing_behind() {
    let mut material = made(&NEW);
    let first = material.kept(false).serving;
    material.change(&[Edit::Issue], None, &wanted(), NOW + LIFETIME / 2).unwrap();
    let kept = material.kept(false);
    assert!(kept.serving != first && kept.previous.is_empty());
}

#[test]
fn what_a_replica_serves_is_put_back_with_its_ca() {
    let before = made(&NEW);
    let held = before.serving().unwrap();
    let mut anew = Material::default();
    anew.change(&[Edit::Restore, Edit::Authority], Some(held), &wanted(), NOW).unwrap();
    let (read, wrong) = read(&texts(&anew));
    assert_eq!(wrong, [""; 0]);
    let kept = read.kept(false);
    assert_eq!((kept.serving, kept.authorities.len()), (Some(held.leaf()), 2));
    assert_eq!(kept.authorities[0].id, held.leaf().issuer);
}

#[test]
fn of_rubbish_the_sound_part_is_kept_and_the_rest_is_named() {
    let (good, other) = (texts(&made(&NEW)), texts(&made(&NEW)));
    let rubbish = Some("rubbish".to_owned());
    // What is put where, what is told, and whether the CA, its key and the certificate are sound.
    for (name, text, told, sound) in [
        (SERVING, None, "tls.crt is missing", [true, true, false]),
        (SERVING, rubbish.clone(), "tls.crt: no PEM certificate", [true, true, false]),
        (SERVING, other[0].1.clone(), "tls.key: it is not the key", [true, true, false]),
        (SERVING_KEY, rubbish.clone(), "tls.key: no PEM private key", [true, true, false]),
        (AUTHORITIES, None, "ca.crt is missing", [false, false, false]),
        (AUTHORITIES, other[2].1.clone(), "of no CA in ca.crt", [true, false, false]),
        (SIGNING_KEY, rubbish, "ca.key: no PEM private key", [true, false, true]),
        (SIGNING_KEY, other[3].1.clone(), "ca.key: it is not the key of", [true, false, true]),
    ] {
        let mut spoilt = good.clone();
        spoilt.iter_mut().find(|(each, _)| *each == name).unwrap().1 = text;
        let (read, wrong) = read(&spoilt);
        let said = wrong.join("; ");
        assert!(said.contains(told), "{name}: {said}");
        assert!(good[1].1.as_ref().unwrap().lines().skip(1).all(|line| !said.contains(line)));
        let kept = read.kept(false);
        let found = [!kept.authorities.is_empty(), kept.newest_signs, kept.serving.is_some()];
        assert_eq!(found, sound, "{name}: {said}");
    }
}

#[test]
fn a_certificate_ends_no_later_than_its_ca() {
    let mut material = made(&NEW);
    let late = NOW + (LIFETIME * 10 - Duration::from_secs(60));
    material.change(&[Edit::Issue], None, &wanted(), late).unwrap();
    let kept = material.kept(false);
    assert_eq!(kept.serving.unwrap().span.until, kept.authorities[0].span.until);
}
