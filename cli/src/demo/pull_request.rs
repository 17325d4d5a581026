//! The pull requests that the demo can take.

use serde_json::{Value, json};
use sluice_proto::event::Status;

/// The template that takes them to production.
pub(super) const TEMPLATE: &str = "pr-deployment.workflow.yaml";

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct PullRequest {
    pub(super) number: u32,
    pub(super) branch: &'static str,
    pub(super) title: &'static str,
    /// Page of the service on which the change shows.
    pub(super) page: &'static str,
    /// How its run must end once it is approved.
    pub(super) end: Status,
}

pub(super) const GIFT_WRAP: PullRequest = PullRequest {
    number: 12,
    branch: "feature/gift-wrap",
    title: "Offer gift wrapping",
    page: "/price?sku=mug&quantity=2&gift_wrap=yes",
    end: Status::Completed,
};

/// Its new setting is known in staging only.
pub(super) const COUNTRY_TAX: PullRequest = PullRequest {
    number: 15,
    branch: "feature/country-tax",
    title: "Charge the tax of the customer's country",
    page: "/price?sku=mug&quantity=2",
    end: Status::RolledBack,
};

impl PullRequest {
    pub(super) fn request(&self) -> Value {
        json!({
            "template_name": TEMPLATE,
            "context": {"pr_number": self.number, "branch": self.branch, "title": self.title},
        })
    }
}
