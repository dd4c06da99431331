//! Frames: one write and one sync of the log each, and how each continues the one before it.
//!
//! A [`Tail`] is where the next frame goes when writing, and where it must be when reading:
//! [`Tail::finish`] and [`Tail::accept`] are each other's inverse.

#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use crate::store::cursor::Cursor;
use crate::store::local::disk::{all_zero, len_u64};
use crate::store::record::{LogPrefix, Lsn};

/// Bytes before a frame's body.
pub const HEADER: usize = 64;
/// Every frame begins at a multiple of this.
const ALIGN: usize = 8;

const MAGIC: [u8; 4] = *b"ARFW";
/// The version of frames and of what is in them.
const VERSION: u16 = 1;
/// The header's checksum covers the bytes from here on, the chain value those up to [`CHAINED`].
const CHECKED: usize = 8;
const CHAINED: usize = 56;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Records that are durable together.
    Group,
    /// Nothing: it proves that what is before it was acknowledged.
    Seal,
    /// Nothing: everything before it was written, and nothing was meant to follow in its epoch.
    Shutdown,
}

impl Kind {
    const fn flags(self) -> u16 {
        match self {
            Self::Group => 1,
            Self::Seal => 2,
            Self::Shutdown => 4,
        }
    }

    const fn of_flags(flags: u16) -> Option<Self> {
        match flags {
            1 => Some(Self::Group),
            2 => Some(Self::Seal),
            4 => Some(Self::Shutdown),
            _ => None,
        }
    }
}

/// The end of the log: where the next frame goes, and what it has to continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    pub segment: u64,
    pub offset: u64,
    pub next: Lsn,
    /// The chain value of the last frame.
    pub chain: u32,
    /// When reading, of the last frame; when writing, of this start.
    pub epoch: u32,
}

impl LogPrefix {
    /// The tail behind it.
    pub fn tail(self) -> Tail {
        Tail {
            segment: self.segment + 1,
            offset: 0,
            next: self.lsn.plus(1),
            chain: self.chain,
            epoch: self.epoch,
        }
    }

    /// What a snapshot covers if the log goes on at this tail, at the beginning of a segment.
    pub fn up_to(tail: Tail) -> Self {
        Self {
            lsn: Lsn::new(tail.next.get() - 1),
            chain: tail.chain,
            segment: tail.segment - 1,
            epoch: tail.epoch,
        }
    }
}

/// A place in the log at which a frame ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The last record.
    pub lsn: Lsn,
    /// The chain value of its frame.
    pub chain: u32,
}

/// A frame that continues the log.
pub struct Frame<'a> {
    pub kind: Kind,
    pub count: u32,
    pub body: &'a [u8],
}

/// Why there is no frame where one could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// No header: zeros, garbage or half of one.
    Header,
    /// A header of a later version.
    Newer(u16),
    /// A valid header that does not continue the log.
    Order(&'static str),
    /// A header that continues the log, without the body it announces.
    Body,
}

impl FrameError {
    pub fn why(self) -> &'static str {
        match self {
            Self::Header => "no frame header",
            Self::Newer(_) => "a frame of a newer version",
            Self::Order(why) => why,
            Self::Body => "a frame's body does not match its checksum",
        }
    }
}

impl Tail {
    /// Before the first frame.
    pub const START: Self = Self {
        segment: 1,
        offset: 0,
        next: Lsn::new(1),
        chain: 0,
        epoch: 0,
    };

    /// At the beginning of the next segment.
    pub fn next_segment(self) -> Self {
        Self {
            segment: self.segment + 1,
            offset: 0,
            ..self
        }
    }

