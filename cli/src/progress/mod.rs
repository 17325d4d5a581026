//! How a run comes along, as its events tell it: what `sluice watch` and `sluice demo` show.

mod history;
mod screen;

use std::time::{SystemTime, UNIX_EPOCH};

use sluice_proto::api::EventsResponse;
use sluice_proto::timestamp::Timestamp;

pub(crate) use history::{Decision, History, Segment, Stage, What};
pub(crate) use screen::{Screen, duration};

use crate::client::Client;
use crate::error::CliError;

/// Events that are asked for at once.
const PAGE: usize = 500;

/// Takes the events of the run that `history` has not seen, which starts after the first `seen`.
pub(crate) async fn catch_up(
    client: &Client,
    id: &str,
    history: &mut History,
    seen: &mut usize,
) -> Result<(), CliError> {
    loop {
        let (offset, limit) = (seen.to_string(), PAGE.to_string());
        let query = [("offset", offset.as_str()), ("limit", limit.as_str())];
        let page: EventsResponse = client.get(&["workflow", id, "events"], &query).await?;
        for record in &page.events {
            history.apply(&record.event);
        }
        *seen += page.events.len();
        if page.events.len() < PAGE {
            return Ok(());
        }
    }
}

/// The time on this machine.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
