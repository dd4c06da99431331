//! Snapshots: all rows as the log had them at the end of a segment, in one file.
//!
//! It consists of the log's frames, in a segment with the number 0, which the log never has: first the
//! prefix of the log that it stands for, then the rows in order of rank, table, tenant and key, then a
//! SHUTDOWN frame. A run ([`merge`](super::merge)) has no such beginning, and may delete.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use crate::id::TenantId;
use crate::store::ledger::Tally;
use crate::store::local::dir::{self, DataDir};
use crate::store::local::disk::{Disk, LogFile, len_u64};
use crate::store::local::log::frame::{HEADER, Kind, Tail, is_shutdown};
use crate::store::local::log::frames::{FrameReader, LogError, Policy, go_on};
use crate::store::local::log::scan::{LastHead, open_head, records};
use crate::store::local::schema::{Part, Schema, rank};
use crate::store::record::{LogBody, LogPrefix, Lsn, Record, RowsRecord};
use crate::store::row::{Effect, EnvelopeError, Op, check_envelope};
use crate::store::table::{HEADS, Load};

/// A frame has about this many bytes.
const FRAME_BYTES: usize = 256 << 10;
/// Bytes written between two syncs: a commit may have to wait for as many.
const SYNC_BYTES: usize = 4 << 20;

/// Where the first frame is.
pub const START: Tail = Tail {
    segment: 0,
    offset: 0,
    next: Lsn::new(1),
    chain: 0,
    epoch: 0,
};

/// The sort key of operations in a file. A range comes before rows that were put after it.
pub fn place<'o>(op: &'o Op<'_>) -> (u8, u8, TenantId, &'o [u8], bool) {
    let row = !matches!(op.effect, Effect::DeleteTo(_));
    (rank(op.table), op.table.id, op.tenant, &op.key, row)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub path: PathBuf,
    pub prefix: LogPrefix,
    pub bytes: u64,
}

/// The snapshots by name, the oldest first, unread.
pub fn list(data: &DataDir) -> io::Result<Vec<PathBuf>> {
    let dir = data.snapshots();
    let mut names = data.disk().list(&dir)?;
    names.retain(|name| dir::is_snapshot(name));
    names.sort_unstable();
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

impl Snapshot {
    /// Reads the front of a snapshot, and checks that it has an end.
    pub fn open(disk: &Arc<dyn Disk>, schema: &Schema, path: PathBuf) -> Result<Self, LogError> {
        let bytes = disk.len(&path).map_err(LogError::io(&path))?;
        let mut rows = Rows::new(disk, schema, path.clone(), Part::Front);
        let prefix = rows.prefix()?;
        let Some(prefix) = prefix.filter(|prefix| path.ends_with(dir::snapshot_name(prefix.lsn)))
        else {
            return Err(rows.frames.damaged("not the snapshot that its name says"));
        };
        let end = bytes.saturating_sub(len_u64(&[0; HEADER]));
        let last = disk
            .read_at(&path, end, HEADER)
            .map_err(LogError::io(&path))?;
        if !is_shutdown(&last, START.segment, end) {
            return Err(LogError::Damaged {
                path,
                offset: end,
                why: "the snapshot does not end",
                last_good: None,
                next_valid: None,
            });
        }
        Ok(Self {
            path,
            prefix,
            bytes,
        })
    }

    /// Every tenant's head. The log behind the snapshot changes some of them.
    pub fn heads(
        &self,
        disk: &Arc<dyn Disk>,
        schema: &Schema,
    ) -> Result<HashMap<TenantId, LastHead>, LogError> {
        let mut heads = HashMap::new();
        let mut rows = self.rows(disk, schema, Part::Front);
        while let Some(op) = rows.next().transpose()? {
            if op.table.id != HEADS.id {
                break;
            }
            let head = head_of(&op).ok_or_else(|| rows.frames.damaged("a head is unreadable"))?;
            heads.insert(op.tenant, head);
        }
        Ok(heads)
    }

    pub fn rows<'s>(&self, disk: &Arc<dyn Disk>, schema: &'s Schema, part: Part) -> Rows<'s> {
        Rows::new(disk, schema, self.path.clone(), part)
    }

    /// Checks every frame.
    pub fn check_frames(
        &self,
        disk: &Arc<dyn Disk>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), LogError> {
        let mut frames = FrameReader::file(disk, self.path.clone(), START, Policy::Strict);
        while frames
            .frame()
            .is_none_or(|frame| frame.kind != Kind::Shutdown)
        {
            go_on(stopped)?;
            frames.step()?;
        }
        self.check_end(&frames)
    }

    fn check_end(&self, frames: &FrameReader) -> Result<(), LogError> {
        if frames.tail().offset == self.bytes {
            Ok(())
        } else {
            Err(frames.damaged("a snapshot goes on behind its end"))
        }
    }

    /// Checks every frame, every envelope and the order of all rows, and every tenant's hot rows against
    /// its head.
    pub fn check(
        &self,
        disk: &Arc<dyn Disk>,
        schema: &Schema,
        stopped: &dyn Fn() -> bool,
    ) -> Result<HashMap<TenantId, LastHead>, LogError> {
        let mut rows = self.rows(disk, schema, Part::Whole);
        let mut heads = HashMap::new();
        let mut tallies: HashMap<TenantId, Tally> = HashMap::new();
        let mut before: Option<Op<'_>> = None;
        while let Some(op) = rows.next().transpose()? {
            go_on(stopped)?;
            let damaged = |why| rows.frames.damaged(why);
            if before.is_some_and(|before| place(&before) >= place(&op)) {
                return Err(damaged("its rows are not in order"));
            }
            let Some(value) = op.envelope() else {
                return Err(damaged("a snapshot that deletes"));
            };
            let Op {
                tenant, table, key, ..
            } = &op;
            let (envelope, _) = check_envelope(*tenant, table, key, value)?;
            if table.load == Load::Hot {
                let tally = tallies.entry(*tenant).or_default();
                tally.put(*tenant, table, key, envelope.crc);
            }
            if table.id == HEADS.id {
                let head = head_of(&op).ok_or_else(|| damaged("a head is unreadable"))?;
                heads.insert(*tenant, head);
            }
            before = Some(op);
        }
        let head_damaged = |tenant: &TenantId, why| {
            LogError::Row(EnvelopeError {
                table: HEADS.name,
                tenant: *tenant,
                key: Vec::new(),
                why,
            })
        };
        for (tenant, last) in &heads {
            let tally = tallies.remove(tenant).unwrap_or_default();
            let head = open_head(*tenant, &last.envelope);
            if head.is_none_or(|head| (head.hot_rows, head.hot_hash) != (tally.rows, tally.hash)) {
                let why = "its hot rows are not those that it says";
                return Err(head_damaged(tenant, why));
            }
        }
        if let Some(tenant) = tallies.keys().next() {
            return Err(head_damaged(tenant, "it is missing"));
        }
        self.check_end(&rows.frames)?;
        Ok(heads)
    }
}

