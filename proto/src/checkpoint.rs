//! Checkpoints: one signed line that says how far a run had come, kept where the administrator of the
//! database has no say. Whoever has the public key can tell that nothing before it was cut off or changed,
//! without any secret.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ids::WorkflowId;
use crate::seal::hex;
use crate::timestamp::Timestamp;
use crate::verify::Head;

/// How far a run had come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checkpoint {
    /// The run.
    pub workflow_id: WorkflowId,
    /// Number of its last event.
    pub sequence: u64,
    /// Lower hex SHA-256 of that event's canonical bytes.
    pub hash: String,
    /// The run had ended.
    pub ended: bool,
    /// When the checkpoint was made.
    pub at: Timestamp,
    /// Which key signed it.
    pub key_id: String,
    /// Ed25519 over the canonical JSON of the other fields, lower hex.
    pub signature: String,
}

/// Text that holds no Ed25519 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no Ed25519 key in PEM; `{}` makes one", .0)]
pub struct InvalidKey(&'static str);

const MAKE_PRIVATE: &str = "openssl genpkey -algorithm ed25519";
const MAKE_PUBLIC: &str = "openssl pkey -in checkpoint.key -pubout";
/// What stands before the 32 bytes of a private key (RFC 8410, section 7) and of a public one (section 4).
const PRIVATE_PREFIX: &str = "302e020100300506032b657004220420";
const PUBLIC_PREFIX: &str = "302a300506032b6570032100";

/// Signs checkpoints.
pub struct CheckpointKey {
    pair: Ed25519KeyPair,
    key_id: String,
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl CheckpointKey {
    /// Reads a private key: PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// The text holds no such key.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        let seed =
            key_bytes(text, "PRIVATE KEY", PRIVATE_PREFIX).ok_or(InvalidKey(MAKE_PRIVATE))?;
        let pair =
            Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| InvalidKey(MAKE_PRIVATE))?;
        let key_id = key_id(pair.public_key().as_ref());
        Ok(Self { pair, key_id })
    }

    /// Name of this key, in each checkpoint it signs.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The key that auditors need, in PEM.
    #[must_use]
    pub fn public_pem(&self) -> String {
        let prefix = HEXLOWER.decode(PUBLIC_PREFIX.as_bytes()).unwrap_or_default();
        let der = [prefix.as_slice(), self.pair.public_key().as_ref()].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(&der))
    }

    /// A signed checkpoint.
    #[must_use]
    pub fn sign(
        &self,
        workflow_id: WorkflowId,
        (sequence, hash): (u64, [u8; 32]),
        ended: bool,
        at: Timestamp,
    ) -> Checkpoint {
        let mut checkpoint = Checkpoint {
            workflow_id,
            sequence,
            hash: hex(&hash),
            ended,
            at,
            key_id: self.key_id.clone(),
            signature: String::new(),
        };
        checkpoint.signature = hex(self.pair.sign(&checkpoint.signed()).as_ref());
        checkpoint
    }
}

/// Checks checkpoints.
#[derive(Clone, Debug)]
pub struct PublicKey {
    bytes: Vec<u8>,
    key_id: String,
}

impl PublicKey {
    /// Reads a public key in PEM.
    ///
    /// # Errors
    /// The text holds no such key.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        let bytes = key_bytes(text, "PUBLIC KEY", PUBLIC_PREFIX).ok_or(InvalidKey(MAKE_PUBLIC))?;
        Ok(Self { key_id: key_id(&bytes), bytes })
    }

    /// Whether this key has signed the checkpoint as it is.
    #[must_use]
    pub fn verify(&self, checkpoint: &Checkpoint) -> bool {
        let Ok(signature) = HEXLOWER.decode(checkpoint.signature.as_bytes()) else { return false };
        checkpoint.key_id == self.key_id
            && UnparsedPublicKey::new(&ED25519, &self.bytes)
                .verify(&checkpoint.signed(), &signature)
                .is_ok()
    }
}

