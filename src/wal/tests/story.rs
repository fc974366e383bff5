//! A log on the simulated disk, beside a list of what it must hold.

use std::path::PathBuf;
use std::sync::Arc;

use super::kit::set;
use crate::model::{Change, Fact, UnixMillis};
use crate::wal::disk::sim::{Random, SimDisk};
use crate::wal::recovery::open_on;
use crate::wal::{Compaction, Config, Error, Log, Lsn, Report};

/// What happened over a story, to show that it was worth telling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) starts: u64,
    pub(super) cuts: u64,
    pub(super) torn_tails: u64,
    pub(super) compactions: u64,
    pub(super) rotations: u64,
    pub(super) facts: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Counts) {
        self.starts += other.starts;
        self.cuts += other.cuts;
        self.torn_tails += other.torn_tails;
        self.compactions += other.compactions;
        self.rotations += other.rotations;
        self.facts += other.facts;
    }
}

/// The facts a log was given, in order; each has its own mark in its value.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) disk: SimDisk,
    pub(super) config: Config,
    pub(super) random: Random,
    pub(super) now: u64,
    pub(super) counts: Counts,
    marks: Vec<u64>,
    next_mark: u64,
    /// So many of them are on the disk for certain.
    durable: usize,
    /// So many are there if only the process ends.
    written: usize,
    /// No recovery may report an earlier time.
    durable_wall: u64,
}

/// A log in use, and where each of its facts ends.
pub(super) struct Life {
    pub(super) log: Log,
    first: usize,
    ends: Vec<(Lsn, u64)>,
}

impl Story {
    pub(super) fn new(disk: SimDisk, config: Config, random: Random) -> Story {
        Story {
            disk,
            config,
            random,
            now: 1_700_000_000_000,
            counts: Counts::default(),
            marks: Vec::new(),
            next_mark: 1,
            durable: 0,
            written: 0,
            durable_wall: 0,
        }
    }

    /// Starts the log and checks what it gives back.
    pub(super) fn begin(&mut self) -> Result<(Life, Report), Error> {
        let mut recovery = open_on(&self.config, Arc::new(self.disk.clone()))?;
        let mut found = Vec::new();
        recovery.replay(&mut |fact, _| note(&fact, &mut found), &mut |_| ())?;
        let count = found.len();
        assert!(count >= self.written, "{} facts are lost", self.written - count);
        assert!(count <= self.marks.len(), "{count} facts of {}", self.marks.len());
        assert_eq!(found, self.marks[..count], "other facts than were logged");
        let (log, report) = recovery.finish()?;
        assert!(report.wall.as_millis() >= self.durable_wall, "time went back");
        self.counts.starts += 1;
        self.counts.torn_tails += u64::from(report.torn_bytes > 0);
        self.marks.truncate(count);
        (self.durable, self.written) = (count, count);
        Ok((Life { log, first: count, ends: Vec::new() }, report))
    }

    /// Appends one fact of up to `bytes`.
    pub(super) fn append(&mut self, life: &mut Life, bytes: usize) {
        let mark = self.next_mark;
        self.next_mark += 1;
        self.marks.push(mark);
        self.counts.facts += 1;
        self.now += self.random.next() % 400;
        let value = value_of(mark, self.random.below(bytes));
        let version = self.marks.len() as u64;
        let end = life.log.append(&set(version, "key", &value), UnixMillis::from_millis(self.now));
        life.ends.push((end, self.now));
    }

    /// Takes over what the log says is safe.
    pub(super) fn note(&mut self, life: &Life) {
        let up_to = |lsn| life.ends.iter().take_while(|(end, _)| *end <= lsn).count();
        let durable = up_to(life.log.durable());
        self.durable = self.durable.max(life.first + durable);
        self.written = self.written.max(life.first + up_to(life.log.written()));
        if durable > 0 {
            self.durable_wall = self.durable_wall.max(life.ends[durable - 1].1);
        }
    }

    /// Writes everything there is into `compaction`.
    pub(super) fn write_image(&self, compaction: &mut Compaction) -> Result<(), Error> {
        for (index, mark) in self.marks.iter().enumerate() {
            compaction.write(&set(index as u64 + 1, "key", &value_of(*mark, 3)))?;
        }
        Ok(())
    }

    /// The process is killed.
    pub(super) fn kill(&mut self) {
        self.disk.kill();
    }

    /// The power is cut.
    pub(super) fn cut(&mut self) {
        self.counts.cuts += 1;
        self.written = self.durable;
        self.disk.power_cycle();
    }
}

/// A value with `mark` in it, and so many bytes that follow from it.
fn value_of(mark: u64, more: usize) -> Vec<u8> {
    let mut value = mark.to_le_bytes().to_vec();
    let byte = value[0] | 1;
    value.resize(8 + more, byte);
    value
}

/// Notes the mark of a fact at the place its version says: snapshot and segments may both have it.
fn note(fact: &Fact<'_>, found: &mut Vec<u64>) {
    let Fact::Changed { mutations, .. } = fact else { panic!("{fact:?}") };
    let mutation = &mutations[0];
    let Change::Set { value, .. } = &mutation.change else { panic!("{fact:?}") };
    let mark = u64::from_le_bytes(value[..8].try_into().unwrap());
    assert_eq!(**value, value_of(mark, value.len() - 8));
    let index = usize::try_from(mutation.version.0 - 1).unwrap();
    assert!(index <= found.len(), "a fact is missing before version {}", mutation.version.0);
    if index == found.len() {
        found.push(mark);
    } else {
        assert_eq!(found[index], mark, "version {} twice", mutation.version.0);
    }
}

/// The log of a simulated disk is nowhere.
pub(super) fn nowhere() -> PathBuf {
    PathBuf::from("/simulated")
}
