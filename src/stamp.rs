//! What a command is given besides the state: its number, its time and its randomness.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use crate::id::{KeyId, Sequence};
use crate::time::Timestamp;

/// A command's place in its tenant's order, with its time and randomness: so a command is a function.
#[derive(Clone)]
pub struct Stamp {
    /// The time of the command, never before the tenant's last entry.
    pub at: Timestamp,
    /// The command's, if it changes anything.
    pub sequence: Sequence,
    /// `None` for the node itself.
    pub caller: Option<KeyId>,
    /// Random, and never stored: what is derived from it cannot be derived again.
    seed: [u8; 32],
}

impl Stamp {
    pub fn new(at: Timestamp, sequence: Sequence, caller: Option<KeyId>, seed: [u8; 32]) -> Self {
        Self {
            at,
            sequence,
            caller,
            seed,
        }
    }

    /// HMAC-SHA-256(seed, purpose).
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.seed).expect("HMAC takes any key");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// RFC 9562.
    pub fn uuid_v7(&self, purpose: &str) -> Uuid {
        let millis = u64::try_from(self.at.micros() / 1_000).unwrap_or(0);
        let mut random = [0; 10];
        random.copy_from_slice(&self.derive(purpose)[..10]);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

impl std::fmt::Debug for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stamp({} at {})", self.sequence, self.at)
    }
}