impl Checkpoint {
    /// Reads the lines of a file of checkpoints, each of which one of `keys` must have signed.
    ///
    /// # Errors
    /// Names the first line that is none.
    pub fn read_all(text: &str, keys: &[PublicKey]) -> Result<Vec<Self>, String> {
        let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
        lines
            .filter_map(|(line, number)| match serde_json::from_str::<Self>(line) {
                Ok(checkpoint) => Some(Ok((checkpoint, number))),
                // A full disk cut it off; the same line was written again behind it.
                Err(error) if error.is_eof() => None,
                Err(error) => Some(Err(format!("line {number} is no checkpoint: {error}"))),
            })
            .map(|read| {
                let (checkpoint, number) = read?;
                match keys.iter().any(|key| key.verify(&checkpoint)) {
                    true => Ok(checkpoint),
                    false => Err(format!("line {number} was not signed with a key that was given")),
                }
            })
            .collect()
    }

    /// What it remembers of the run.
    #[must_use]
    pub fn head(&self) -> Head {
        let mut hash = [0; 32];
        if let Ok(bytes) = HEXLOWER.decode(self.hash.as_bytes())
            && bytes.len() == hash.len()
        {
            hash.copy_from_slice(&bytes);
        }
        Head {
            source: format!("the checkpoint of {}", self.at),
            sequence: self.sequence,
            hash,
            // Also an ended run is annotated, and its messages are delivered.
            is_past: true,
        }
    }

    /// The line that is kept, without its end.
    #[must_use]
    pub fn line(&self) -> String {
        String::from_utf8(serde_json_canonicalizer::to_vec(self).unwrap_or_default())
            .unwrap_or_default()
    }

    fn signed(&self) -> Vec<u8> {
        let mut fields = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(fields) = &mut fields {
            fields.remove("signature");
        }
        let body = serde_json_canonicalizer::to_vec(&fields).unwrap_or_default();
        [b"sluice-checkpoint\n".as_slice(), &body].concat()
    }
}

fn key_id(public: &[u8]) -> String {
    let digest = Sha256::new().chain_update(b"sluice-checkpoint-key:").chain_update(public);
    hex(&digest.finalize()[..8])
}

/// The 32 bytes of a key in PEM.
fn key_bytes(text: &str, label: &str, prefix: &str) -> Option<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let inner = text.split_once(&begin)?.1.split_once(&end)?.0;
    let inner: String = inner.split_whitespace().collect();
    let der = BASE64.decode(inner.as_bytes()).ok()?;
    let prefix = HEXLOWER.decode(prefix.as_bytes()).ok()?;
    der.strip_prefix(prefix.as_slice()).filter(|key| key.len() == 32).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl genpkey -algorithm ed25519`.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
    /// From RFC 8410, section 10.1: the public key of that private key.
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";

    fn checkpoint() -> Checkpoint {
        let id = WorkflowId::parse("hotfix-1").unwrap();
        let key = CheckpointKey::from_pem(PRIVATE).unwrap();
        key.sign(id, (7, [3; 32]), true, Timestamp::from_micros(1))
    }

    #[test]
    fn keys_are_those_of_others_tools() {
        let key = CheckpointKey::from_pem(PRIVATE).unwrap();
        assert_eq!(key.public_pem(), PUBLIC);
        for text in ["", PUBLIC, &PRIVATE.replace("MC4C", "MC4D"), "-----BEGIN PRIVATE KEY-----"] {
            assert!(CheckpointKey::from_pem(text).is_err(), "{text}");
        }
        assert!(PublicKey::from_pem(PRIVATE).is_err());
    }

    #[test]
    fn a_line_is_believed_only_as_it_was_signed() {
        let keys = [PublicKey::from_pem(PUBLIC).unwrap()];
        let line = checkpoint().line();
        let read = Checkpoint::read_all(&format!("{line}\n\n{line}\n"), &keys).unwrap();
        assert_eq!(read, [checkpoint(), checkpoint()]);
        assert_eq!((read[0].head().sequence, read[0].head().hash), (7, [3; 32]));
        for (old, new) in [
            ("\"sequence\":7", "\"sequence\":6"),
            ("hotfix-1", "hotfix-2"),
            ("0303", "0304"),
            ("true", "false"),
            ("00.000001Z", "00.000002Z"),
        ] {
            let changed = line.replacen(old, new, 1);
            assert_ne!(changed, line, "{old}");
            assert!(Checkpoint::read_all(&changed, &keys).is_err(), "{old}");
        }
        assert!(Checkpoint::read_all(&line, &[]).is_err());
        assert!(Checkpoint::read_all("{}", &keys).is_err());
        let torn = format!("{}\n{line}\n", &line[..line.len() / 2]);
        assert_eq!(Checkpoint::read_all(&torn, &keys).unwrap(), [checkpoint()]);
    }
}