    /// Completes a frame: the first [`HEADER`] bytes are reserved for the header, the rest are
    /// `count` records. Moves the tail behind it.
    pub fn finish(&mut self, kind: Kind, count: u32, frame: &mut Vec<u8>) {
        let body = frame.get(HEADER..).unwrap_or_default();
        let body_len = u32::try_from(body.len()).expect("a frame is shorter than 4 GiB");
        let body_crc = crc32fast::hash(body);
        let mut header = Vec::with_capacity(HEADER);
        header.extend(MAGIC);
        header.extend([0; 4]);
        header.extend(VERSION.to_le_bytes());
        header.extend(kind.flags().to_le_bytes());
        header.extend(count.to_le_bytes());
        header.extend(body_len.to_le_bytes());
        header.extend(body_crc.to_le_bytes());
        header.extend(self.next.get().to_le_bytes());
        header.extend(self.segment.to_le_bytes());
        header.extend(self.offset.to_le_bytes());
        header.extend(self.epoch.to_le_bytes());
        header.extend(self.chain.to_le_bytes());
        self.chain = crc32fast::hash(header.get(CHECKED..).unwrap_or_default());
        header.extend(self.chain.to_le_bytes());
        header.extend([0; 4]);
        let crc = crc32fast::hash(header.get(CHECKED..).unwrap_or_default()).to_le_bytes();
        header.splice(4..8, crc);
        frame.splice(..HEADER, header);
        frame.resize(frame.len().next_multiple_of(ALIGN), 0);
        self.next = self.next.plus(u64::from(count));
        self.offset += len_u64(frame);
    }

    /// Reads the frame at the front of `bytes`, which begin at this tail, and moves the tail behind it;
    /// not on an error.
    pub fn accept<'a>(&mut self, bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let header = Header::read(bytes)?;
        let order = [
            (header.segment == self.segment, "a frame of another segment"),
            (header.offset == self.offset, "a frame of another place"),
            (
                header.first == self.next,
                "records are missing before this frame",
            ),
            (
                header.prev_chain == self.chain,
                "this frame continues another log",
            ),
            (header.epoch >= self.epoch, "a frame of an earlier start"),
        ];
        if let Some((_, why)) = order.into_iter().find(|(holds, _)| !holds) {
            return Err(FrameError::Order(why));
        }
        let mut cursor = Cursor::new(bytes);
        let whole = |len: u32| usize::try_from(len).ok();
        let body = cursor
            .slice(HEADER)
            .and(whole(header.body_len))
            .and_then(|len| cursor.slice(len))
            .filter(|body| crc32fast::hash(body) == header.body_crc)
            .ok_or(FrameError::Body)?;
        let padding = body.len().next_multiple_of(ALIGN) - body.len();
        cursor
            .slice(padding)
            .filter(|zeros| all_zero(zeros))
            .ok_or(FrameError::Body)?;
        *self = Self {
            segment: self.segment,
            offset: self.offset + len_u64(bytes) - len_u64(cursor.rest()),
            next: self.next.plus(u64::from(header.count)),
            chain: header.chain,
            epoch: header.epoch,
        };
        Ok(Frame {
            kind: header.kind,
            count: header.count,
            body,
        })
    }
}

/// The length of the frame whose header is at the front of `bytes`; `None` if there is no header.
pub fn announced(bytes: &[u8]) -> Option<usize> {
    let body = usize::try_from(Header::read(bytes).ok()?.body_len).ok()?;
    HEADER.checked_add(body)?.checked_next_multiple_of(ALIGN)
}

/// Whether this is the header of a SHUTDOWN frame in its own place.
pub fn is_shutdown(bytes: &[u8], segment: u64, offset: u64) -> bool {
    Header::read(bytes).is_ok_and(|header| {
        (header.kind, header.segment, header.offset) == (Kind::Shutdown, segment, offset)
    })
}

/// Every whole header in `bytes`, which lie at `offset` of `segment`, as the tail that it continues. It
/// counts only in its own place: one that was copied there by a payload does not.
pub fn find_frames(bytes: &[u8], segment: u64, offset: u64) -> impl Iterator<Item = Tail> {
    (offset..)
        .step_by(ALIGN)
        .zip(bytes.chunks(ALIGN).enumerate())
        .filter_map(move |(place, (i, chunk))| {
            if !chunk.starts_with(&MAGIC) {
                return None;
            }
            let header = Header::read(bytes.get(i * ALIGN..)?).ok()?;
            let own = header.segment == segment && header.offset == place;
            own.then_some(Tail {
                segment,
                offset: place,
                next: header.first,
                chain: header.prev_chain,
                epoch: header.epoch,
            })
        })
}

