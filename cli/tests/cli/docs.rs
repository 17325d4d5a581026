//! The documentation against what it is about.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every page that people read.
fn pages() -> Vec<PathBuf> {
    let listed = |folder: &str| {
        let entries = std::fs::read_dir(root().join(folder)).unwrap().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let examples = listed("examples").into_iter().map(|folder| folder.join("README.md"));
    let pages = listed(".").into_iter().chain(listed("docs")).chain(listed("templates"));
    pages.chain(examples).filter(|page| page.extension().is_some_and(|end| end == "md")).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for page in pages().into_iter().filter(|page| page.exists()) {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let found = page.parent().unwrap().join(target);
            assert!(found.exists(), "{}: '{link}' leads nowhere", page.display());
            links += 1;
        }
    }
    assert!(links > 10, "only {links} links were found");
}

#[test]
fn the_quick_reference_has_every_task() {
    let taskfile = std::fs::read_to_string(root().join("Taskfile.yml")).unwrap();
    let tasks = taskfile.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
    let tasks: BTreeSet<&str> = tasks.filter(|name| !name.starts_with(' ')).collect();
    let page = std::fs::read_to_string(root().join("docs/quick-reference.md")).unwrap();
    let named: BTreeSet<&str> = page
        .split('`')
        .filter(|word| word.starts_with("workflow:") || word.starts_with("prompts:"))
        .collect();
    assert_eq!(tasks, named);
}
