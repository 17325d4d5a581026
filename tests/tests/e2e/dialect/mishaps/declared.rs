//! Which mishaps there are, and what the templates declare for each.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};
use sluice_engine::template::{self, StepKind, Template};

use super::super::scenario::{self, NEVER, Scenario};
use super::super::suite::{Suite, prompt};

/// Time that an agent has where it takes too long; the templates' own limits are minutes.
const TIMEOUT: &str = "3s";
/// Retries that an agent which only looks has where nothing is said about it.
const DEFAULT_RETRIES: u64 = 3;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The agent fails at its first execution.
    Fails,
    /// It does not answer at its first execution.
    TimesOut,
    /// The model fails at the first question.
    ModelFails,
    /// Whatever is published for the run is published twice, and people decide twice.
    Twice,
}

impl Kind {
    fn error_type(self) -> &'static str {
        match self {
            Self::Fails => "http_503",
            Self::TimesOut => "timeout",
            Self::ModelFails => "gate_error",
            Self::Twice => unreachable!("nothing fails"),
        }
    }

    fn answer(self) -> Value {
        match self {
            Self::TimesOut => json!({"http_status": NEVER}),
            _ => json!({"http_status": 503}),
        }
    }
}

/// One mishap of one step, in a scenario that says what must become of it.
pub(super) struct Mishap {
    pub(super) kind: Kind,
    /// The template this is a copy of.
    pub(super) of: &'static str,
    pub(super) step: String,
    pub(super) scenario: Scenario,
    /// Of the copy.
    pub(super) template: Arc<Template>,
    pub(super) text: String,
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} {:?} in '{}'", self.step, self.of, self.kind, self.scenario)
    }
}

/// Every mishap of every step of a suite.
pub(super) fn all(suite: &Suite) -> Vec<Mishap> {
    let scenarios = scenario::all(suite);
    let mut mishaps = Vec::new();
    for ((name, text), (_, template)) in suite.templates.iter().zip(suite.load()) {
        let own = scenarios.iter().filter(|scenario| scenario.template == *name);
        let file = serde_saphyr::from_str(text).unwrap();
        let maker =
            Maker { suite, name, text, file, template: &template, scenarios: own.collect() };
        for (step, kind) in template.steps.keys().flat_map(|step| maker.kinds(step)) {
            mishaps.push(maker.mishap(step, kind, mishaps.len()));
        }
    }
    // A second copy of a command that is under way is looked at again after a pause: these go first.
    mishaps.sort_by_key(|mishap| mishap.kind != Kind::Twice);
    mishaps
}

/// Makes the mishaps of one template.
struct Maker<'s> {
    suite: &'s Suite,
    name: &'static str,
    text: &'static str,
    /// What stands in it. What is declared is read there, not asked of the engine.
    file: Value,
    template: &'s Template,
    scenarios: Vec<&'s Scenario>,
}

