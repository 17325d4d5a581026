//! Query strings, read so that what is wrong has a name.

use axum::extract::Query;
use http::Uri;

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
pub(crate) fn number(name: &str, text: &str) -> Result<u32, Failure> {
    text.parse().map_err(|_| {
        Failure::field(name, format!("'{}' is no whole number from 0 to {}", shown(text), u32::MAX))
    })
}

/// True or false.
pub(crate) fn truth(name: &str, text: &str) -> Result<bool, Failure> {
    text.parse()
        .map_err(|_| Failure::field(name, format!("'{}' is neither true nor false", shown(text))))
}

/// Enough of a caller's text to recognise it.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