/// Writes a snapshot in a boot epoch, and reads it back. It counts only once it is renamed and its
/// directory synced.
pub fn write(
    (disk, schema, stopped): (&Arc<dyn Disk>, &Schema, &dyn Fn() -> bool),
    path: &Path,
    (epoch, prefix): (u32, LogPrefix),
    rows: impl Iterator<Item = Result<Op<'static>, LogError>>,
) -> Result<(Snapshot, HashMap<TenantId, LastHead>), LogError> {
    let io = LogError::io(path);
    let mut writer = Writer::create(disk.as_ref(), path, epoch, Some(prefix)).map_err(&io)?;
    for row in rows {
        go_on(stopped)?;
        writer.push(&row?).map_err(&io)?;
    }
    let snapshot = Snapshot {
        path: path.to_owned(),
        prefix,
        bytes: writer.finish().map_err(&io)?,
    };
    let heads = snapshot.check(disk, schema, stopped)?;
    Ok((snapshot, heads))
}

fn head_of(op: &Op<'_>) -> Option<LastHead> {
    let envelope = op.envelope()?.to_vec();
    let sequence = open_head(op.tenant, &envelope)?.sequence;
    Some(LastHead { sequence, envelope })
}

/// Writes a snapshot's file, or a run's.
pub struct Writer {
    file: Box<dyn LogFile>,
    tail: Tail,
    frame: Vec<u8>,
    count: u32,
    rank: u8,
    /// The last record, of this table and tenant, which can still grow.
    open: Option<(u8, TenantId, RowsRecord)>,
    unsynced: usize,
}

impl Writer {
    /// Begins a file, a snapshot's with the prefix of the log that it stands for.
    pub fn create(
        disk: &dyn Disk,
        path: &Path,
        epoch: u32,
        prefix: Option<LogPrefix>,
    ) -> io::Result<Self> {
        let mut tail = Tail { epoch, ..START };
        let mut front = Vec::new();
        if let Some(prefix) = prefix {
            front.resize(HEADER, 0);
            Record::snapshot(prefix).encode(&mut front);
            tail.finish(Kind::Group, 1, &mut front);
        }
        let file = disk.create(path, &front, len_u64(&front))?;
        let mut writer = Self {
            file,
            tail,
            frame: Vec::with_capacity(FRAME_BYTES * 2),
            count: 0,
            rank: 0,
            open: None,
            unsynced: 0,
        };
        writer.frame.resize(HEADER, 0);
        Ok(writer)
    }

