use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sluice_engine::template;

use super::*;

const AWKWARD: &str = r#"
name: "<b>Big</b> & \"co\" — größer"
version: "1.0"
description: "One < two & three"
steps:
  - {id: a, type: conditional, condition: "context.x < 3 and 'b&c' in context.y", on_true: g, on_false: b}
  - {id: b, type: agent_call, agent: x, resource_lock: "a<b>&\"{{ context.q }}\"", on_success: d, on_failure: a}
  - {id: c, type: agent_call, agent: x, payload: {action: rollback}, on_success: f, on_failure: d}
  - id: d
    type: agent_call
    agent: x
    resource_lock: other
    decision_gate:
      type: llm_assessment
      prompt: p
      on_alpha: a
      on_beta: b
      on_gamma: c
      on_delta: e
      on_epsilon: g
      on_zeta: workflow_complete
      on_eta: notify_rollback
      on_theta: workflow_paused
  - {id: e, type: hitl_approval, on_approved: f, on_rejected: b, on_auto_approved: g}
  - {id: f, type: notification, channels: [log], on_complete: w}
  - {id: w, type: wait, for: 90m, on_success: c}
  - {id: g, type: conditional, condition: context.z == 1, on_true: done, on_false: b}
  - {id: done, type: terminal}
error_recovery: {max_workflow_retries: 3}
"#;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn loaded(file: &str, text: &str) -> Template {
    let loaded = template::load(file, text);
    loaded.template.unwrap_or_else(|| panic!("{:?}", loaded.findings))
}

/// Every template in a folder of the repository.
fn templates_in(name: &str) -> Vec<Template> {
    let entries = std::fs::read_dir(folder(name)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".workflow.yaml"));
    paths.sort();
    let load = |path: &PathBuf| {
        let file = path.file_name().unwrap().to_string_lossy();
        loaded(&file, &std::fs::read_to_string(path).unwrap())
    };
    paths.iter().map(load).collect()
}

/// Those of the project, those of its tests, and one that is as awkward as possible.
pub(super) fn templates() -> Vec<Template> {
    let mut templates = templates_in("templates");
    templates.extend(templates_in("tests/templates"));
    templates.push(loaded("awkward.workflow.yaml", AWKWARD));
    assert!(templates.len() > 6);
    templates
}

/// The texts of a drawing, which must be well-formed.
fn texts(svg: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(svg).unwrap();
    let texts = document.descendants().filter(|node| node.has_tag_name("text"));
    texts.map(|node| node.text().unwrap().to_owned()).collect()
}

#[test]
fn every_edge_of_every_template_is_drawn() {
    for template in templates() {
        let graph = Graph::of(&template);
        let (dot, texts) = (dot::dot(&graph), texts(&svg::svg(&graph)));
        for edge in template.edges() {
            let Edge { step, label, target, cause } = &edge;
            let place = match target {
                Target::Step(path) => Place::Node(graph.index_of(path).unwrap()),
                Target::End(end) => Place::End { name: end.name.clone(), outcome: end.outcome },
            };
            let drawn = graph.links.iter().find(|link| {
                graph.nodes[link.from].id == *step && link.to == place && link.cause == *cause
            });
            let drawn = drawn.unwrap_or_else(|| panic!("{}: {edge:?}", template.file));
            assert!(drawn.labels.contains(&readable(label)), "{}: {edge:?}", template.file);
            assert!(texts.contains(&drawn.label()), "{}: {edge:?}", template.file);
            let kind = if matches!(target, Target::Step(_)) { "step" } else { "end" };
            let line = format!(
                r#"  "step {step}" -> "{kind} {}" [label="{}""#,
                target.name(),
                drawn.label()
            );
            assert!(dot.contains(&line), "{line} is not in\n{dot}");
        }
        let drawn: usize = graph.links.iter().map(|link| link.labels.len()).sum();
        assert!(drawn <= template.edges().len(), "{}", template.file);
        assert_eq!(dot.matches(" -> ").count(), graph.links.len() + 1, "{}", template.file);
    }
}

#[test]
fn drawings_say_everything_in_words_too() {
    for template in templates() {
        let graph = Graph::of(&template);
        let drawn = svg::svg(&graph);
        let document = roxmltree::Document::parse(&drawn).unwrap();
        let root = document.root_element();
        assert_eq!(root.attribute("role"), Some("img"));
        let named: Vec<&str> =
            root.attribute("aria-labelledby").unwrap().split_whitespace().collect();
        let with_id = |id: &str| root.children().find(|node| node.attribute("id") == Some(id));
        assert_eq!(with_id(named[0]).unwrap().text(), Some(graph.title.as_str()));
        let words = with_id(named[1]).unwrap().text().unwrap();
        for edge in template.edges() {
            let words_for_it = [&edge.step, &readable(&edge.label), edge.target.name()];
            assert!(words_for_it.iter().all(|word| words.contains(*word)), "{edge:?}: {words}");
        }
    }
}

#[test]
fn text_of_a_template_stays_text() {
    let graph = Graph::of(&loaded("<&>.workflow.yaml", AWKWARD));
    let drawn = svg::svg(&graph);
    let texts = texts(&drawn);
    for text in [
        graph.title.as_str(),
        "One < two & three",
        "<&>.workflow.yaml",
        "context.x < 3 and 'b&c' in context.y",
        "a<b>&\"{{ context.q }}\"",
    ] {
        assert!(texts.iter().any(|found| found == text), "{text}: {texts:?}");
    }
    let document = roxmltree::Document::parse(&drawn).unwrap();
    let tags: BTreeSet<&str> = document
        .descendants()
        .filter(roxmltree::Node::is_element)
        .map(|node| node.tag_name().name())
        .collect();
    let known =
        ["circle", "desc", "g", "marker", "path", "polygon", "rect", "svg", "text", "title"];
    assert_eq!(tags, BTreeSet::from(known));
    assert!(dot::dot(&graph).contains(r#"lock a<b>&\"{{ context.q }}\""#));
}

#[test]
fn the_projects_templates_have_nothing_wrong_with_them() {
    let names = std::fs::read_dir(folder("templates")).unwrap().map(|entry| entry.unwrap().path());
    for path in names.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = path.file_name().unwrap().to_string_lossy();
        if file.ends_with(".workflow.yaml") {
            assert_eq!(template::load(&file, &text).findings, [], "{file}");
        }
    }
}

#[test]
fn the_committed_drawings_are_fresh() {
    let drawings = folder("templates/drawings");
    let mut names = Vec::new();
    for template in templates_in("templates") {
        let name = template.file.replace(".workflow.yaml", ".svg");
        let (path, fresh) = (drawings.join(&name), svg::svg(&Graph::of(&template)));
        names.push(name);
        if std::env::var_os("SLUICE_BLESS").is_some_and(|value| value == "1") {
            std::fs::create_dir_all(&drawings).unwrap();
            std::fs::write(&path, &fresh).unwrap();
        }
        let drawn = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(drawn == fresh, "{} is stale; SLUICE_BLESS=1 writes it anew", path.display());
    }
    let entries = std::fs::read_dir(&drawings).unwrap();
    let mut found: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, names, "drawings of templates that are gone");
}
