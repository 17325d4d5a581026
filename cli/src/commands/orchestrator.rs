//! `sluice orchestrator`: a coordinator and a gateway in one process, for installations of one machine.

use crate::args::{Global, flag};
use crate::commands::coordinator;
use crate::config::{Config, key};
use crate::error::CliError;
use crate::signals::StopSignals;
use crate::{logging, roles};

/// Arguments of `sluice orchestrator`.
#[derive(Debug, clap::Args)]
pub(crate) struct OrchestratorArgs {
    #[command(flatten)]
    coordinator: coordinator::CoordinatorArgs,
    /// Where every route is served [env: SLUICE_GATEWAY_ADDR] [default: 127.0.0.1:8001]
    #[arg(long, value_name = "ADDR")]
    gateway_addr: Option<String>,
    /// Where the reading routes are served [env: SLUICE_STATE_ADDR] [default: 127.0.0.1:8008]
    #[arg(long, value_name = "ADDR")]
    state_addr: Option<String>,
}

pub(crate) async fn run(global: &Global, args: OrchestratorArgs) -> Result<(), CliError> {
    let addresses = [
        flag(key::GATEWAY_ADDR, "--gateway-addr", args.gateway_addr.as_ref()),
        flag(key::STATE_ADDR, "--state-addr", args.state_addr.as_ref()),
    ];
    let flags = args.coordinator.flags().into_iter().chain(addresses.into_iter().flatten());
    let config = super::load(global, flags)?;
    logging::start(&config, None)?;
    let mut signals = StopSignals::listen()?;
    let (coordinator, gateway) = tokio::select! {
        started = Box::pin(start(&config)) => started?,
        () = signals.next() => return Ok(()),
    };
    tracing::info!("orchestrator is ready");
    signals.next().await;
    tracing::info!("orchestrator stops");
    // From the outside in: a request under way still finds who answers it.
    let stopping = Box::pin(async {
        gateway.stop().await;
        coordinator.stop().await;
    });
    signals.unless_hurried(stopping).await;
    Ok(())
}

/// Each role has a connection of its own, as it would as a process of its own.
async fn start(
    config: &Config,
) -> Result<(sluice_coordinator::Coordinator, sluice_gateway::Gateway), CliError> {
    let coordinator = coordinator::start(config).await?;
    let bus = roles::connect(config, config.required(key::NATS_URL), "gateway").await?;
    match roles::gateway(config, bus).await {
        Ok(gateway) => Ok((coordinator, gateway)),
        Err(error) => {
            coordinator.stop().await;
            Err(error)
        }
    }
}
