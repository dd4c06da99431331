//! Rows: the operations on them, and the envelope around every value.

#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::borrow::Cow;

use thiserror::Error;

use super::compress;
use super::cursor::Cursor;
use super::table::TableSpec;
use crate::hex;
use crate::id::TenantId;

/// A change of one row, or of a range of rows, of one tenant. An effect, not a command: applying it
/// twice is applying it once. Owned on its way into the log; borrowed from a frame's bytes on its way
/// out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op<'a> {
    pub tenant: TenantId,
    pub table: &'static TableSpec,
    /// Without the tenant. Of a range, the first key that is deleted.
    pub key: Cow<'a, [u8]>,
    pub effect: Effect<'a>,
}

/// What an [`Op`] does to the row under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<'a> {
    /// The row is now this envelope.
    Put(Cow<'a, [u8]>),
    Delete,
    /// Deletes the rows up to, and without, this key. Never of a hot table: its head counts single
    /// rows.
    DeleteTo(Cow<'a, [u8]>),
}

impl Op<'static> {
    /// Puts `payload`, encoded by `version` of its table's schema.
    pub fn put(
        tenant: TenantId,
        table: &'static TableSpec,
        key: Vec<u8>,
        version: u16,
        payload: &[u8],
    ) -> Self {
        let effect = Effect::Put(seal_envelope(tenant, table, &key, version, payload).into());
        Self::new(tenant, table, key, effect)
    }

    pub fn delete(tenant: TenantId, table: &'static TableSpec, key: Vec<u8>) -> Self {
        Self::new(tenant, table, key, Effect::Delete)
    }

    /// Deletes every row from `from` up to, and without, `to`.
    pub fn delete_range(
        tenant: TenantId,
        table: &'static TableSpec,
        from: Vec<u8>,
        to: Vec<u8>,
    ) -> Self {
        Self::new(tenant, table, from, Effect::DeleteTo(to.into()))
    }

    pub(super) fn new(
        tenant: TenantId,
        table: &'static TableSpec,
        key: Vec<u8>,
        effect: Effect<'static>,
    ) -> Self {
        Self {
            tenant,
            table,
            key: key.into(),
            effect,
        }
    }
}

impl Op<'_> {
    /// The whole envelope that is put, if one is.
    pub fn envelope(&self) -> Option<&[u8]> {
        match &self.effect {
            Effect::Put(envelope) => Some(envelope),
            Effect::Delete | Effect::DeleteTo(_) => None,
        }
    }

    /// The row that is put, if one is.
    pub fn stored(&self) -> Result<Option<StoredRow>, EnvelopeError> {
        self.envelope()
            .map(|envelope| open_envelope(self.tenant, self.table, &self.key, envelope))
            .transpose()
    }

    /// Copies what is borrowed.
    pub(super) fn into_owned(self) -> Op<'static> {
        Op {
            tenant: self.tenant,
            table: self.table,
            key: Cow::Owned(self.key.into_owned()),
            effect: match self.effect {
                Effect::Put(envelope) => Effect::Put(Cow::Owned(envelope.into_owned())),
                Effect::Delete => Effect::Delete,
                Effect::DeleteTo(to) => Effect::DeleteTo(Cow::Owned(to.into_owned())),
            },
        }
    }
}

