//! `template.list` and `template.validate`.

use std::sync::Arc;

use bytes::Bytes;
use sluice_proto::api::{TemplatesResponse, ValidateRequest};

use super::{Answer, decode, encode};
use crate::coordinator::Shared;
use crate::library;

pub(super) fn list(shared: &Arc<Shared>) -> Answer {
    let templates = shared.library.list();
    encode(&TemplatesResponse { count: templates.len(), templates })
}

pub(super) fn validate(body: &Bytes) -> Answer {
    let request: ValidateRequest = decode(body)?;
    encode(&library::validate(&request.template_name, &request.text))
}
