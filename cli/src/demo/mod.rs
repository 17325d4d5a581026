//! `sluice demo`: one pull request of the example's shop, from its review to the approval gate, and on
//! to production.

mod pull_request;
mod services;
mod story;
mod timeline;

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::args::{Global, flag};
use crate::config::{Config, key};
use crate::dev::{self, Agents, DEMO, Plan, Up};
use crate::error::CliError;
use crate::example::{Example, HOME_VARIABLE};
use crate::{commands, logging, output};
use pull_request::{COUNTRY_TAX, GIFT_WRAP};
use story::Story;

/// Arguments of `sluice demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Approve without asking anybody, and go on to production
    #[arg(long)]
    approve: bool,
    /// Approve a change whose production health check fails, and see it rolled back
    #[arg(long = "break")]
    breaking: bool,
    /// Folder that keeps everything
    #[arg(long, value_name = "DIR", default_value = "./.sluice-demo")]
    data: PathBuf,
}

pub(crate) async fn run(global: &Global, args: DemoArgs) -> Result<(), CliError> {
    if std::env::var_os(HOME_VARIABLE).is_some_and(|path| !path.is_empty()) {
        return Err(CliError::Usage(format!(
            "{HOME_VARIABLE} is set, and the demo has a shop of its own; unset it: `env -u {HOME_VARIABLE} sluice demo`"
        )));
    }
    let config = load(global)?;
    logging::start(&config, Some("warn"))?;
    let example = example_in(&args.data);
    let plan =
        Plan { config, data: args.data, fresh: false, agents: Agents::Example(example.clone()) };
    let pull_request = if args.breaking { COUNTRY_TAX } else { GIFT_WRAP };
    let story = Story { pull_request, example, alone: args.approve || args.breaking };
    let end = dev::session::run(plan, async |up: &Up<'_>| story.play(up).await).await?;
    match end {
        Some(end) => story.show_result(&end).await,
        None => {
            dev::tell_what_runs_on(&Agents::Example(story.example)).await;
            Ok(())
        }
    }
}

/// The demo has a shop of its own, because it puts that back to its beginning.
fn example_in(data: &Path) -> Example {
    let folder = data.join(DEMO);
    Example::in_folder(std::path::absolute(&folder).unwrap_or(folder))
}

/// The demo shows what comes with the binary, whatever else is configured here. Where a usual port is
/// taken, most likely by `sluice dev`, any other will do.
fn load(global: &Global) -> Result<Config, CliError> {
    let chosen = commands::load(global, [])?;
    let mut free = Vec::new();
    for key in [key::GATEWAY_ADDR, key::STATE_ADDR] {
        let addr = chosen.addr(key);
        let taken = TcpListener::bind(addr).is_err_and(|e| e.kind() == ErrorKind::AddrInUse);
        if taken && !chosen.is_chosen(key) {
            output::note(format!("· {addr} is taken; the demo uses another port"));
            free.extend(flag(key, "a port that is free", Some(&"127.0.0.1:0".to_owned())));
        }
    }
    let mut config = commands::load(global, free)?;
    config.forget(key::TEMPLATES_DIR);
    config.forget(key::AGENTS_FILE);
    Ok(config)
}

#[cfg(test)]
mod tests;
