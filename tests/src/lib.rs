//! End-to-end tests and the harness that starts real NATS and Postgres for them.
