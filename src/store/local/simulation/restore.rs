//! A restore that is cut short at any operation, and the one after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::chance::Chance;
use super::crash::live;
use super::disk::{End, Lie, Machine};
use super::world::World;
use super::{Shown, seeds, try_seeds};
use crate::store::OpenError;
use crate::store::local::dir::DataDir;
use crate::store::local::rescue::{Backup, BackupError, PendingRestore};

/// How often things happened, over all seeds.
#[derive(Default)]
struct Progress {
    cut: AtomicU64,
    refused: AtomicU64,
    whole: AtomicU64,
}

/// A directory that really exists, for its lock, and is empty on the machine.
fn dir(root: &Path, name: &str) -> PathBuf {
    let dir = root.join(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn restore(world: &World, backup: &Path, what: &Backup, data: &Path) -> Result<(), BackupError> {
    let restoring = PendingRestore::begin_on(world.disk(), data)?;
    restoring.copy(backup, what, &[], &mut |_, _, _| {})?;
    restoring.finish()
}

fn history(seed: u64, root: &Path, shown: &Shown, progress: &Progress) {
    let machine = Machine::new(seed, Lie::None, root);
    *shown.lock().unwrap() = Some(Arc::clone(&machine));
    let mut world = World::new(machine, root, seed);
    let mut chance = Chance::of(seed, "the restore");
    world.config.data = dir(root, "data");
    world.open().unwrap();
    let steps = chance.below(80);
    live(&mut world, &mut chance, steps);
    world.resolve();
    let (backup, data) = (root.join("backup"), dir(root, "restored"));
    let what = world.backup(&backup);
    live(&mut world, &mut chance, 10);
    world.end(End::Power);
    world.go_on_with_backup(&data);

    for _ in 0..chance.below(5) {
        let soon = chance.pick(&[10, 30, 100]);
        world.machine.end_at(1 + chance.below(soon) as u64);
        let restored = restore(&world, &backup, &what, &data);
        world.end(chance.pick(&[End::Power, End::Power, End::Kill]));
        progress.cut.fetch_add(1, Ordering::Relaxed);
        let left = DataDir::new(world.disk(), &data);
        let unfinished = left.restore_unfinished().unwrap();
        if unfinished {
            assert!(restored.is_err());
            let error = world.open().unwrap_err();
            assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
            progress.refused.fetch_add(1, Ordering::Relaxed);
        } else if !left.is_empty().unwrap() {
            progress.whole.fetch_add(1, Ordering::Relaxed);
            break;
        } else {
            assert!(restored.is_err(), "LOST: what was restored");
        }
    }
    loop {
        match restore(&world, &backup, &what, &data) {
            Ok(()) => {
                world.end(End::Power);
                break;
            }
            // What a killed process had moved to its place.
            Err(BackupError::NotEmpty { .. }) => world.end(End::Power),
            Err(error) => panic!("the restore fails: {error}"),
        }
        let left = DataDir::new(world.disk(), &data);
        if !left.restore_unfinished().unwrap() {
            break;
        }
    }
    assert!(world.open().unwrap().clean);
    world.settle();
    live(&mut world, &mut chance, 10);
    world.resolve();
    world.check();
    world.close().unwrap();
    let panics = world.machine.panics();
    assert!(panics.is_empty(), "{panics:?}");
}

#[test]
fn a_restore_that_is_cut_short_is_refused_or_whole() {
    let progress = Arc::new(Progress::default());
    let count = Arc::clone(&progress);
    let ran = try_seeds(seeds(120), move |seed, root, shown| {
        history(seed, root, shown, &count);
    });
    let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
    println!(
        "{} restores cut short: {} left a directory that was refused, {} one that was whole",
        load(&progress.cut),
        load(&progress.refused),
        load(&progress.whole),
    );
    if let Err(why) = ran {
        panic!("{why}");
    }
    assert!(load(&progress.refused) > 0);
}
