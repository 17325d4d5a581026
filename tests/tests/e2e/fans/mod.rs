//! Branches side by side, through every role: `parallel` and `for_each`.

mod guarded;
mod joins;
mod steering;

use serde_json::Value;

/// Status and path of each of these steps.
fn statuses<'a>(state: &'a Value, paths: &[&str]) -> Vec<&'a str> {
    let status = |path: &&str| state["step_statuses"][*path].as_str().unwrap_or("missing");
    paths.iter().map(status).collect()
}
