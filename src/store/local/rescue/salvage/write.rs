//! The new log: records that stay, in segments that continue what was before the damage.

use std::path::Path;

use crate::store::OpenError;
use crate::store::local::Env;
use crate::store::local::dir::segment_name;
use crate::store::local::disk::len_u64;
use crate::store::local::log::frame::{HEADER, Kind, Tail};

/// A frame of the new log is written when it holds this much.
const FRAME_BYTES: usize = 256 << 10;

/// Writes records into new segments.
pub(super) struct Writer<'a> {
    env: &'a Env,
    dir: &'a Path,
    segment_bytes: u64,
    tail: Tail,
    /// What is in the segment so far.
    segment: Vec<u8>,
    /// The frame that is being filled: room for its header, and records.
    frame: Vec<u8>,
    count: u32,
    made: Vec<u64>,
}

impl<'a> Writer<'a> {
    /// Of a log that goes on at `tail`, in a segment that begins with `front`.
    pub fn new(
        env: &'a Env,
        dir: &'a Path,
        segment_bytes: u64,
        tail: Tail,
        front: Vec<u8>,
    ) -> Self {
        Self {
            env,
            dir,
            segment_bytes,
            tail,
            segment: front,
            frame: vec![0; HEADER],
            count: 0,
            made: Vec::new(),
        }
    }

    /// Takes the next record.
    pub fn add(&mut self, record: &[u8]) -> Result<(), OpenError> {
        if self.count > 0 && self.frame.len() + record.len() > FRAME_BYTES {
            self.flush(Kind::Group)?;
        }
        self.frame.extend_from_slice(record);
        self.count += 1;
        Ok(())
    }

    fn flush(&mut self, kind: Kind) -> Result<(), OpenError> {
        let len = len_u64(&self.frame).next_multiple_of(8);
        if self.tail.offset > 0 && self.tail.offset + len > self.segment_bytes {
            self.close()?;
            self.tail = self.tail.next_segment();
        }
        self.tail.finish(kind, self.count, &mut self.frame);
        self.segment.append(&mut self.frame);
        self.frame.resize(HEADER, 0);
        self.count = 0;
        Ok(())
    }

    /// Writes the segment to its file.
    fn close(&mut self) -> Result<(), OpenError> {
        let number = self.tail.segment;
        let path = self.dir.join(segment_name(number));
        let len = self.segment_bytes.max(len_u64(&self.segment));
        let disk = &self.env.disk;
        disk.create(&path, &self.segment, len)
            .and_then(|_| disk.sync_dir(self.dir))
            .map_err(|error| OpenError::io(&path, error))?;
        self.segment.clear();
        self.made.push(number);
        Ok(())
    }

    /// Ends the log in order: the segments that were made, and where it ends.
    pub fn end(mut self) -> Result<(Vec<u64>, Tail), OpenError> {
        if self.count > 0 {
            self.flush(Kind::Group)?;
        }
        self.flush(Kind::Shutdown)?;
        self.close()?;
        Ok((self.made, self.tail))
    }
}
