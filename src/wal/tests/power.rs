//! Power cuts: at any call, also of a recovery or a compaction, with any part of what was not synced
//! lost.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::kit::seeds;
use super::story::{Counts, Life, Story, nowhere};
use crate::model::UnixMillis;
use crate::wal::disk::sim::{Random, SimDisk};
use crate::wal::{Config, Error};

/// Seeds run by `cargo test`; `PYKV_SEEDS` asks for another number.
const SEEDS: u64 = 50_000;

#[test]
fn nothing_synced_is_lost_and_nothing_lawful_is_refused_whenever_the_power_goes() {
    let counts = seeds(SEEDS, |seed| {
        catch_unwind(AssertUnwindSafe(|| tell(seed)))
            .unwrap_or_else(|_| panic!("power cut story of seed {seed}"))
    });
    println!("{counts:?}");
    assert!(counts.torn_tails > 100 && counts.compactions > 100 && counts.rotations > 100);
}

/// Lives of one log, each ended in its own way.
fn tell(seed: u64) -> Counts {
    let mut random = Random(seed);
    let disk = SimDisk::new(random.next());
    let segment_bytes = [200, 600, 2_000, 8_000][random.below(4)];
    let config =
        Config { segment_bytes, free_bytes_min: 0, free_bytes_resume: 0, ..Config::new(nowhere()) };
    let mut story = Story::new(disk, config, random);
    for _ in 0..1 + story.random.below(4) {
        if story.random.is(80) {
            let calls = 1 + story.random.below(150) as u64;
            story.disk.cut_after(calls);
        }
        let result = live(&mut story);
        if story.disk.is_off() || story.random.is(30) {
            story.cut();
        } else {
            // With the power on, every call succeeds, so every promise can be kept.
            result.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            story.kill();
        }
    }
    let last = story.begin().map(drop);
    last.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    story.counts
}

fn live(story: &mut Story) -> Result<(), Error> {
    let (mut life, _) = story.begin()?;
    for _ in 0..story.random.below(50) {
        let result = step(story, &mut life);
        story.note(&life);
        if !result? {
            return Ok(());
        }
    }
    Ok(())
}

/// One step; false after the last.
fn step(story: &mut Story, life: &mut Life) -> Result<bool, Error> {
    let now = UnixMillis::from_millis(story.now);
    match story.random.below(100) {
        0..60 => story.append(life, 300),
        60..75 => drop(life.log.write_out()?),
        75..90 => {
            let segments = life.log.stats().segments;
            life.log.sync()?;
            story.counts.rotations += life.log.stats().segments - segments;
        }
        90..93 => life.log.maintain(now),
        93..98 => compact(story, life)?,
        _ => {
            life.log.close(now)?;
            return Ok(false);
        }
    }
    Ok(true)
}

fn compact(story: &mut Story, life: &mut Life) -> Result<(), Error> {
    let now = UnixMillis::from_millis(story.now);
    let mut compaction = life.log.compaction(now)?;
    if story.random.is(50) {
        story.append(life, 300);
        life.log.sync()?;
        story.note(life);
    }
    story.write_image(&mut compaction)?;
    if story.random.is(30) {
        story.append(life, 300);
        life.log.sync()?;
        story.note(life);
    }
    if story.random.is(80) {
        compaction.finish(now)?;
        story.counts.compactions += 1;
    }
    Ok(())
}
