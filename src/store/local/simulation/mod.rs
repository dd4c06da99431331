//! The part of the fault suite that stands inside of the process: a simulated disk under the store.
//!
//! `cargo test --release --lib simulation` runs it. It stands here and not under `tests/`, because the
//! interfaces that it implements, `Disk` and `Tables`, are private to the store.
//!
//! - `crash`: whatever a crash at any operation leaves, and a crash of the start after it, nothing
//!   acknowledged is lost and nothing is there by half.
//! - `faults`: whichever operation fails, the same.
//! - `restore`: whatever a crash leaves of a restore is refused, empty or whole, and another restore
//!   comes through.
//! - `flips`: whichever bit flips at rest, no other state without an error.
//!
//! Everything random follows from a seed. `ARF_SEEDS=3000` has so many tried, `ARF_SEED=7` that one
//! alone. The store's threads take their own time, so a seed fixes what goes wrong, and only roughly
//! when: a failure shows the last operations as well.

mod chance;
mod crash;
mod disk;
mod faults;
mod flips;
mod restore;
mod tables;
mod world;

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, Once, Weak, mpsc};
use std::time::{Duration, Instant};

use crate::store::local::stopwatch;
use disk::Machine;

/// How many threads try seeds.
const WORKERS: usize = 2;
/// Nothing takes that long, unless it hangs.
const HANGS: Duration = Duration::from_secs(60);

thread_local! {
    /// The machine that this thread used last.
    static MACHINE: RefCell<Weak<Machine>> = const { RefCell::new(Weak::new()) };
}

/// Notes whose thread this is, so that its panic is put down to the right test.
fn on_this_thread(machine: &Arc<Machine>) {
    MACHINE.with_borrow_mut(|last| {
        if last.as_ptr() != Arc::as_ptr(machine) {
            *last = Arc::downgrade(machine);
        }
    });
}

/// Has panics of the store's threads noted by their machine: the store itself survives them.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let store = std::thread::current()
                .name()
                .is_some_and(|name| name.starts_with("arf-"));
            if store && let Some(machine) = MACHINE.with_borrow(Weak::upgrade) {
                machine.panicked(info.to_string());
            }
            before(info);
        }));
    });
}

#[expect(clippy::disallowed_methods, reason = "tests get their seeds from it")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The seeds to try: `usual` many, unless the environment says otherwise.
fn seeds(usual: u64) -> Range<u64> {
    let number = |name| setting(name).map(|number| number.parse::<u64>().unwrap());
    match (number("ARF_SEED"), number("ARF_SEEDS")) {
        (Some(one), _) => one..one + 1,
        (None, many) => 0..many.unwrap_or(usual),
    }
}

/// A seed's machine, for the report of a failure.
type Shown = Mutex<Option<Arc<Machine>>>;

enum News {
    Began(usize, u64),
    Ended(usize, Result<(), String>),
}

/// Tries seeds on some threads; the first failure is reported with its seed and its last operations.
/// `run` gets a directory of its thread's own.
fn try_seeds(
    seeds: impl IntoIterator<Item = u64>,
    run: impl Fn(u64, &Path, &Shown) + Send + Sync + 'static,
) -> Result<(), String> {
    note_panics();
    let left: VecDeque<u64> = seeds.into_iter().collect();
    let left = Arc::new(Mutex::new(left));
    let run = Arc::new(run);
    let (news, heard) = mpsc::channel();
    let shown: Arc<Vec<Shown>> = Arc::new((0..WORKERS).map(|_| Mutex::default()).collect());
    for worker in 0..WORKERS {
        let (left, run, news, shown) = (left.clone(), run.clone(), news.clone(), shown.clone());
        std::thread::spawn(move || {
            let dir = tempfile::tempdir().unwrap();
            let next = || left.lock().unwrap().pop_front();
            while let Some(seed) = next() {
                if news.send(News::Began(worker, seed)).is_err() {
                    return;
                }
                let ran = catch_unwind(AssertUnwindSafe(|| run(seed, dir.path(), &shown[worker])));
                let ran =
                    ran.map_err(|panic| describe(seed, &words(panic.as_ref()), &shown[worker]));
                if news.send(News::Ended(worker, ran)).is_err() {
                    return;
                }
            }
        });
    }
    drop(news);
    let mut running: Vec<Option<(u64, Instant)>> = vec![None; WORKERS];
    loop {
        match heard.recv_timeout(Duration::from_secs(1)) {
            Ok(News::Began(worker, seed)) => running[worker] = Some((seed, stopwatch::now())),
            Ok(News::Ended(worker, ran)) => {
                running[worker] = None;
                ran?;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                for (worker, running) in running.iter().enumerate() {
                    if let Some((seed, since)) = running
                        && since.elapsed() > HANGS
                    {
                        return Err(describe(*seed, "it hangs", &shown[worker]));
                    }
                }
            }
        }
    }
}

/// A failure, with what led to it.
fn describe(seed: u64, why: &str, shown: &Shown) -> String {
    let machine = shown.lock().unwrap_or_else(|shown| shown.into_inner());
    let trace = machine
        .as_ref()
        .map_or(String::new(), |machine| machine.trace());
    format!("{trace}\nseed {seed}: {why}\nagain: ARF_SEED={seed}")
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}