    /// Adds the next operation in order of [`place`].
    pub fn push(&mut self, op: &Op<'_>) -> io::Result<()> {
        // So that heads can be read without trusting a frame with anything else.
        if self.frame.len() >= FRAME_BYTES || rank(op.table) != self.rank {
            self.write(Kind::Group)?;
            self.rank = rank(op.table);
        }
        let goes_on = self.open.as_ref().is_some_and(|(table, tenant, record)| {
            (*table, *tenant) == (op.table.id, op.tenant) && !record.is_full()
        });
        if !goes_on {
            self.end_record();
            let record = RowsRecord::begin(op.tenant, &mut self.frame);
            self.open = Some((op.table.id, op.tenant, record));
            self.count += 1;
        }
        if let Some((_, _, record)) = &mut self.open {
            record.push(op, &mut self.frame);
        }
        Ok(())
    }

    /// Ends the file and syncs it; returns its length.
    pub fn finish(mut self) -> io::Result<u64> {
        self.write(Kind::Group)?;
        self.write(Kind::Shutdown)?;
        self.file.sync_data()?;
        Ok(self.tail.offset)
    }

    fn end_record(&mut self) {
        if let Some((_, _, record)) = self.open.take() {
            record.end(&mut self.frame);
        }
    }

    /// Writes the collected records as a frame, unless it is an empty group.
    fn write(&mut self, kind: Kind) -> io::Result<()> {
        self.end_record();
        if kind == Kind::Group && self.count == 0 {
            return Ok(());
        }
        let offset = self.tail.offset;
        self.tail.finish(kind, self.count, &mut self.frame);
        self.file.write_at(&self.frame, offset)?;
        self.unsynced += self.frame.len();
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        self.count = 0;
        self.frame.clear();
        self.frame.resize(HEADER, 0);
        Ok(())
    }
}

/// The operations in a file, in order. Ends at the SHUTDOWN frame; a file without one is damaged.
pub struct Rows<'s> {
    schema: &'s Schema,
    frames: FrameReader,
    part: Part,
    /// Those of the frame that was read last.
    ops: vec::IntoIter<Op<'static>>,
    ended: bool,
}

impl<'s> Rows<'s> {
    pub fn new(disk: &Arc<dyn Disk>, schema: &'s Schema, path: PathBuf, part: Part) -> Self {
        Self {
            schema,
            frames: FrameReader::file(disk, path, START, Policy::Strict),
            part,
            ops: Vec::new().into_iter(),
            ended: false,
        }
    }

    /// The prefix of the log in the first frame, if it is a snapshot's.
    fn prefix(&mut self) -> Result<Option<LogPrefix>, LogError> {
        self.frames.step()?;
        let Some(frame) = self.frames.frame() else {
            return Ok(None);
        };
        let first = records(&frame, self.schema).next();
        match first.map(|record| record.map(|record| record.body)) {
            Some(Ok(LogBody::Snapshot(prefix))) => Ok(Some(prefix)),
            _ => Ok(None),
        }
    }

    /// Reads on to the next frame with rows that are wanted.
    fn read(&mut self) -> Result<(), LogError> {
        while !self.ended && self.ops.as_slice().is_empty() {
            self.frames.step()?;
            let Some(frame) = self.frames.frame() else {
                continue;
            };
            self.ended = frame.kind == Kind::Shutdown;
            let mut wanted = Vec::new();
            for record in records(&frame, self.schema) {
                let record = record.map_err(|error| self.frames.unreadable(error))?;
                let ops = match record.body {
                    LogBody::Rows(ops) => ops,
                    LogBody::Snapshot(_) => continue,
                    LogBody::Tenant { .. } | LogBody::Side(_) | LogBody::Checkpoint { .. } => {
                        return Err(self.frames.damaged("a record of the log in a snapshot"));
                    }
                };
                for op in ops {
                    if self.part.has(op.table) {
                        wanted.push(op.into_owned());
                    } else if self.part == Part::Front {
                        // The front comes before the rest.
                        self.ended = true;
                    }
                }
            }
            self.ops = wanted.into_iter();
        }
        Ok(())
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Op<'static>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Ok(()) => self.ops.next().map(Ok),
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;
    use crate::id::Sequence;
    use crate::store::head::{self, Head};
    use crate::store::local::disk::RealDisk;
    use crate::store::row::Envelope;
    use crate::store::table::{ENTRIES, KeyKind, TableSpec};
    use crate::time::Timestamp;

    static SCHEMA: [TableSpec; 2] = [
        TableSpec {
            id: 1,
            name: "hot",
            load: Load::Hot,
            key_kind: KeyKind::Natural,
            version: 1,
        },
        TableSpec {
            id: 2,
            name: "side",
            load: Load::Side,
            key_kind: KeyKind::Natural,
            version: 1,
        },
    ];
    const TENANT: TenantId = TenantId::from_bytes([7; 16]);
    const COVER: LogPrefix = LogPrefix {
        lsn: Lsn::new(0x1234),
        chain: 0xDEAD_BEEF,
        segment: 3,
        epoch: 2,
    };

    fn ops() -> Vec<Op<'static>> {
        let put =
            |table, key: &[u8], payload: &[u8]| Op::put(TENANT, table, key.to_vec(), 1, payload);
        let rows = [put(&SCHEMA[0], b"a", b"one"), put(&SCHEMA[0], b"b", b"two")];
        let mut tally = Tally::default();
        for (key, row) in [b"a", b"b"].into_iter().zip(&rows) {
            let crc = Envelope::read(row.envelope().unwrap()).unwrap().crc;
            tally.put(TENANT, &SCHEMA[0], key, crc);
        }
        let head = Head {
            sequence: Sequence::new(3),
            at: Timestamp::from_micros(1_764_000_000_000_000),
            log_base: Sequence::FIRST,
            next_due: None,
            hot_rows: tally.rows,
            hot_hash: tally.hash,
            root: [3; 32],
            range: vec![[4; 32]],
        };
        assert_eq!(head::VERSION, 1);
        let mut ops = vec![put(&HEADS, &[], &head.encode())];
        ops.extend(rows);
        ops.push(put(&SCHEMA[1], b"", b"used"));
        ops.push(put(&ENTRIES, &3u64.to_be_bytes(), b"entry"));
        ops
    }

