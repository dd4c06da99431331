//! A disk that fails or is full while the store is open.

use super::hooks::{DiskCall, hooked_disk};
use super::*;

/// What fails from now on.
#[derive(Default)]
struct Faults {
    sync: AtomicBool,
    write: AtomicBool,
    create: AtomicBool,
    full: AtomicBool,
}

/// Opens the fixture's directory on a disk that can fail; what is fatal is sent to the channel.
fn open_faulty(f: &mut Fixture) -> (Arc<Faults>, mpsc::Receiver<String>) {
    let faults = Arc::new(Faults::default());
    let armed = Arc::clone(&faults);
    let (fatal, reported) = mpsc::channel();
    let disk = hooked_disk(move |call, _| {
        let fault = match call {
            DiskCall::Sync => &armed.sync,
            DiskCall::Write => &armed.write,
            DiskCall::Create => &armed.create,
            DiskCall::Free => &armed.full,
            DiskCall::Rename => return Ok(()),
        };
        match fault.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    });
    f.open_in(Env {
        on_fatal: Arc::new(move |error| drop(fatal.send(error.to_string()))),
        ..disk
    });
    (faults, reported)
}

#[test]
fn nothing_is_acknowledged_before_it_is_synced() {
    let mut f = Fixture::new();
    for _ in 0..5 {
        open_faulty(&mut f);
        f.write((0..100).map(|n| n % 3));
        f.check();
        f.kill();
    }
    fs::remove_dir_all(f.path("tables")).unwrap();
    f.open();
    f.check();
}

#[test]
fn a_failed_write_or_sync_of_the_log_is_fatal_once_and_acknowledges_nothing() {
    for (what, arm) in [
        (
            "synced",
            (|faults: &Faults| &faults.sync) as fn(&Faults) -> &AtomicBool,
        ),
        ("written", |faults| &faults.write),
    ] {
        let mut f = Fixture::new();
        let (faults, fatal) = open_faulty(&mut f);
        f.write([1, 1]);
        arm(&faults).store(true, Ordering::SeqCst);
        let next = f.tenants.get(&tenant(1)).unwrap().next;
        let lost: Vec<_> = (0..20).map(|_| f.append(1)).collect();
        assert!(
            lost.into_iter()
                .all(|durable| durable.wait() == Err(Lost::Unknown))
        );
        let report = fatal.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(
            report.contains(what) && report.contains(".wal at "),
            "{report}"
        );
        arm(&faults).store(false, Ordering::SeqCst);
        assert_eq!(f.append(1).wait(), Err(Lost::Unknown), "never tried again");
        f.kill();
        assert!(fatal.try_recv().is_err(), "reported once");
        f.open();
        let kept = f
            .store()
            .reader()
            .tenant(tenant(1))
            .unwrap()
            .unwrap()
            .head
            .sequence
            .get();
        assert!(kept + 1 >= next);
    }
}

#[test]
fn a_full_disk_stops_writes_and_does_not_hang_and_goes_on_when_there_is_room() {
    let mut f = Fixture::new();
    f.write([1]);
    let (faults, fatal) = open_faulty(&mut f);
    faults.create.store(true, Ordering::SeqCst);
    let mut lost = false;
    for _ in 0..2_000 {
        if f.append(1).wait().is_err() {
            lost = true;
            break;
        }
    }
    assert!(lost && !f.store().writable());
    let id = tenant(1);
    let claim = f.store().reader().tenant(id).unwrap().unwrap();
    faults.create.store(false, Ordering::SeqCst);
    eventually("there is room again", || f.store().writable());
    assert_eq!(
        f.append(1).wait(),
        Err(Lost::Fenced),
        "its predecessor was lost"
    );
    let next = claim.head.sequence.get() + 1;
    f.tenants.insert(
        id,
        Tenant {
            next,
            ledger: claim.ledger,
        },
    );
    f.write([1, 1]);
    f.check();
    assert!(fatal.try_recv().is_err());
    f.close();
    f.open();
    f.check();
}

#[test]
fn writes_stop_before_the_disk_is_full_and_go_on_by_themselves() {
    let mut f = Fixture::new();
    let (faults, fatal) = open_faulty(&mut f);
    f.write([1]);
    assert!(f.store().writable());
    faults.full.store(true, Ordering::SeqCst);
    eventually("the disk is looked at", || !f.store().writable());
    let stats = f.store().stats();
    assert!(stats.free_bytes < stats.watermark_bytes, "{stats:?}");
    f.write([1, 2]);
    f.check();
    faults.full.store(false, Ordering::SeqCst);
    eventually("there is room again", || f.store().writable());
    f.write([1]);
    f.check();
    assert!(fatal.try_recv().is_err());
}