/// A row as it was put: checked, without its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// The version of the table's schema that encoded it.
    pub version: u16,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Why an envelope cannot be opened: the row is not what was put.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "damaged row in `{table}` of tenant {tenant}, key 0x{}: {why}",
    hex::encode(key)
)]
pub struct EnvelopeError {
    /// The table's name.
    pub table: &'static str,
    /// Whose row.
    pub tenant: TenantId,
    /// Its key, without the tenant.
    pub key: Vec<u8>,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Bytes of an envelope before its payload.
pub(super) const ENVELOPE: usize = 12;
/// Of those, the ones its checksum covers.
const COVERED: usize = 8;

/// The fields before an envelope's payload.
pub(super) struct Envelope {
    table: u8,
    pub version: u16,
    codec: u8,
    /// Bytes of stored payload, wherever they lie.
    pub len: usize,
    /// The checksum of the row.
    pub crc: u32,
}

impl Envelope {
    /// Reads the fields; `None` if there are not enough bytes for them.
    pub fn read(value: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(value);
        Some(Self {
            table: cursor.u8()?,
            version: cursor.u16()?,
            codec: cursor.u8()?,
            len: usize::try_from(cursor.u32()?).ok()?,
            crc: cursor.u32()?,
        })
    }
}

/// The part of a row's checksum that only its place decides.
pub(super) fn key_crc(tenant: TenantId, table: &TableSpec, key: &[u8]) -> crc32fast::Hasher {
    let mut crc = crc32fast::Hasher::new();
    crc.update(table.name.as_bytes());
    crc.update(tenant.as_bytes());
    crc.update(key);
    crc
}

fn seal_envelope(
    tenant: TenantId,
    table: &TableSpec,
    key: &[u8],
    version: u16,
    payload: &[u8],
) -> Vec<u8> {
    let compressed = compress::compress(table, payload);
    let (codec, payload) = match &compressed {
        Some((codec, stored)) => (*codec, stored.as_slice()),
        None => (compress::PLAIN, payload),
    };
    let len = u32::try_from(payload.len()).expect("a row is shorter than 4 GiB");
    let mut value = Vec::with_capacity(ENVELOPE + payload.len());
    value.push(table.id);
    value.extend(version.to_le_bytes());
    value.push(codec);
    value.extend(len.to_le_bytes());
    let mut crc = key_crc(tenant, table, key);
    crc.update(&value);
    crc.update(payload);
    value.extend(crc.finalize().to_le_bytes());
    value.extend_from_slice(payload);
    value
}

/// Opens the envelope `value` found under `key`; it is the row that was put there, or an error.
pub fn open_envelope(
    tenant: TenantId,
    table: &TableSpec,
    key: &[u8],
    value: &[u8],
) -> Result<StoredRow, EnvelopeError> {
    let (envelope, stored) = check_envelope(tenant, table, key, value)?;
    let payload = compress::decompress(envelope.codec, stored).map_err(|why| EnvelopeError {
        table: table.name,
        tenant,
        key: key.to_vec(),
        why,
    })?;
    Ok(StoredRow {
        version: envelope.version,
        payload,
    })
}

/// As [`open_envelope`], with the payload as it is stored: neither copied nor decompressed.
pub(super) fn check_envelope<'v>(
    tenant: TenantId,
    table: &TableSpec,
    key: &[u8],
    value: &'v [u8],
) -> Result<(Envelope, &'v [u8]), EnvelopeError> {
    let damaged = |why| EnvelopeError {
        table: table.name,
        tenant,
        key: key.to_vec(),
        why,
    };
    let (fields, payload) = value
        .split_at_checked(ENVELOPE)
        .ok_or_else(|| damaged("shorter than an envelope"))?;
    let covered = fields.get(..COVERED).unwrap_or_default();
    let envelope = Envelope::read(fields).ok_or_else(|| damaged("shorter than an envelope"))?;
    if envelope.len != payload.len() {
        return Err(damaged("its length is not the one it was put with"));
    }
    let mut crc = key_crc(tenant, table, key);
    crc.update(covered);
    crc.update(payload);
    if crc.finalize() != envelope.crc {
        return Err(damaged("its checksum does not match"));
    }
    if envelope.table != table.id {
        return Err(damaged("it belongs to another table"));
    }
    if !compress::is_known(envelope.codec) {
        return Err(damaged("unknown codec"));
    }
    Ok((envelope, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;
    use crate::store::table::{ENTRIES, KeyKind, Load};

    static COLOURS: TableSpec = TableSpec {
        id: 7,
        name: "colours",
        load: Load::Hot,
        key_kind: KeyKind::Natural,
        version: 1,
    };
    const TENANT: TenantId = TenantId::from_bytes([9; 16]);

    fn envelope() -> Vec<u8> {
        seal_envelope(TENANT, &COLOURS, b"sky", 3, b"blue")
    }

    #[test]
    fn an_envelope_is_frozen() {
        golden::check("store_envelope.hex", &golden::hex(&envelope()));
    }

    #[test]
    fn an_envelope_opens_only_where_it_was_put() {
        let value = envelope();
        let open = |tenant, table, key: &[u8]| open_envelope(tenant, table, key, &value);
        let stored = StoredRow {
            version: 3,
            payload: b"blue".to_vec(),
        };
        assert_eq!(open(TENANT, &COLOURS, b"sky"), Ok(stored));
        assert!(open(TenantId::ZERO, &COLOURS, b"sky").is_err());
        assert!(open(TENANT, &ENTRIES, b"sky").is_err());
        assert!(open(TENANT, &COLOURS, b"sea").is_err());
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_seen() {
        let value = envelope();
        for len in 0..value.len() {
            assert!(open_envelope(TENANT, &COLOURS, b"sky", &value[..len]).is_err());
        }
        for bit in 0..value.len() * 8 {
            let mut changed = value.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                open_envelope(TENANT, &COLOURS, b"sky", &changed).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_codec_of_the_future_is_refused_by_name() {
        let mut value = envelope();
        value[3] = 1;
        let mut crc = key_crc(TENANT, &COLOURS, b"sky");
        crc.update(&value[..COVERED]);
        crc.update(&value[ENVELOPE..]);
        value[COVERED..ENVELOPE].copy_from_slice(&crc.finalize().to_le_bytes());
        let error = open_envelope(TENANT, &COLOURS, b"sky", &value).unwrap_err();
        assert_eq!(error.why, "unknown codec");
        assert!(error.to_string().contains("`colours`") && error.to_string().contains("0x736b79"));
    }
}