    fn write(dir: &Path, ops: &[Op<'_>]) -> Snapshot {
        let path = dir.join(dir::snapshot_name(COVER.lsn));
        let mut writer = Writer::create(&RealDisk, &path, 5, Some(COVER)).unwrap();
        ops.iter().for_each(|op| writer.push(op).unwrap());
        Snapshot {
            bytes: writer.finish().unwrap(),
            path,
            prefix: COVER,
        }
    }

    #[test]
    fn a_snapshot_is_frozen_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let schema = Schema::new(&SCHEMA);
        let written = write(dir.path(), &ops());
        let bytes = std::fs::read(&written.path).unwrap();
        golden::check("store_snapshot.hex", &golden::hex(&bytes));
        let opened = Snapshot::open(&disk, &schema, written.path.clone()).unwrap();
        assert_eq!(opened, written);
        let rows = |part| {
            let rows = opened.rows(&disk, &schema, part);
            rows.collect::<Result<Vec<_>, _>>().unwrap()
        };
        assert_eq!(rows(Part::Whole), ops());
        assert_eq!(rows(Part::Front), ops()[..4]);
        assert_eq!(rows(Part::Back), ops()[4..]);
        let heads = opened.heads(&disk, &schema).unwrap();
        assert_eq!(heads[&TENANT].sequence, Sequence::new(3));
        assert_eq!(opened.check(&disk, &schema, &|| false).unwrap().len(), 1);
    }

    #[test]
    fn no_cut_and_no_changed_bit_passes() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let schema = Schema::new(&SCHEMA);
        let path = write(dir.path(), &ops()).path;
        let whole = std::fs::read(&path).unwrap();
        let passes = || {
            let opened = Snapshot::open(&disk, &schema, path.clone())?;
            opened.check_frames(&disk, &|| false)?;
            opened.check(&disk, &schema, &|| false)
        };
        assert!(passes().is_ok());
        for bit in (0..whole.len() * 8).step_by(3) {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &changed).unwrap();
            assert!(passes().is_err(), "bit {bit}");
        }
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(passes().is_err(), "cut at {len}");
        }
        std::fs::write(&path, [whole.as_slice(), &[0; 8]].concat()).unwrap();
        assert!(passes().is_err());
    }

    #[test]
    fn what_is_no_snapshot_does_not_count_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let schema = Schema::new(&SCHEMA);
        let why = |ops: &[Op<'_>]| {
            let written = write(dir.path(), ops);
            match written.check(&disk, &schema, &|| false) {
                Err(LogError::Damaged { why, .. } | LogError::Row(EnvelopeError { why, .. })) => {
                    why
                }
                other => panic!("{:?}", other.map(|_| ())),
            }
        };
        let mut unsorted = ops();
        unsorted.swap(1, 2);
        assert_eq!(why(&unsorted), "its rows are not in order");
        let mut twice = ops();
        twice.push(twice[4].clone());
        assert_eq!(why(&twice), "its rows are not in order");
        let mut missing = ops();
        missing.remove(1);
        assert_eq!(why(&missing), "its hot rows are not those that it says");
        assert_eq!(why(&ops()[1..]), "it is missing");
        let mut deletes = ops();
        deletes[4].effect = Effect::Delete;
        assert_eq!(why(&deletes), "a snapshot that deletes");
        let mut moved = ops();
        moved[4].key = 4u64.to_be_bytes().to_vec().into();
        assert_eq!(why(&moved), "its checksum does not match");
    }
}
