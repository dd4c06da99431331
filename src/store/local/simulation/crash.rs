//! A crash at any operation, and crashes of the start after it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::chance::Chance;
use super::disk::{End, Fault, Lie, Machine};
use super::world::World;
use super::{Shown, seeds, try_seeds};
use crate::id::TenantId;

/// How often things happened, over all seeds.
#[derive(Default)]
struct Progress {
    seeds: AtomicU64,
    acknowledged: AtomicU64,
    ends: AtomicU64,
    starts_cut: AtomicU64,
    rebuilt: AtomicU64,
}

/// One seed's history.
fn history(seed: u64, root: &Path, shown: &Shown, lie: Lie, progress: &Progress) {
    let machine = Machine::new(seed, lie, root);
    *shown.lock().unwrap() = Some(Arc::clone(&machine));
    let mut world = World::new(machine, root, seed);
    let mut chance = Chance::of(seed, "the history");
    let lives = 1 + chance.below(3);
    let mut budget = 200;
    for life in 0..lives {
        if life > 0 || chance.chance(1, 2) {
            start_through_cuts(&mut world, &mut chance, progress);
        } else {
            world.open().unwrap();
        }
        let steps = chance.below(budget / (lives - life) + 1);
        budget -= steps;
        let end = chance.pick(&[End::Power, End::Power, End::Power, End::Kill]);
        // Some lives end where their work does, and not before.
        match chance.below(8) {
            0 => {}
            1 => world
                .machine
                .fault(Fault::Sync(1 + chance.below(steps + 4) as u64)),
            2 => world
                .machine
                .fault(Fault::Eio(1 + chance.below(8 * steps + 4) as u64)),
            _ => {
                let soon = chance.pick(&[10, 100, 4 * steps + 1, 12 * steps + 1]);
                world.machine.end_at(1 + chance.below(soon) as u64);
            }
        }
        live(&mut world, &mut chance, steps);
        world.machine.mend();
        world.end(end);
        progress.ends.fetch_add(1, Ordering::Relaxed);
        if chance.chance(1, 8) {
            let tables = world.tables_dir();
            world.machine.remove(&tables);
        }
    }
    start_through_cuts(&mut world, &mut chance, progress);
    // A start that changed nothing, a power cut, a start: the same state.
    world.end(End::Power);
    start(&mut world, progress);
    live(&mut world, &mut chance, 10);
    world.resolve();
    world.check();
    world.close().unwrap();
    world.machine.restart(End::Power);
    let opened = world.open().unwrap();
    assert!(opened.clean, "{opened:?}");
    world.settle();
    world.end(End::Kill);
    let panics = world.machine.panics();
    assert!(panics.is_empty(), "{panics:?}");
    progress.seeds.fetch_add(1, Ordering::Relaxed);
    progress
        .acknowledged
        .fetch_add(world.acknowledged, Ordering::Relaxed);
}

/// Starts, with some starts before it that are cut short.
fn start_through_cuts(world: &mut World, chance: &mut Chance, progress: &Progress) {
    for _ in 0..chance.below(4) {
        world.machine.end_at(1 + chance.below(60) as u64);
        match world.open() {
            // It came through, unless it ends just now: a look, and it ends here.
            Ok(_) => world.unless_dead(World::settle),
            Err(error) => assert!(world.machine.is_off(), "the start refuses: {error}"),
        }
        let end = chance.pick(&[End::Power, End::Power, End::Kill]);
        world.end(end);
        progress.starts_cut.fetch_add(1, Ordering::Relaxed);
    }
    start(world, progress);
}

fn start(world: &mut World, progress: &Progress) {
    let opened = world
        .open()
        .unwrap_or_else(|error| panic!("the start refuses: {error}"));
    progress
        .rebuilt
        .fetch_add(u64::from(opened.rebuilt), Ordering::Relaxed);
    world.settle();
}

/// Some records of some tenants, until there are so many or everything ends.
pub(super) fn live(world: &mut World, chance: &mut Chance, steps: usize) {
    let tenants = 1 + chance.below(4) as u8;
    for _ in 0..steps {
        if world.dead() {
            return;
        }
        let tenant = TenantId::from_bytes([chance.below(usize::from(tenants)) as u8; 16]);
        match chance.below(20) {
            0..3 => world.append_side(tenant),
            _ => world.append(tenant),
        }
        match chance.below(30) {
            0..8 => world.resolve(),
            8 => world.until(|world| world.store().stats().memtable_bytes == 0),
            9 => {
                let before = world.machine.table_syncs();
                world.until(|world| world.machine.table_syncs() > before);
            }
            10 if chance.chance(1, 4) => {
                world.resolve();
                world.unless_dead(World::check);
            }
            _ => {}
        }
    }
    world.resolve();
}

#[test]
fn nothing_acknowledged_is_lost_in_a_crash() {
    let progress = Arc::new(Progress::default());
    let count = Arc::clone(&progress);
    let ran = try_seeds(seeds(160), move |seed, root, shown| {
        history(seed, root, shown, Lie::None, &count);
    });
    let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
    println!(
        "{} seeds: {} records acknowledged, {} lives ended, {} starts cut short, tables rebuilt {} times",
        load(&progress.seeds),
        load(&progress.acknowledged),
        load(&progress.ends),
        load(&progress.starts_cut),
        load(&progress.rebuilt),
    );
    if let Err(why) = ran {
        panic!("{why}");
    }
}

/// The suite notices what this disk does, and soon.
fn is_caught(lie: Lie) {
    let run = move |seed, root: &Path, shown: &Shown| {
        history(seed, root, shown, lie, &Progress::default());
    };
    let caught = try_seeds(0..200, run).unwrap_err();
    let how = caught.lines().find(|line| line.starts_with("seed "));
    println!("caught: {}", how.unwrap());
}

#[test]
fn the_suite_catches_a_disk_that_does_not_sync() {
    is_caught(Lie::Data);
}

#[test]
fn the_suite_catches_a_disk_that_does_not_sync_directories() {
    is_caught(Lie::Names);
}

#[test]
fn the_suite_catches_a_disk_that_acknowledges_and_forgets() {
    is_caught(Lie::Forgets);
}
