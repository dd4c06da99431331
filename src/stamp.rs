//! What a command is given besides the state: its number, its time and its randomness.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use crate::id::{KeyId, Sequence};
use crate::time::Timestamp;

/// One command's place in its tenant's order. Made by the engine, once; everything that a pure
/// command could want from the world is in here, so a command is a function.
#[derive(Clone)]
pub struct Stamp {
    /// The time of the command, never before the tenant's last entry.
    pub at: Timestamp,
    /// The number the command will have if it changes anything.
    pub sequence: Sequence,
    /// The key that asked; `None` for the node itself.
    pub caller: Option<KeyId>,
    /// 32 fresh random bytes, stored nowhere: what is made from them cannot be made again.
    seed: [u8; 32],
}

impl Stamp {
    /// A stamp with fresh randomness.
    pub fn new(at: Timestamp, sequence: Sequence, caller: Option<KeyId>, seed: [u8; 32]) -> Self {
        Self {
            at,
            sequence,
            caller,
            seed,
        }
    }

    /// 32 bytes for one purpose: HMAC-SHA-256(seed, purpose). Each purpose has bytes of its own.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.seed).expect("HMAC takes any key");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// A time-ordered id (UUID version 7, RFC 9562) for one purpose.
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
