//! The node's signing key (Ed25519, RFC 8032), its public key, and the key's id in entries.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use thiserror::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be an Ed25519 public key: 32 bytes in base64")]
pub struct PublicKeyError;

/// Wiped from memory when dropped, and never printed.
pub struct Signer {
    key: SigningKey,
    public: PublicKey,
    kid: Kid,
}

impl Signer {
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public = PublicKey(key.verifying_key());
        Self {
            key,
            public,
            kid: public.kid(),
        }
    }

    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    pub fn kid(&self) -> Kid {
        self.kid
    }

    /// Deterministic: a message always has the same signature.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.kid)
    }
}

/// A point of the curve. Printed and read as padded base64 of its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, PublicKeyError> {
        VerifyingKey::from_bytes(bytes)
            .map(Self)
            .map_err(|_| PublicKeyError)
    }

    /// Reads padded base64.
    pub fn parse(text: &str) -> Result<Self, PublicKeyError> {
        let bytes = STANDARD.decode(text).map_err(|_| PublicKeyError)?;
        Self::from_bytes(&bytes.try_into().map_err(|_| PublicKeyError)?)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    pub fn kid(&self) -> Kid {
        let hash: [u8; 32] = Sha256::digest(self.as_bytes()).into();
        let (first, _) = hash.split_first_chunk().expect("32 bytes begin with 8");
        Kid(u64::from_be_bytes(*first))
    }

    /// Strict: a signature has one form, and keys and points of small order are refused, so that every
    /// verifier agrees (RFC 8032, 5.1.7, without cofactor).
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0
            .verify_strict(message, &Signature::from_bytes(signature))
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// The id of a public key (JOSE's `kid`): the first 8 bytes of its SHA-256, printed as 16 digits of
/// lower-case hex. It selects a key; it proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kid(u64);

impl Kid {
    /// Accepts only what `Display` prints.
    pub fn parse(text: &str) -> Option<Self> {
        let kid = Self(u64::from_str_radix(text, 16).ok()?);
        (kid.to_string() == text).then_some(kid)
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    }

    /// RFC 8032, section 7.1: tests 1 to 3 (seed, public key, message, signature).
    const RFC_8032: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
             5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    #[test]
    fn keys_and_signatures_are_those_of_rfc_8032() {
        for [seed, public, message, signature] in RFC_8032 {
            let signer = Signer::from_seed(&bytes(seed));
            let message = bytes::<2>(&format!("{message:0<4}"))[..message.len() / 2].to_vec();
            assert_eq!(signer.public_key().as_bytes(), &bytes(public));
            assert_eq!(signer.sign(&message), bytes(signature));
            assert!(signer.public_key().verifies(&message, &bytes(signature)));
            assert!(!signer.public_key().verifies(b"else", &bytes(signature)));
        }
    }

    #[test]
    fn a_key_of_small_order_verifies_nothing() {
        // The neutral point as key and as R, with s = 0, satisfies the plain equation for any text.
        let mut point = [0; 32];
        point[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let key = PublicKey::from_bytes(&point).unwrap();
        assert!(!key.verifies(b"anything", &signature));
    }

    #[test]
    fn keys_and_their_names_come_back_from_text() {
        let signer = Signer::from_seed(&[7; 32]);
        let key = signer.public_key();
        assert_eq!(PublicKey::parse(&key.to_string()), Ok(key));
        assert_eq!(PublicKey::parse("AAAA"), Err(PublicKeyError));
        assert_eq!(
            PublicKey::parse(&key.to_string().replace('=', "")),
            Err(PublicKeyError)
        );
        let kid = signer.kid().to_string();
        assert_eq!(Kid::parse(&kid), Some(key.kid()));
        for wrong in [
            "",
            "+123456789abcdef",
            "0123456789ABCDEF",
            "123456789abcdef",
        ] {
            assert_eq!(Kid::parse(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{signer:?}"), format!("Signer({kid})"));
    }
}
