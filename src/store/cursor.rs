//! Little-endian fields off the front of a slice, without indexing: what is not there is `None`.

#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

/// What is left of some bytes that are being decoded.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Begins at the front.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Everything not yet taken.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    /// The next `len` bytes.
    pub fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// As many bytes as a leading `u16` says.
    pub fn slice_u16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.slice(usize::from(len))
    }

    /// As many bytes as a leading `u32` says.
    pub fn slice_u32(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.slice(len)
    }
}
