//! How the record is made hard to forge: canonical bytes (RFC 8785), a chain of SHA-256 hashes that
//! anybody can follow, and an HMAC-SHA256 that only a holder of the secret can make.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::event::Event;

/// SHA-256 of nothing before the first event.
pub const GENESIS_HASH: [u8; 32] = [0; 32];

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedEvent {
    /// RFC 8785 bytes of every field except `signature`.
    pub body: Vec<u8>,
    /// SHA-256 of `body`; the next event's `prev_hash`.
    pub hash: [u8; 32],
    /// HMAC-SHA256 of `body`.
    pub signature: [u8; 32],
}

/// A secret and its public name.
#[derive(Clone)]
pub struct SigningKey {
    key_id: String,
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Shortest secret accepted, bytes: as long as the hash (RFC 2104, section 3).
    pub const MIN_SECRET_BYTES: usize = 32;

    /// A key of this secret. Its id is the first 16 hex digits of the SHA-256 of
    /// `sluice-event-key:` and the secret: it names the key and does not give it away.
    #[must_use]
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.len() < Self::MIN_SECRET_BYTES {
            return None;
        }
        let digest =
            Sha256::new().chain_update(b"sluice-event-key:").chain_update(secret).finalize();
        let mac = Hmac::new_from_slice(secret).ok()?;
        Some(Self { key_id: hex(&digest[..8]), mac })
    }

    /// Name of this key, stored with each event it signs.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Canonicalises and signs `event`, whose `key_id` must be this key's.
    ///
    /// # Errors
    /// Fails on what JSON cannot hold, such as a NaN.
    pub fn seal(&self, event: &Event) -> Result<SealedEvent, serde_json::Error> {
        let body = serde_json_canonicalizer::to_vec(event)?;
        Ok(SealedEvent { hash: Sha256::digest(&body).into(), signature: self.sign(&body), body })
    }

    /// This key's signature over `bytes`.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> [u8; 32] {
        self.mac.clone().chain_update(bytes).finalize().into_bytes().into()
    }

    /// Whether `signature` is this key's over `body`, in constant time.
    #[must_use]
    pub fn verify(&self, body: &[u8], signature: &[u8]) -> bool {
        self.mac.clone().chain_update(body).verify_slice(signature).is_ok()
    }
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Lower hex SHA-256 of `bytes`.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{CompleteWorkflow, EVENT_VERSION, EventBody};
    use crate::ids::WorkflowId;
    use crate::timestamp::Timestamp;

    fn event(key: &SigningKey) -> Event {
        Event {
            event_id: "00000000-0000-4000-8000-000000000001".into(),
            workflow_id: WorkflowId::parse("hotfix-1").unwrap(),
            parent_workflow_id: None,
            sequence: 1,
            step_id: None,
            timestamp: Timestamp::from_micros(1),
            event_version: EVENT_VERSION,
            prev_hash: hex(&GENESIS_HASH),
            key_id: key.key_id().to_owned(),
            body: EventBody::CompleteWorkflow(CompleteWorkflow::default()),
        }
    }

    #[test]
    fn stored_bytes_decode_to_the_same_event_and_verify() {
        let key = SigningKey::new(&[7; 32]).unwrap();
        let sealed = key.seal(&event(&key)).unwrap();
        assert_eq!(serde_json::from_slice::<Event>(&sealed.body).unwrap(), event(&key));
        assert!(key.verify(&sealed.body, &sealed.signature));
        let mut changed = sealed.body.clone();
        changed[10] ^= 1;
        assert!(!key.verify(&changed, &sealed.signature));
        assert!(!key.verify(&sealed.body, b""));
        assert!(!SigningKey::new(&[8; 32]).unwrap().verify(&sealed.body, &sealed.signature));
    }

    #[test]
    fn short_secrets_are_refused() {
        assert!(SigningKey::new(b"").is_none());
        assert!(SigningKey::new(&[1; 31]).is_none());
    }
}