impl Maker<'_> {
    fn kinds<'k>(&self, step: &'k str) -> Vec<(&'k str, Kind)> {
        let mut kinds = match self.template.steps[step].kind {
            StepKind::AgentCall(_) => vec![Kind::Fails, Kind::TimesOut, Kind::Twice],
            StepKind::Approval(_) | StepKind::Notification(_) => vec![Kind::Twice],
            _ => Vec::new(),
        };
        if prompt(self.template, step).is_some() && self.asks_once(step).is_some() {
            kinds.push(Kind::ModelFails);
        }
        kinds.into_iter().map(|kind| (step, kind)).collect()
    }

    fn mishap(&self, step: &str, kind: Kind, n: usize) -> Mishap {
        let name = format!("{}-m{n:03}", self.name);
        let text = self.copy(step, kind, &name);
        let file = format!("{name}.workflow.yaml");
        let template = Arc::new(template::load(&file, &text).template.unwrap());
        let found = match kind {
            Kind::ModelFails => self.asks_once(step),
            Kind::Twice => self.ends_well(step),
            Kind::Fails | Kind::TimesOut if self.retries(step) > 0 => self.ends_well(step),
            Kind::Fails | Kind::TimesOut => self.fails_for_good(step),
        };
        let (base, at) = found.unwrap_or_else(|| {
            panic!("no scenario of {} shows what becomes of {step} when it {kind:?}", self.name)
        });
        let mut scenario = base.of_copy(self.suite, &template, &name);
        for line in &mut scenario.trace {
            *line = with_own_locks(line, &name);
        }
        self.declare(&mut scenario, step, kind, at);
        Mishap { kind, of: self.name, step: step.to_owned(), scenario, template, text }
    }

    /// Changes what is answered, and what must come of it. The step ends in line `at` of the trace.
    fn declare(&self, scenario: &mut Scenario, step: &str, kind: Kind, at: usize) {
        match kind {
            Kind::Twice => {
                scenario.decided_twice = true;
                return;
            }
            Kind::ModelFails => scenario.model.get_mut(step).unwrap().insert(0, kind.answer()),
            Kind::Fails | Kind::TimesOut => scenario.answer_first(step, kind.answer()),
        }
        if kind == Kind::ModelFails && self.has_spare_models() {
            return;
        }
        let error = kind.error_type();
        if kind == Kind::ModelFails || self.retries(step) > 0 {
            let again = [format!("{step} failed ({error})"), format!("{step} retried")];
            scenario.trace.splice(at..at, again);
            return;
        }
        scenario.trace[at] = self.failure(step) + &format!("{error})");
        if let Some(failed) = scenario.failed.as_mut().filter(|failed| failed.step == step) {
            error.clone_into(&mut failed.reason);
            failed.message.clear();
        }
    }

    /// The shortest scenario in which the step ends well where it is first seen, and in which line.
    fn ends_well(&self, step: &str) -> Option<(&Scenario, usize)> {
        self.shortest(|scenario| {
            let at = first_line(scenario, step)?;
            let line = &scenario.trace[at];
            // What passes by itself asks nobody.
            let well =
                line.contains(" on_") && !line.contains('(') && !line.ends_with("auto_approved");
            well.then_some(at)
        })
    }

    /// The same, where the model is asked about it once, and answers.
    fn asks_once(&self, step: &str) -> Option<(&Scenario, usize)> {
        self.shortest(|scenario| {
            let answers =
                scenario.model.get(step).filter(|_| scenario.counted.contains(&step.to_owned()))?;
            let answered = answers.len() == 1 && answers[0].get("http_status").is_none();
            let at = first_line(scenario, step).filter(|_| answered)?;
            let line = &scenario.trace[at];
            (line.contains(" on_") && !line.contains('(')).then_some(at)
        })
    }

    /// The shortest scenario in which the step fails for good at its first execution.
    fn fails_for_good(&self, step: &str) -> Option<(&Scenario, usize)> {
        self.shortest(|scenario| {
            let at = first_line(scenario, step)?;
            scenario.trace[at].starts_with(&self.failure(step)).then_some(at)
        })
    }

    fn shortest(&self, fits: impl Fn(&Scenario) -> Option<usize>) -> Option<(&Scenario, usize)> {
        let fit = self.scenarios.iter().filter_map(|scenario| Some((*scenario, fits(scenario)?)));
        fit.min_by_key(|(scenario, _)| scenario.trace.len())
    }

    /// How the line begins in which the step fails for good.
    fn failure(&self, step: &str) -> String {
        format!("{step} {} (", self.template.failure_label(step))
    }

    /// How often the text has the agent of a step try again.
    fn retries(&self, step: &str) -> u64 {
        let entries = self.file["error_handling"].as_array();
        let entry = entries.into_iter().flatten().find(|entry| entry["step"] == step);
        let entry = entry.unwrap_or(&Value::Null);
        let of_all = &self.file["error_recovery"];
        let changed = &of_all["step_overrides"][step];
        let tier_0 = [&entry["recovery_tier"], &changed["max_tier"]];
        let never = entry["fail_fast"] == true
            || changed["fail_fast"] == true
            || of_all["enabled"] == false
            || tier_0.iter().any(|tier| **tier == "TIER_0");
        let own = entry["max_retries"].as_u64().or(changed["max_retries"].as_u64());
        if never || (own.is_none() && of_all["fail_fast"] == true) {
            return 0;
        }
        let StepKind::AgentCall(call) = &self.template.steps[step].kind else { return 0 };
        let mut agents = self.suite.agents.iter();
        let (_, effects) = agents.find(|(name, _)| *name == call.agent.as_str()).unwrap();
        let default = if *effects { 0 } else { DEFAULT_RETRIES };
        own.or(of_all["max_retries"].as_u64()).unwrap_or(default)
    }

    /// Whether the text names models that are asked when the first one fails.
    fn has_spare_models(&self) -> bool {
        self.file["error_recovery"]["llm_fallback_chain"]
            .as_array()
            .is_some_and(|chain| !chain.is_empty())
    }

    /// The template under another name: with its own locks, and little time where that must run out.
    fn copy(&self, step: &str, kind: Kind, name: &str) -> String {
        let begin = format!("  - id: {step}");
        let mut lines = Vec::new();
        let mut inside = false;
        for line in self.text.lines() {
            if line.starts_with("  - ") || !line.starts_with(' ') && !line.is_empty() {
                inside = line.trim_end() == begin;
            }
            if inside && kind == Kind::TimesOut {
                if line.starts_with("    timeout:") {
                    continue;
                }
                if line.trim_end() == begin {
                    lines.extend([line.to_owned(), format!("    timeout: {TIMEOUT}")]);
                    continue;
                }
            }
            lines.push(match line.contains("resource_lock:") {
                true => with_own_locks(line, name),
                false => line.to_owned(),
            });
        }
        assert!(self.text.lines().any(|line| line.trim_end() == begin), "{begin}");
        lines.join("\n")
    }
}

fn first_line(scenario: &Scenario, step: &str) -> Option<usize> {
    scenario.trace.iter().position(|line| line.split(' ').next() == Some(step))
}

/// `deployment:production` is one lock for all templates; runs of one copy share it with no other.
fn with_own_locks(line: &str, name: &str) -> String {
    line.replace("deployment:", &format!("deployment:{name}-"))
}
