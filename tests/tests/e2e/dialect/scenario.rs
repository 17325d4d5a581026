//! What each run is given and what must become of it: data in `scenarios/`, one file a template. `{ref}` in a
//! text stands for the run's own name.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Mutex;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sluice_engine::template::Template;
use sluice_tests::agents::{Agents, Call};

use super::suite::{Suite, constant_part};

/// By step, what is answered in turn; the last answer stays.
type Answers = BTreeMap<String, Vec<Value>>;

/// The `http_status` of an agent that never answers.
pub(super) const NEVER: u16 = 0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    template: String,
    #[serde(default)]
    context: Map<String, Value>,
    #[serde(default)]
    agents: Answers,
    #[serde(default)]
    model: Answers,
    scenarios: Vec<Scenario>,
}

/// One run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub(super) name: String,
    /// Where it stands: a text of the suite, and how many come before it there.
    #[serde(skip)]
    place: (usize, usize),
    /// Every decision is sent a second time, which must change nothing.
    #[serde(skip)]
    pub(super) decided_twice: bool,
    #[serde(skip)]
    pub(super) template: String,
    /// Names the run to agents and model.
    #[serde(skip)]
    pub(super) reference: String,
    #[serde(default)]
    pub(super) context: Map<String, Value>,
    /// Answers of agents; `http_status` in one is taken out and becomes the status.
    #[serde(default)]
    pub(super) agents: Answers,
    /// Answers of the model; a text is answered as it is.
    #[serde(default)]
    pub(super) model: Answers,
    /// Decisions in turn: `step approved|rejected [who]`.
    #[serde(default)]
    pub(super) people: Vec<String>,
    /// Steps whose answers are listed here in full: they are asked exactly so often.
    #[serde(skip)]
    pub(super) counted: Vec<String>,
    /// What happened, in order.
    pub(super) trace: Vec<String>,
    pub(super) status: String,
    /// Stand together in every question that the run puts to the model at a step, and in no other.
    #[serde(skip)]
    questions: BTreeMap<String, Vec<String>>,
    /// Set when the run does not complete.
    pub(super) failed: Option<Failed>,
    /// Part of the payload of a step's last call.
    #[serde(default)]
    pub(super) sent: BTreeMap<String, Value>,
    /// Part of what people were shown at a step.
    #[serde(default)]
    pub(super) asked: BTreeMap<String, Value>,
    /// Part of the payload of the last notification of a trigger.
    #[serde(default)]
    pub(super) told: BTreeMap<String, Value>,
}

/// What is said of a run that did not complete.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failed {
    pub(super) step: String,
    pub(super) reason: String,
    /// Part of the message.
    pub(super) message: String,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.template, self.reference)
    }
}

/// Every scenario, its file's defaults filled in.
pub(super) fn all(suite: &Suite) -> Vec<Scenario> {
    let loaded = suite.load();
    let texts = suite.scenarios.iter().enumerate();
    let mut scenarios: Vec<Scenario> = texts.flat_map(|(n, text)| read(n, text, None)).collect();
    for scenario in &mut scenarios {
        let (_, template) = loaded.iter().find(|(name, _)| *name == scenario.template).unwrap();
        scenario.know_questions(template);
    }
    scenarios
}

/// `name` is that of the template, where the file's own is not meant.
fn read(place: usize, text: &str, name: Option<&str>) -> Vec<Scenario> {
    let mut file: File = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}"));
    if let Some(name) = name {
        name.clone_into(&mut file.template);
    }
    let mut scenarios = file.scenarios;
    for (n, scenario) in scenarios.iter_mut().enumerate() {
        scenario.place = (place, n);
        scenario.template.clone_from(&file.template);
        // All of one length, so that none is the beginning of another.
        scenario.reference = format!("{}-{n:02}", file.template);
        scenario.counted = scenario.model.keys().cloned().collect();
        for (defaults, own) in
            [(&file.agents, &mut scenario.agents), (&file.model, &mut scenario.model)]
        {
            for (step, answers) in defaults {
                own.entry(step.clone()).or_insert_with(|| answers.clone());
            }
        }
        let own = std::mem::take(&mut scenario.context);
        scenario.context.extend(file.context.clone());
        scenario.context.insert("ref".to_owned(), json!(scenario.reference));
        scenario.context.insert("environment".to_owned(), json!(scenario.reference));
        scenario.context.extend(own);
        scenario.write_out_references();
    }
    scenarios
}

