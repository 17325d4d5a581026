//! `sluice gateway`: the HTTP API as a process of its own.

use crate::args::{Global, flag};
use crate::config::key;
use crate::error::CliError;
use crate::signals::StopSignals;
use crate::{logging, roles};

/// Arguments of `sluice gateway`.
#[derive(Debug, clap::Args)]
pub(crate) struct GatewayArgs {
    /// Where every route is served [env: SLUICE_GATEWAY_ADDR] [default: 127.0.0.1:8001]
    #[arg(long, value_name = "ADDR")]
    gateway_addr: Option<String>,
    /// Where the reading routes are served [env: SLUICE_STATE_ADDR] [default: 127.0.0.1:8008]
    #[arg(long, value_name = "ADDR")]
    state_addr: Option<String>,
    /// NATS server [env: SLUICE_NATS_URL]
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
}

pub(crate) async fn run(global: &Global, args: GatewayArgs) -> Result<(), CliError> {
    let config = super::load(
        global,
        [
            flag(key::GATEWAY_ADDR, "--gateway-addr", args.gateway_addr.as_ref()),
            flag(key::STATE_ADDR, "--state-addr", args.state_addr.as_ref()),
            flag(key::NATS_URL, "--nats-url", args.nats_url.as_ref()),
        ]
        .into_iter()
        .flatten(),
    )?;
    logging::start(&config, None)?;
    let mut signals = StopSignals::listen()?;
    let starting = async {
        let bus = roles::connect(&config, config.required(key::NATS_URL), "gateway").await?;
        roles::gateway(&config, bus).await
    };
    let gateway = tokio::select! {
        started = starting => started?,
        () = signals.next() => return Ok(()),
    };
    signals.next().await;
    tracing::info!("gateway stops");
    signals.unless_hurried(gateway.stop()).await;
    Ok(())
}
