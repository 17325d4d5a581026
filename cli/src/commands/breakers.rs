//! `sluice breakers`: steps that keep failing across runs.

use sluice_proto::api::{BreakerView, BreakersResponse};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

pub(crate) async fn run(global: &Global) -> Result<(), CliError> {
    let answer: BreakersResponse = super::client(global)?.get(&["breakers"], &[]).await?;
    match global.format(Format::Text) {
        Format::Json => output::json(&answer),
        Format::Text if answer.breakers.is_empty() => output::line("every breaker is closed"),
        Format::Text => {
            let rows: Vec<[String; 6]> = answer.breakers.iter().map(row).collect();
            output::table(["TEMPLATE", "STEP", "STATE", "FAILURES", "SINCE", "TRIED AGAIN"], &rows);
        }
    }
    Ok(())
}

fn row(breaker: &BreakerView) -> [String; 6] {
    let threshold = breaker.failure_threshold.map_or_else(String::new, |n| format!(" of {n}"));
    let moment = |at: Option<_>| at.map_or_else(|| "-".to_owned(), |at| format!("{at}"));
    let trial = breaker.trial_workflow_id.as_ref().map(|run| format!("now, in {run}"));
    [
        breaker.template_name.clone(),
        breaker.step_id.clone(),
        breaker.state.clone(),
        format!("{}{threshold}", breaker.failures),
        moment(breaker.opened_at),
        trial.unwrap_or_else(|| moment(breaker.retry_at)),
    ]
}
