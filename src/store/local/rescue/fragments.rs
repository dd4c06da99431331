//! What can still be read of a snapshot that is damaged: the tenants of which everything that counts
//! is there.
//!
//! That is a tenant's head, as many hot rows as it says and those that it says, and every entry up to
//! it. Of its other rows (openings, usage) nobody can tell whether some are missing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::Progress;
use super::salvage::Unreadable;
use crate::id::{Sequence, TenantId};
use crate::store::Head;
use crate::store::OpenError;
use crate::store::ledger::Tally;
use crate::store::local::Env;
use crate::store::local::dir::{self, DataDir};
use crate::store::local::disk::Disk;
use crate::store::local::log::frame::{Flaw, HEADER, Kind, Tail, announced, find_frames};
use crate::store::local::log::scan::{open_head, records};
use crate::store::local::schema::Schema;
use crate::store::local::snapshot::{self, Snapshot};
use crate::store::record::{Cover, LoggedBody};
use crate::store::row::{ENTRIES, HEADS, Load, Op, check_envelope};

/// How much is looked through at once for the next frame.
const PIECE: usize = 1 << 20;

/// A damaged snapshot, of which some tenants are whole.
pub(super) struct Fragments {
    pub path: PathBuf,
    pub cover: Cover,
    /// The tenants that are whole, with their last sequences.
    pub whole: HashMap<TenantId, Sequence>,
    /// Those of which something is there, and not all; with their last sequences, where their heads
    /// can be read.
    pub broken: BTreeMap<TenantId, Option<Sequence>>,
    pub unreadable: Vec<Unreadable>,
}

/// What was read of one tenant.
#[derive(Default)]
struct Sum {
    head: Option<Head>,
    hot: Tally,
    /// The first and the last entry, if none between them is missing.
    entries: Option<(Sequence, Sequence)>,
    holed: bool,
}

impl Sum {
    fn is_whole(&self) -> bool {
        let Some(head) = &self.head else {
            return false;
        };
        let entries = self
            .entries
            .is_some_and(|(first, last)| first <= head.log_base && last == head.sequence);
        entries && !self.holed && (self.hot.rows, self.hot.hash) == (head.hot_rows, head.hot_hash)
    }

    fn entry(&mut self, sequence: Sequence) {
        let (first, last) = self.entries.unwrap_or((sequence, sequence));
        self.holed |= self.entries.is_some() && sequence != last.next();
        self.entries = Some((first, sequence));
    }
}

impl Fragments {
    /// Reads a snapshot as far as it can be read; `None` if not even what it covers can be.
    pub fn read(
        disk: &dyn Disk,
        schema: &Schema,
        path: &Path,
        progress: Progress<'_>,
    ) -> Result<Option<Self>, OpenError> {
        let mut sums: BTreeMap<TenantId, Sum> = BTreeMap::new();
        let (cover, unreadable) = rows(disk, schema, path, progress, &mut |op| {
            let Some(value) = op.envelope() else {
                return Ok(());
            };
            let (tenant, table, key) = (op.tenant, op.table, &*op.key);
            let sum = sums.entry(tenant).or_default();
            let Ok((envelope, _)) = check_envelope(tenant, table, key, value) else {
                return Ok(());
            };
            if table.load == Load::Hot {
                sum.hot.put(tenant, table, key, envelope.crc);
            } else if table.id == HEADS.id {
                sum.head = open_head(tenant, value);
            } else if table.id == ENTRIES.id
                && let Ok(key) = key.try_into()
            {
                sum.entry(Sequence::new(u64::from_be_bytes(key)));
            }
            Ok(())
        })?;
        let Some(cover) = cover else {
            return Ok(None);
        };
        let mut fragments = Self {
            path: path.to_owned(),
            cover,
            whole: HashMap::new(),
            broken: BTreeMap::new(),
            unreadable,
        };
        for (tenant, sum) in sums {
            let last = sum.head.as_ref().map(|head| head.sequence);
            match last {
                Some(last) if sum.is_whole() => drop(fragments.whole.insert(tenant, last)),
                last => drop(fragments.broken.insert(tenant, last)),
            }
        }
        Ok(Some(fragments))
    }