struct Header {
    kind: Kind,
    count: u32,
    body_len: u32,
    body_crc: u32,
    first: Lsn,
    segment: u64,
    offset: u64,
    epoch: u32,
    prev_chain: u32,
    chain: u32,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, FrameError> {
        let bytes = bytes.get(..HEADER).ok_or(FrameError::Header)?;
        let hash = |from: usize, to: usize| bytes.get(from..to).map(crc32fast::hash);
        let mut cursor = Cursor::new(bytes);
        let magic: [u8; 4] = cursor.array().ok_or(FrameError::Header)?;
        let crc = cursor.u32();
        if magic != MAGIC || crc != hash(CHECKED, HEADER) {
            return Err(FrameError::Header);
        }
        let version = cursor.u16().ok_or(FrameError::Header)?;
        if version != VERSION {
            return Err(FrameError::Newer(version));
        }
        let header = Self::fields(&mut cursor).ok_or(FrameError::Header)?;
        if Some(header.chain) != hash(CHECKED, CHAINED) {
            return Err(FrameError::Header);
        }
        Ok(header)
    }

    fn fields(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            kind: Kind::of_flags(cursor.u16()?)?,
            count: cursor.u32()?,
            body_len: cursor.u32()?,
            body_crc: cursor.u32()?,
            first: Lsn::new(cursor.u64()?),
            segment: cursor.u64()?,
            offset: cursor.u64()?,
            epoch: cursor.u32()?,
            prev_chain: cursor.u32()?,
            chain: cursor.u32()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    const AT: Tail = Tail {
        segment: 3,
        offset: 4096,
        next: Lsn::new(41),
        chain: 0x1234_5678,
        epoch: 2,
    };

    fn frame(mut tail: Tail, kind: Kind, count: u32, body: &[u8]) -> (Tail, Vec<u8>) {
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(body);
        tail.finish(kind, count, &mut bytes);
        (tail, bytes)
    }

    #[test]
    fn a_frame_is_frozen() {
        let (_, bytes) = frame(AT, Kind::Group, 2, b"two records");
        golden::check("store_frame.hex", &golden::hex(&bytes));
    }

    #[test]
    fn reading_goes_where_writing_went() {
        for (kind, count, body) in [
            (Kind::Group, 2, b"two records".as_slice()),
            (Kind::Seal, 0, b""),
            (Kind::Shutdown, 0, b""),
        ] {
            let (written, bytes) = frame(AT, kind, count, body);
            let mut read = AT;
            let accepted = read.accept(&bytes).unwrap();
            assert_eq!(
                (accepted.kind, accepted.count, accepted.body),
                (kind, count, body)
            );
            assert_eq!(read, written);
            assert_eq!(read.offset % 8, 0);
        }
    }

    #[test]
    fn no_cut_and_no_changed_bit_passes() {
        let (_, bytes) = frame(AT, Kind::Group, 2, b"two records");
        for len in 0..bytes.len() {
            assert!(AT.clone().accept(&bytes[..len]).is_err());
        }
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(AT.clone().accept(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_counts_only_where_it_was_written() {
        let (_, bytes) = frame(AT, Kind::Group, 2, b"two records");
        for elsewhere in [
            Tail { segment: 4, ..AT },
            Tail { offset: 0, ..AT },
            Tail {
                next: Lsn::new(40),
                ..AT
            },
            Tail { chain: 0, ..AT },
            Tail { epoch: 3, ..AT },
        ] {
            let mut tail = elsewhere;
            assert!(matches!(tail.accept(&bytes), Err(FrameError::Order(_))));
            assert_eq!(tail, elsewhere);
        }
        assert!(Tail { epoch: 1, ..AT }.accept(&bytes).is_ok());
    }

    #[test]
    fn a_header_is_found_in_its_own_place_only() {
        let (next, first) = frame(AT, Kind::Group, 2, b"two records");
        let (_, second) = frame(next, Kind::Group, 1, b"one");
        let bytes = [first, second].concat();
        let found = |gap: usize, segment, offset| {
            let bytes = [vec![0; gap], bytes.clone()].concat();
            find_frames(&bytes, segment, offset).collect::<Vec<_>>()
        };
        assert_eq!(found(16, 3, 4096 - 16), [AT, next]);
        assert_eq!(found(16, 3, 4096), []);
        assert_eq!(found(12, 3, 4096 - 12), []);
        assert_eq!(found(16, 2, 4096 - 16), []);
        assert!(find_frames(&bytes[..HEADER - 1], 3, 4096).next().is_none());
    }
}
