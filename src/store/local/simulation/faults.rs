//! Every operation fails once: an error, no room, half a write, a sync that cleans its pages.
//!
//! What may come of it is a refusal in words, a record that is lost, or the deliberate end of the
//! process. What must come of it is that the next start, on a disk that works, has everything that
//! was acknowledged.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::disk::{End, Fault, Lie, Machine};
use super::world::World;
use super::{Shown, setting, try_seeds};
use crate::id::TenantId;
use crate::store::local::StoreConfig;

type Kind = fn(u64) -> Fault;

const KINDS: [(&str, Kind); 5] = [
    ("EIO", Fault::Eio),
    ("ENOSPC", Fault::NoRoom),
    ("ENOSPC for ever", Fault::NeverRoom),
    ("short write", Fault::ShortWrite),
    ("failed sync", Fault::Sync),
];
/// A run's number is its kind times this, and at which operation.
const KIND: u64 = 100_000;
/// Runs of each kind, unless `ARF_FAULTS` says otherwise.
const SAMPLE: u64 = 30;

/// The way stopped here: the process has ended, or cannot write any more.
struct Stopped;

/// Always the same, with small segments and a snapshot as often as may be.
fn world(machine: &Arc<Machine>, root: &Path) -> World {
    let mut world = World::new(Arc::clone(machine), root, 1);
    world.config = StoreConfig {
        segment_bytes: 4 << 10,
        tables_every: Duration::from_millis(1),
        checkpoint_every: Duration::from_millis(2),
        snapshot_bytes: 1,
        ..StoreConfig::new(root)
    };
    world
}

/// Always the same: three lives of a process, ended in each way.
fn script(world: &mut World) -> Result<(), Stopped> {
    for life in 0..3 {
        world.open().map_err(|_| Stopped)?;
        world.unless_dead(World::settle);
        for step in 0..20u8 {
            let tenant = TenantId::from_bytes([step % 3; 16]);
            match step % 7 {
                6 => world.append_side(tenant),
                _ => world.append(tenant),
            }
            if step % 2 == 0 {
                world.resolve();
            }
            if step % 10 == 9 {
                world.until(|world| world.store().stats().memtable_bytes == 0);
            }
            if world.dead() {
                return Err(Stopped);
            }
        }
        world.resolve();
        world.unless_dead(World::check);
        match life {
            0 => world.close().map_err(|_| Stopped)?,
            1 => world.end(End::Kill),
            _ => world.end(End::Power),
        }
    }
    Ok(())
}

/// Runs the script with something going wrong at some point, and the world after it. Whether
/// anything did.
fn go_wrong(machine: &Arc<Machine>, root: &Path, fault: Fault, end: End) -> bool {
    let mut world = world(machine, root);
    machine.fault(fault);
    let _either = script(&mut world);
    world.end(end);
    let hit = machine.mend();
    for _ in 0..2 {
        if let Err(error) = world.open() {
            panic!("on a disk that works the start refuses: {error}");
        }
        world.settle();
        for tenant in 0..3 {
            world.append(TenantId::from_bytes([tenant; 16]));
        }
        world.resolve();
        assert!(!world.dead(), "nothing is wrong any more");
        world.check();
        world.close().unwrap();
        machine.restart(End::Power);
    }
    let panics = machine.panics();
    assert!(panics.is_empty(), "{panics:?}");
    hit
}

/// How often something of this kind can go wrong in the script.
fn count(kind: Kind) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(0, Lie::None, dir.path());
    let mut world = world(&machine, dir.path());
    machine.fault(kind(u64::MAX));
    assert!(script(&mut world).is_ok());
    machine.eligible()
}

#[test]
fn whichever_operation_fails_nothing_acknowledged_is_lost() {
    let all = setting("ARF_FAULTS").is_some_and(|which| which == "all");
    let one = setting("ARF_SEED").map(|seed| seed.parse::<u64>().unwrap());
    let mut runs = Vec::new();
    for (number, (name, kind)) in (0..).zip(KINDS) {
        let times = count(kind);
        // The threads take their own time, so there may be some more.
        let every = if all { 1 } else { times.div_ceil(SAMPLE) };
        runs.extend(
            (1..=times + 9)
                .step_by(every as usize)
                .map(|n| number * KIND + n),
        );
        println!("{name}: {times} operations, every {every}. tried");
    }
    if let Some(one) = one {
        runs = vec![one];
    }
    let hits = Arc::new(AtomicU64::new(0));
    let (count, tried) = (Arc::clone(&hits), runs.len());
    let ran = try_seeds(runs, move |run, root: &Path, shown: &Shown| {
        let machine = Machine::new(run, Lie::None, root);
        *shown.lock().unwrap() = Some(Arc::clone(&machine));
        let (_, kind) = KINDS[(run / KIND) as usize];
        let end = if run % 2 == 0 { End::Power } else { End::Kill };
        if go_wrong(&machine, root, kind(run % KIND), end) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let hits = hits.load(Ordering::Relaxed);
    println!("{tried} runs, in {hits} of which something went wrong");
    if let Err(why) = ran {
        panic!("{why}");
    }
}
