//! How long to wait before trying again.

/// First delay is twice this, milliseconds.
const INITIAL_MS: u64 = 1_000;
/// Longest delay, milliseconds.
const MAX_MS: u64 = 60_000;
/// Largest share by which jitter moves the real start either way.
const JITTER: f64 = 0.25;

/// Nominal delay before retry `n`, counted from 1: 2, 4, 8, 16, 32, 60, 60 … seconds.
#[must_use]
pub fn nominal_ms(n: u32) -> u64 {
    INITIAL_MS.checked_shl(n.min(16)).unwrap_or(MAX_MS).min(MAX_MS)
}

/// The delay that is really waited: `nominal_ms` moved by up to a quarter, `jitter` from −1 to 1.
#[must_use]
pub fn jittered_ms(nominal_ms: u64, jitter: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "at most 75,000"
    )]
    let moved = (nominal_ms as f64 * (1.0 + JITTER * jitter.clamp(-1.0, 1.0))) as u64;
    moved
}

/// A delay as events show it.
#[must_use]
pub fn seconds(ms: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most 60,000")]
    let seconds = ms as f64 / 1_000.0;
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute() {
        let delays: Vec<u64> = (1..=8).map(|n| nominal_ms(n) / 1_000).collect();
        assert_eq!(delays, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(nominal_ms(u32::MAX), MAX_MS);
    }

    #[test]
    fn jitter_moves_by_a_quarter_at_most() {
        assert_eq!(jittered_ms(4_000, 1.0), 5_000);
        assert_eq!(jittered_ms(4_000, -7.0), 3_000);
        assert_eq!(jittered_ms(4_000, 0.0), 4_000);
    }
}
