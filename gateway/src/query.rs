//! Query strings, read so that what is wrong has a name.

use std::str::FromStr;

use axum::extract::Query;
use http::Uri;
use sluice_proto::timestamp::Timestamp;

use crate::failure::Failure;

/// Every pair, decoded, in order.
pub(crate) fn pairs(raw: &str) -> Result<Vec<(String, String)>, Failure> {
    let unreadable = || Failure::field("query", "cannot be decoded");
    let uri: Uri = format!("/?{raw}").parse().map_err(|_| unreadable())?;
    Query::try_from_uri(&uri).map(|Query(pairs)| pairs).map_err(|_| unreadable())
}

/// Fills `slot`, which nobody may have filled before.
pub(crate) fn once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), Failure> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Failure::field(name, "is given more than once")),
    }
}

/// A whole number from 0.
pub(crate) fn number<T: FromStr>(name: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| {
        let limit = if size_of::<T>() > 4 { u64::MAX } else { u64::from(u32::MAX) };
        Failure::field(name, format!("'{}' is no whole number from 0 to {limit}", shown(text)))
    })
}

/// A moment.
pub(crate) fn moment(name: &str, text: &str) -> Result<Timestamp, Failure> {
    Timestamp::parse(text).map_err(|error| Failure::field(name, error.to_string()))
}

/// True or false, `1` or `0`.
pub(crate) fn truth(name: &str, text: &str) -> Result<bool, Failure> {
    match text {
        "1" => Ok(true),
        "0" => Ok(false),
        text => text.parse().map_err(|_| {
            Failure::field(name, format!("'{}' is neither true nor false", shown(text)))
        }),
    }
}

/// Enough of a caller's text to recognise it.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
