//! The examples of the language's reference, run as they stand there by the example's agents.

use futures::StreamExt;
use rustix::process::Signal;
use serde_json::{Value, json};
use sluice_engine::template;
use sluice_tests::run;

use super::shop::{LIMIT, begin, start_with};
use sluice_tests::processes::folder::Folder;
use sluice_tests::processes::site::Api;

const REFERENCE: &str = include_str!("../../../templates/README.md");

/// Name and text of every block of YAML.
fn examples() -> Vec<(&'static str, &'static str)> {
    let blocks = REFERENCE.split("```yaml\n").skip(1);
    let texts = blocks.map(|block| block.split_once("```").unwrap().0);
    let named = texts.map(|text| {
        let first = text.lines().next().unwrap();
        let name = first.strip_prefix("# ").and_then(|name| name.strip_suffix(".workflow.yaml"));
        (name.unwrap_or_else(|| panic!("no file name: {first}")), text)
    });
    named.collect()
}

/// Everything that some example reads.
fn context() -> Value {
    json!({
        "task_description": "Add a search page",
        "language": "python",
        "branch": "feature/gift-wrap",
        "path": "tests",
        "environment": "staging",
        "region": "staging",
        "regions": ["staging", "production"],
        "lines": 12,
        "labels": ["security"],
        "pr_number": 7,
        "pr_url": "http://127.0.0.1/7",
        "github_repo": "shop/shop",
        // A moment that has passed is not waited for.
        "morning": "2020-01-01T07:00:00Z",
    })
}

/// Says yes to everything until the run has completed.
async fn complete(api: &Api, example: &str) {
    begin(api, example, example, context()).await;
    let mut people = ["ada", "bo", "cy"].into_iter().cycle();
    let until = std::time::Instant::now() + LIMIT;
    loop {
        let (_, state) = api.get(&format!("/workflow/status/{example}")).await.unwrap();
        // A machine that is busy elsewhere may answer that it is.
        match state["status"].as_str().unwrap_or("pending") {
            "completed" => return,
            "paused" => {
                let body = json!({"approval_decision": "approved", "approver": people.next()});
                let path = format!("/workflow/resume/{example}");
                let (status, answer) = api.post(&path, &body).await.unwrap();
                assert_eq!(status, 200, "{example}: {answer}");
            }
            "running" | "pending" if std::time::Instant::now() < until => {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            _ => panic!("{example}: {state:#}"),
        }
    }
}

#[test]
fn every_example_of_the_reference_runs() {
    run(async {
        let folder = Folder::new("reference");
        for (name, text) in examples() {
            folder.write(&format!("templates/{name}.workflow.yaml"), text);
        }
        let env = [("SLUICE_TEMPLATES_DIR", "templates".to_owned())];
        let (_shop, dev) = start_with(&folder, &env).await;
        // The examples name different locks for the same slot, since each is meant to be alone with it.
        let uses_a_slot = |text: &str| {
            let template = template::load("example", text).template.unwrap();
            // Who starts runs may start one that does.
            text.contains("type: workflow\n")
                || template.participating_agents().iter().any(|a| a.as_str() == "infrastructure")
        };
        let (alone, together): (Vec<_>, Vec<_>) =
            examples().into_iter().partition(|(_, text)| uses_a_slot(text));
        assert!(alone.len() > 2 && together.len() > 2);
        // Few at a time: this is about the examples, not about load.
        let api = &dev.api;
        let one_by_one = async {
            for (name, _) in alone {
                complete(api, name).await;
            }
        };
        let others = futures::stream::iter(together)
            .for_each_concurrent(3, |(name, _)| async move { complete(api, name).await });
        futures::join!(one_by_one, others);
        assert_eq!(dev.process.stopped_by(Signal::TERM).await, Some(0));
    });
}
