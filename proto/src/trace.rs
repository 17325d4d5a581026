//! The W3C Trace Context of a command (<https://www.w3.org/TR/trace-context/>): one trace a run, one span a
//! dispatch. Both ids are functions of the names, so that nothing has to be remembered and a redispatch by
//! another coordinator belongs to the same trace.

use sha2::{Digest, Sha256};

use crate::ids::CommandId;
use crate::seal::hex;

/// Bytes of a trace id.
const TRACE_BYTES: usize = 16;
/// Bytes of a span id.
const SPAN_BYTES: usize = 8;

/// The `traceparent` header of one dispatch, sampled.
#[must_use]
pub fn traceparent(id: &CommandId, dispatch: u32) -> String {
    let trace = Sha256::digest(id.workflow_id.as_str());
    let span = Sha256::digest(format!("{id}:{dispatch}"));
    format!("00-{}-{}-01", hex(&trace[..TRACE_BYTES]), hex(&span[..SPAN_BYTES]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_a_trace_and_a_dispatch_a_span() {
        let id = |attempt: u32| CommandId::parse(&format!("wf-1:build:1:{attempt}")).unwrap();
        let headers = [traceparent(&id(1), 1), traceparent(&id(1), 2), traceparent(&id(2), 1)];
        for header in &headers {
            let parts: Vec<&str> = header.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
            assert_eq!(parts[1], headers[0].split('-').nth(1).unwrap());
        }
        assert_ne!(headers[0], headers[1]);
        assert_ne!(headers[0], headers[2]);
        assert_eq!(headers[0], traceparent(&id(1), 1));
    }
}
