//! `wait` steps.

use crate::expr::Text;
use crate::template::context::Context;
use crate::template::fields::Fields;
use crate::template::model::{Wait, WaitEnd};

pub(super) fn wait(cx: &mut Context<'_>, fields: &Fields<'_>) -> Wait {
    let length = fields.duration_ms(cx, "for");
    let moment = fields.template(cx, "until");
    match (fields.has("for"), fields.has("until")) {
        (false, false) => cx.findings.error(fields.at, "a wait needs 'for' or 'until'"),
        (true, true) => {
            let message = "a wait has 'for' or 'until', not both";
            cx.findings.error(fields.key_at("until"), message);
        }
        _ => {}
    }
    if length == Some(0) {
        cx.findings.error(fields.value_at("for"), "'for' must be longer than 0");
    }
    // What stands in for a missing end never runs.
    let end = match moment {
        Some(text) => WaitEnd::At(text),
        None => length.map_or_else(|| WaitEnd::At(Text::literal("")), WaitEnd::After),
    };
    Wait {
        end,
        on_success: fields.target(cx, "on_success"),
        on_failure: fields.target(cx, "on_failure"),
    }
}
