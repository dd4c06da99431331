//! Base32 (RFC 4648, section 6) in lower case, without padding.

const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

pub fn encode(bytes: &[u8]) -> String {
    let bit = |at: usize| {
        bytes
            .get(at / 8)
            .map_or(0, |byte| usize::from(byte >> (7 - at % 8) & 1))
    };
    (0..bytes.len() * 8)
        .step_by(5)
        .map(|start| (start..start + 5).fold(0, |digit, at| digit << 1 | bit(at)))
        .map(|digit| char::from(DIGITS[digit]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_the_rfc() {
        let vectors = [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foobar", "mzxw6ytboi"),
        ];
        for (plain, encoded) in vectors {
            assert_eq!(encode(plain.as_bytes()), encoded);
        }
        assert_eq!(encode(&[0; 32]).len(), 52);
    }
}
