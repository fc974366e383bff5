//! The log under many hands at once, on real files.

use std::sync::atomic::{AtomicBool, Ordering};

use super::kit::set;
use crate::model::{Change, Fact, UnixMillis};
use crate::wal::{Config, Kind, Log, open};

const THREADS: u64 = 4;
const FACTS: u64 = 3_000;

#[test]
fn appends_from_many_threads_keep_each_ones_order_while_others_sync_and_compact() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 64 << 10, ..Config::new(dir.path()) };
    let mut recovery = open(&config).unwrap();
    recovery.replay(&mut |_, _| panic!("nothing was logged"), &mut |_| ()).unwrap();
    let owner = recovery.finish().unwrap().0;
    let log = &owner;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || append(log, thread))).collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                log.sync().unwrap();
                log.maintain(UnixMillis::ZERO);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                match log.compaction(UnixMillis::ZERO) {
                    Ok(compaction) => drop(compaction),
                    Err(error) => assert_eq!(error.kind(), Kind::Busy),
                }
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Release);
    });
    log.close(UnixMillis::ZERO).unwrap();
    assert_eq!((log.durable(), log.written()), (log.appended(), log.appended()));
    drop(owner);

    let mut next = vec![1; usize::try_from(THREADS).unwrap()];
    let mut recovery = open(&config).unwrap();
    let mut apply = |fact: Fact<'_>, _| {
        let Fact::Changed { mutations, .. } = &fact else { panic!("{fact:?}") };
        let Change::Set { key, .. } = &mutations[0].change else { panic!("{fact:?}") };
        let thread: usize = key.parse().unwrap();
        assert_eq!(mutations[0].version.0, next[thread]);
        next[thread] += 1;
    };
    recovery.replay(&mut apply, &mut |_| ()).unwrap();
    assert!(next.iter().all(|next| *next == FACTS + 1), "{next:?}");
}

fn append(log: &Log, thread: u64) {
    let key = thread.to_string();
    let mut end = 0;
    for version in 1..=FACTS {
        let next = log.append(&set(version, &key, b"some value"), UnixMillis::ZERO);
        assert!(next > end);
        end = next;
        if version % 7 == 0 {
            assert!(log.write_out().unwrap() >= end);
        }
    }
}
