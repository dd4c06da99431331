//! The name of a log (its origin), in every entry, checkpoint and signature.

use crate::base32;

/// 26 characters of lower-case base32 without padding, from 16 random bytes. Witnesses see it, so it
/// reveals nothing about the tenant.
pub fn log_id(bytes: &[u8; 16]) -> String {
    base32::encode(bytes)
}

/// `<service>/audit/<log id>`, also the name of the key of its checkpoints. `service` is a host name
/// without scheme; a signed note (C2SP) allows no space and no `+` in it.
pub fn origin(service: &str, log_id: &str) -> String {
    format!("{service}/audit/{log_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_id_is_lower_case_base32_without_padding() {
        let check = |bytes: &[u8; 16], text| assert_eq!(log_id(bytes), text);
        check(&[0x00; 16], "aaaaaaaaaaaaaaaaaaaaaaaaaa");
        check(&[0xFF; 16], "77777777777777777777777774");
        check(b"foobarfoobarfoob", "mzxw6ytbojtg633cmfzgm33pmi");
        let name = origin("arf.invalid", &log_id(&[0; 16]));
        assert_eq!(name, "arf.invalid/audit/aaaaaaaaaaaaaaaaaaaaaaaaaa");
    }
}
