//! Failing calls: every call of a life of the log, failing once or from there on, in every way.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::story::{Life, Story, nowhere};
use crate::model::UnixMillis;
use crate::wal::disk::sim::{Fault, Plan, Random, SimDisk};
use crate::wal::{Config, Error, Kind};

/// Lives of different lengths and segment sizes.
const SEEDS: u64 = 12;

#[test]
fn a_failing_call_loses_nothing_acknowledged_and_a_failed_log_acknowledges_nothing() {
    let mut runs = 0_u64;
    for seed in 0..SEEDS {
        let calls = run(seed, None, false);
        for call in 1..=calls {
            for fault in [Fault::Broken, Fault::Full, Fault::Short, Fault::Interrupted] {
                for (count, cut) in [(1, false), (1, true), (u64::MAX, false), (u64::MAX, true)] {
                    let plan = Plan { call, count, fault };
                    catch_unwind(AssertUnwindSafe(|| run(seed, Some(plan), cut)))
                        .unwrap_or_else(|_| panic!("seed {seed}, cut {cut}, {plan:?}"));
                    runs += 1;
                }
            }
        }
    }
    println!("{runs} runs over {SEEDS} seeds");
    assert!(runs >= 10_000, "{runs}");
}

/// One life with `plan`; then the process ends, or the power is cut, and the log is started again.
/// Returns how many calls the life made.
fn run(seed: u64, plan: Option<Plan>, cut: bool) -> u64 {
    let mut random = Random(seed);
    let disk = SimDisk::new(random.next());
    let segment_bytes = [300, 900, 5_000][random.below(3)];
    let config = Config { segment_bytes, free_bytes_min: 10, ..Config::new(nowhere()) };
    let mut story = Story::new(disk, Config { free_bytes_resume: 20, ..config }, random);
    story.disk.set_free_bytes(64 << 20);
    story.disk.set_plan(plan);
    for _ in 0..2 {
        match story.begin() {
            Ok((mut life, _)) => live(&mut story, &mut life, plan),
            Err(error) => assert_ne!(error.kind(), Kind::Damaged, "{error}"),
        }
    }
    let calls = story.disk.calls();
    if cut {
        story.cut();
    } else {
        story.kill();
    }
    let (mut life, _) = story.begin().expect("the disk is well again");
    story.append(&mut life, 100);
    life.log.sync().expect("the disk is well again");
    story.note(&life);
    drop(life);
    story.cut();
    drop(story.begin().expect("a log in order"));
    calls
}

/// A life with everything a log does. Errors end it, but for a full disk, which is waited for.
fn live(story: &mut Story, life: &mut Life, plan: Option<Plan>) {
    for step in [append_some, write, append_some, sync, sync, compact, append_some, maintain, close]
    {
        while let Err(error) = step(story, life) {
            story.note(life);
            match error.kind() {
                Kind::Full => {
                    assert_eq!(life.log.failure(), None);
                    // Space returns: everything goes on by itself.
                    story.disk.set_plan(None);
                    story.now += 1_000;
                    life.log.maintain(UnixMillis::from_millis(story.now));
                    assert!(!life.log.is_full());
                    assert_eq!(life.log.sync().unwrap(), life.log.appended());
                }
                Kind::Failed => return assert_is_at_its_end(life),
                kind @ (Kind::Io | Kind::NotWritable) => {
                    // Only a snapshot in the making may fail without more ado.
                    assert!(life.log.failure().is_none(), "{kind:?} {plan:?}: {error}");
                    break;
                }
                kind @ (Kind::Locked | Kind::Damaged | Kind::NewerFormat | Kind::Busy) => {
                    panic!("{kind:?}: {error}")
                }
            }
        }
        story.note(life);
    }
}

fn assert_is_at_its_end(life: &Life) {
    let durable = life.log.durable();
    assert!(life.log.failure().is_some());
    assert_eq!(life.log.sync().unwrap_err().kind(), Kind::Failed);
    assert_eq!(life.log.write_out().unwrap_err().kind(), Kind::Failed);
    assert_eq!(life.log.durable(), durable, "acknowledged after a failure");
}

fn append_some(story: &mut Story, life: &mut Life) -> Result<(), Error> {
    for _ in 0..1 + story.random.below(3) {
        story.append(life, 200);
    }
    Ok(())
}

fn write(_: &mut Story, life: &mut Life) -> Result<(), Error> {
    life.log.write_out().map(drop)
}

fn sync(_: &mut Story, life: &mut Life) -> Result<(), Error> {
    life.log.sync().map(drop)
}

fn compact(story: &mut Story, life: &mut Life) -> Result<(), Error> {
    let mut compaction = life.log.compaction(UnixMillis::from_millis(story.now))?;
    story.append(life, 200);
    life.log.sync()?;
    story.write_image(&mut compaction)?;
    compaction.finish(UnixMillis::from_millis(story.now))
}

fn maintain(story: &mut Story, life: &mut Life) -> Result<(), Error> {
    story.now += 2_000;
    life.log.maintain(UnixMillis::from_millis(story.now));
    Ok(())
}

fn close(story: &mut Story, life: &mut Life) -> Result<(), Error> {
    life.log.close(UnixMillis::from_millis(story.now))
}
