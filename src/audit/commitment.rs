//! Commitments: an entry fixes a text without revealing it, for ever once the salt is erased.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::tree::Hash;

/// Domain separation: no other message begins like this.
const DOMAIN: &[u8] = b"arf-audit/field/v1\n";

/// The salts of one opening, derived from its seed. Each part has its own, so that revealing one part
/// does not help to guess another.
pub struct Salts(Hmac<Sha256>);

impl Salts {
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(key_kind(seed))
    }

    /// HMAC-SHA-256(seed, name).
    pub fn salt(&self, name: &str) -> [u8; 32] {
        self.0
            .clone()
            .chain_update(name)
            .finalize()
            .into_bytes()
            .into()
    }
}

/// HMAC-SHA-256(salt, `"arf-audit/field/v1\n"` ‖ name ‖ `"\n"` ‖ value). Names have no line feed, so no
/// two parts have the same message.
pub fn commitment(salt: &[u8; 32], name: &str, value: &[u8]) -> Hash {
    key_kind(salt)
        .chain_update(DOMAIN)
        .chain_update(name)
        .chain_update(b"\n")
        .chain_update(value)
        .finalize()
        .into_bytes()
        .into()
}

fn key_kind(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_changes_with_everything_it_fixes() {
        let salts = [Salts::new(&[1; 32]), Salts::new(&[2; 32])];
        let commit = |seed: usize, salt, name, value: &[u8]| {
            commitment(&salts[seed].salt(salt), name, value)
        };
        let all = [
            commit(0, "notes", "notes", b"text"),
            commit(1, "notes", "notes", b"text"),
            commit(0, "owner", "notes", b"text"),
            commit(0, "notes", "owner", b"text"),
            commit(0, "notes", "notes", b"text\n"),
            commit(0, "notes", "note", b"s\ntext"),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| one != other));
        }
    }
}
