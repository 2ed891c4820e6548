//! Each link from a page of this repository to another leads to a file that is there, and to a heading of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the pages must end")]

mod walk;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use walk::files_below;

/// The addresses of a page's links.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let ends = text.split("](").skip(1);
    ends.filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
}

/// What a link to a heading says after `#`, as GitHub makes it of the heading's text. Two of one text in a
/// page are not told apart: none is linked to.
fn headings(text: &str) -> BTreeSet<String> {
    let mut within_code = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        within_code ^= line.trim_start().starts_with("```");
        let title = line.trim_start_matches('#');
        if within_code || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
        let lower = title.trim().to_lowercase();
        found.insert(lower.chars().filter(kept).collect::<String>().replace(' ', "-"));
    }
    found
}

/// Why a link of the page leads nowhere.
fn broken(page: &Path, link: &str) -> Option<String> {
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() { page.to_owned() } else { page.parent()?.join(path) };
    if !target.exists() {
        return Some(format!("{}: {link}: nothing is there", page.display()));
    }
    let is_there = heading.is_empty()
        || headings(&fs::read_to_string(&target).unwrap_or_default()).contains(heading);
    (!is_there).then(|| format!("{}: {link}: there is no such heading", page.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let mut found = Vec::new();
    files_below(Path::new(env!("CARGO_MANIFEST_DIR")), &["md"], &mut found);
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in &found {
        let text = fs::read_to_string(page).unwrap();
        for link in links(&text).filter(|link| !link.contains(':') && !link.contains(' ')) {
            count += 1;
            wrong.extend(broken(page, link));
        }
    }
    assert!(count > 200, "{count} links");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_leads_nowhere_is_found() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    assert!(broken(&page, "docs/nothing.md").is_some());
    assert!(broken(&page, "docs/install.md#nothing-of-that-name").is_some());
    assert_eq!(broken(&page, "docs/install.md#upgrade-rollback-uninstall"), None);
}