/// Agents and a model that answer what the scenarios say.
pub(super) async fn agents<'s>(
    scenarios: impl IntoIterator<Item = &'s Scenario> + Clone,
) -> Agents {
    let mut answers: HashMap<(String, String), Vec<Value>> = HashMap::new();
    for scenario in scenarios.clone() {
        for (step, replies) in &scenario.agents {
            answers.insert((scenario.reference.clone(), step.clone()), replies.clone());
        }
    }
    let answers = Mutex::new(answers);
    let given = Mutex::new(HashMap::<String, (u16, Value)>::new());
    let next = move |call: &Call| {
        let reference = call.command["context"]["ref"].as_str().unwrap_or_default().to_owned();
        let mut answers = answers.lock().unwrap();
        match answers.get_mut(&(reference, call.step().to_owned())) {
            Some(replies) if replies.len() > 1 => reply(replies.remove(0)),
            Some(replies) => reply(replies[0].clone()),
            None => (200, json!({"ok": true})),
        }
    };
    // Who is asked again for the same execution says the same again.
    let agents = Agents::start(move |call: &Call| {
        let command = call.command["command_id"].as_str().unwrap_or_default().to_owned();
        given.lock().unwrap().entry(command).or_insert_with(|| next(call)).clone()
    })
    .await;
    for scenario in scenarios {
        for (step, texts) in &scenario.model {
            let needles = scenario.questions.get(step);
            let needles = needles.unwrap_or_else(|| panic!("{scenario}: {step} asks no model"));
            agents.answer_all(needles, texts);
        }
    }
    agents
}

fn reply(mut body: Value) -> (u16, Value) {
    let status = body.as_object_mut().and_then(|body| body.remove("http_status"));
    let status = status
        .and_then(|status| status.as_u64())
        .map_or(200, |status| u16::try_from(status).unwrap());
    (status, body)
}

impl Scenario {
    /// The same for a copy of the template under another name.
    pub(super) fn of_copy(&self, suite: &Suite, copy: &Template, name: &str) -> Self {
        let (text, n) = self.place;
        let mut scenario = read(text, suite.scenarios[text], Some(name)).swap_remove(n);
        scenario.know_questions(copy);
        scenario
    }

    /// The first execution of the step is answered like this, the others as before.
    pub(super) fn answer_first(&mut self, step: &str, answer: Value) {
        let agreeable = || vec![json!({"ok": true})];
        self.agents.entry(step.to_owned()).or_insert_with(agreeable).insert(0, answer);
    }

    fn know_questions(&mut self, template: &Template) {
        let question = |step: &String| {
            let constant = constant_part(template, step)?;
            Some((step.clone(), vec![constant, self.reference.clone()]))
        };
        self.questions = template.steps.keys().filter_map(question).collect();
    }

    /// Whether the run put this question to the model at that step.
    pub(super) fn asks(&self, step: &str, prompt: &Value) -> bool {
        let text = prompt["messages"].to_string();
        self.questions
            .get(step)
            .is_some_and(|needles| needles.iter().all(|needle| text.contains(needle)))
    }

    /// Whether the model, where it is asked at all, never gives an answer that counts.
    pub(super) fn needs_no_answer(&self) -> bool {
        self.trace.iter().any(|line| line.contains("gate_error"))
            && self.counted.iter().all(|step| {
                self.trace.iter().any(|line| {
                    line.starts_with(&format!("{step} ")) && line.contains("gate_error")
                })
            })
    }

    fn write_out_references(&mut self) {
        let reference = self.reference.clone();
        for line in &mut self.trace {
            *line = line.replace("{ref}", &reference);
        }
        let answers = self.agents.values_mut().chain(self.model.values_mut()).flatten();
        let expected = [&mut self.sent, &mut self.asked, &mut self.told];
        let expected = expected.into_iter().flat_map(|by_step| by_step.values_mut());
        for value in self.context.values_mut().chain(answers).chain(expected) {
            write_out(value, &reference);
        }
    }
}

fn write_out(value: &mut Value, reference: &str) {
    match value {
        Value::String(text) => *text = text.replace("{ref}", reference),
        Value::Array(items) => items.iter_mut().for_each(|item| write_out(item, reference)),
        Value::Object(fields) => fields.values_mut().for_each(|item| write_out(item, reference)),
        _ => {}
    }
}