    /// Writes the tenants that are whole into a snapshot of their own, and reads it back.
    pub fn write(
        &self,
        env: &Env,
        schema: &Schema,
        dir: &Path,
        epoch: u32,
        progress: Progress<'_>,
    ) -> Result<PathBuf, OpenError> {
        let disk = &env.disk;
        let made = dir.join(dir::snapshot_name(self.cover.lsn));
        let io = |error| OpenError::io(&made, error);
        let whole: HashSet<_> = self.whole.keys().copied().collect();
        let mut writer =
            snapshot::Writer::create(disk.as_ref(), &made, epoch, Some(self.cover)).map_err(io)?;
        rows(disk.as_ref(), schema, &self.path, progress, &mut |op| {
            let readable = op.envelope().is_some_and(|envelope| {
                check_envelope(op.tenant, op.table, &op.key, envelope).is_ok()
            });
            if readable && whole.contains(&op.tenant) {
                writer.push(op).map_err(io)?;
            }
            Ok(())
        })?;
        writer.finish().map_err(io)?;
        disk.sync_dir(dir).map_err(io)?;
        let snapshot = Snapshot::open(disk, schema, made.clone())?;
        snapshot.check(disk, schema, &|| false)?;
        Ok(made)
    }
}

/// What takes the operations that can be read.
type Take<'a> = &'a mut dyn FnMut(&Op<'_>) -> Result<(), OpenError>;

/// Shows every operation of every frame that can be read; what the file covers, if its first frame
/// says, and what cannot be read.
fn rows(
    disk: &dyn Disk,
    schema: &Schema,
    path: &Path,
    progress: Progress<'_>,
    take: Take<'_>,
) -> Result<(Option<Cover>, Vec<Unreadable>), OpenError> {
    let io = |error| OpenError::io(path, error);
    let total = disk.len(path).map_err(io)?;
    let (mut cover, mut unreadable) = (None, Vec::new());
    let mut tail = snapshot::START;
    loop {
        progress("reading the snapshot", tail.offset, total);
        let header = disk.read_at(path, tail.offset, HEADER).map_err(io)?;
        let len = announced(&header).unwrap_or(HEADER);
        let bytes = disk.read_at(path, tail.offset, len).map_err(io)?;
        let at = tail.offset;
        let flaw = match tail.accept(&bytes) {
            Ok(frame) => {
                for record in records(&frame, schema) {
                    let newer = |why: &str| OpenError::Newer {
                        file: path.to_owned(),
                        what: format!("at offset {at} not what this version writes ({why})"),
                    };
                    let record = record.map_err(newer)?;
                    match record.body {
                        LoggedBody::Snapshot(said) if at == 0 => cover = Some(said),
                        LoggedBody::Rows(ops) => {
                            for op in ops {
                                take(&op)?;
                            }
                        }
                        LoggedBody::Snapshot(_)
                        | LoggedBody::Tenant { .. }
                        | LoggedBody::Side(_)
                        | LoggedBody::Checkpoint { .. } => {}
                    }
                }
                if frame.kind == Kind::Shutdown {
                    return Ok((cover, unreadable));
                }
                continue;
            }
            Err(Flaw::Newer(version)) => {
                return Err(OpenError::Newer {
                    file: path.to_owned(),
                    what: format!("of log version {version}"),
                });
            }
            Err(flaw) => flaw,
        };
        let next = next_frame(disk, path, at, total).map_err(io)?;
        unreadable.push(Unreadable {
            file: path.to_owned(),
            offset: at,
            bytes: next.map_or(total, |next| next.offset).saturating_sub(at),
            why: flaw.why(),
        });
        match next {
            Some(next) => tail = next,
            None => return Ok((cover, unreadable)),
        }
    }
}

/// The first whole frame of a snapshot from an offset on.
fn next_frame(
    disk: &dyn Disk,
    path: &Path,
    from: u64,
    total: u64,
) -> std::io::Result<Option<Tail>> {
    let mut offset = from;
    while offset < total {
        // A header may lie across the end of a piece.
        let bytes = disk.read_at(path, offset, PIECE + HEADER)?;
        for tail in find_frames(&bytes, snapshot::START.segment, offset) {
            let header = disk.read_at(path, tail.offset, HEADER)?;
            let len = announced(&header).unwrap_or(HEADER);
            let frame = disk.read_at(path, tail.offset, len)?;
            if tail.clone().accept(&frame).is_ok() {
                return Ok(Some(tail));
            }
        }
        offset += PIECE as u64;
    }
    Ok(None)
}

/// What a salvage goes on from: a snapshot that is whole, fragments of one that is not, or nothing.
pub(super) struct Ground {
    pub cover: Option<Cover>,
    pub tenants: HashMap<TenantId, Sequence>,
    pub fragments: Option<Fragments>,
    /// Snapshots that are not whole.
    pub useless: Vec<PathBuf>,
}

impl Ground {
    /// Looks at every snapshot, the newest first; `first` is the first segment of the log.
    pub fn find(
        data: &DataDir,
        schema: &Schema,
        first: Option<u64>,
        progress: Progress<'_>,
    ) -> Result<Self, OpenError> {
        let mut ground = Self {
            cover: None,
            tenants: HashMap::new(),
            fragments: None,
            useless: Vec::new(),
        };
        let paths =
            snapshot::list(data).map_err(|error| OpenError::io(&data.snapshots(), error))?;
        let disk = data.disk();
        for path in paths.into_iter().rev() {
            progress("checking the snapshot", 0, 1);
            let whole = Snapshot::open(disk, schema, path.clone()).and_then(|snapshot| {
                snapshot.check_frames(disk, &|| false)?;
                Ok((snapshot.cover, snapshot.heads(disk, schema)?))
            });
            match whole.map_err(OpenError::from) {
                Ok((cover, heads)) => {
                    ground.cover = Some(cover);
                    let heads = heads.into_iter();
                    ground.tenants = heads.map(|(id, last)| (id, last.sequence)).collect();
                    return Ok(ground);
                }
                Err(OpenError::Damaged { .. }) => ground.useless.push(path),
                Err(other) => return Err(other),
            }
        }
        if first == Some(Tail::START.segment) {
            return Ok(ground);
        }
        for path in &ground.useless {
            if let Some(fragments) = Fragments::read(disk.as_ref(), schema, path, progress)? {
                ground.cover = Some(fragments.cover);
                ground.tenants = fragments.whole.clone();
                ground.fragments = Some(fragments);
                break;
            }
        }
        Ok(ground)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Lsn;
    use crate::store::ledger::Ledger;
    use crate::store::local::snapshot::place;
    use crate::store::row::{Keyed, TableSpec};
    use crate::time::Timestamp;

    static SCHEMA: [TableSpec; 1] = [TableSpec {
        id: 1,
        name: "facts",
        load: Load::Hot,
        keyed: Keyed::Natural,
    }];

    fn tenant(number: u32) -> TenantId {
        TenantId::from_bytes(u128::from(number).to_be_bytes())
    }

    #[test]
    fn tenants_whose_every_frame_can_be_read_come_back_whole() {
        let (dir, schema, env) = (
            tempfile::tempdir().unwrap(),
            Schema::new(&SCHEMA),
            Env::real(),
        );
        let mut ops = Vec::new();
        for number in 0..4_000 {
            let id = tenant(number);
            let fact = Op::put(id, &SCHEMA[0], vec![1], 1, &[7; 100]);
            let mut ledger = Ledger::new();
            ledger.fold(&fact);
            let head = Head {
                sequence: Sequence::FIRST,
                at: Timestamp::MIN,
                log_base: Sequence::FIRST,
                next_due: None,
                hot_rows: ledger.count(),
                hot_hash: ledger.hash(),
                root: [0; 32],
                range: Vec::new(),
            };
            let entry = Op::put(id, &ENTRIES, vec![0; 8], 1, b"entry");
            let head = Op::put(id, &HEADS, Vec::new(), 1, &head.encode());
            ops.extend([head, fact, entry]);
        }
        ops.sort_by(|a, b| place(a).cmp(&place(b)));
        let cover = Cover {
            lsn: Lsn::new(9_000),
            chain: 7,
            segment: 3,
            epoch: 1,
        };
        let path = dir.path().join(dir::snapshot_name(cover.lsn));
        let mut writer =
            snapshot::Writer::create(env.disk.as_ref(), &path, 1, Some(cover)).unwrap();
        ops.iter().for_each(|op| writer.push(op).unwrap());
        writer.finish().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let read = |progress: Progress<'_>| {
            Fragments::read(env.disk.as_ref(), &schema, &path, progress).unwrap()
        };
        assert_eq!(read(&mut |_, _, _| {}).unwrap().whole.len(), 4_000);

        // In the second frame of rows, in the middle of the heads; and in the last of all.
        for places in [
            vec![300_000],
            vec![whole.len() - 200],
            vec![300_000, whole.len() - 200],
        ] {
            let mut bytes = whole.clone();
            places.iter().for_each(|at| bytes[*at] ^= 1);
            std::fs::write(&path, bytes).unwrap();
            let found = read(&mut |_, _, _| {}).unwrap();
            assert_eq!((found.unreadable.len(), found.cover), (places.len(), cover));
            let (kept, lost) = (found.whole.len(), found.broken.len());
            assert!(
                kept > 500 && lost > 50 && kept + lost == 4_000,
                "{kept} and {lost}"
            );
            let aside = tempfile::tempdir().unwrap();
            let made = found
                .write(&env, &schema, aside.path(), 2, &mut |_, _, _| {})
                .unwrap();
            let heads = Snapshot::open(&env.disk, &schema, made)
                .unwrap()
                .heads(&env.disk, &schema);
            let heads: HashSet<_> = heads.unwrap().into_keys().collect();
            assert_eq!(heads, found.whole.keys().copied().collect());
        }
        // Without the beginning nothing says what it covers.
        let mut bytes = whole;
        bytes[70] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(read(&mut |_, _, _| {}).is_none());
    }
}
