//! A disk in memory that loses power and fails calls when told to.
//!
//! After a power cut each 512-byte sector that was written since its file's last sync has its old or
//! its new content, each length and each name that was changed since its last sync is the old or the
//! new one; every choice for itself. A sync that fails drops what it should have kept, as Linux does:
//! a later sync succeeds and keeps nothing of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::content::Content;
pub(in crate::wal) use super::content::Random;
use super::{Access, Disk, File, Guard, Sharing};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wal) enum Fault {
    /// An input or output error.
    Broken,
    /// The disk is full.
    Full,
    /// Half of a write is done; other calls succeed.
    Short,
    /// A signal came.
    Interrupted,
}

/// Which calls go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wal) struct Plan {
    /// The first one, counted from 1.
    pub(in crate::wal) call: u64,
    /// How many from there on.
    pub(in crate::wal) count: u64,
    pub(in crate::wal) fault: Fault,
}

/// The disk; a clone is the same disk.
#[derive(Clone, Debug)]
pub(in crate::wal) struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    random: Random,
    free_bytes: u64,
    /// Most bytes in all files together.
    bytes_max: usize,
    is_locked: bool,
    calls: u64,
    /// The power goes with this call.
    cut_at: Option<u64>,
    is_off: bool,
    plan: Option<Plan>,
}

impl SimDisk {
    pub(in crate::wal) fn new(seed: u64) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State {
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            random: Random(seed),
            free_bytes: 1 << 20,
            bytes_max: usize::MAX,
            is_locked: false,
            calls: 0,
            cut_at: None,
            is_off: false,
            plan: None,
        })))
    }

    /// Cuts the power with the `calls`-th call from now.
    pub(in crate::wal) fn cut_after(&self, calls: u64) {
        let mut state = self.0.lock();
        state.cut_at = Some(state.calls + calls);
    }

    /// Whether the power is off.
    pub(in crate::wal) fn is_off(&self) -> bool {
        self.0.lock().is_off
    }

    /// Lets calls fail; counts calls from here.
    pub(in crate::wal) fn set_plan(&self, plan: Option<Plan>) {
        let mut state = self.0.lock();
        (state.plan, state.calls) = (plan, 0);
    }

    pub(in crate::wal) fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    pub(in crate::wal) fn set_free_bytes(&self, bytes: u64) {
        self.0.lock().free_bytes = bytes;
    }

    /// Leaves room for so many more bytes; `None`: for any number.
    pub(in crate::wal) fn set_room(&self, bytes: Option<usize>) {
        let mut state = self.0.lock();
        state.bytes_max = bytes.map_or(usize::MAX, |bytes| state.bytes() + bytes);
    }

    /// The process is killed: what it gave to the system stays.
    pub(in crate::wal) fn kill(&self) {
        let mut state = self.0.lock();
        (state.is_locked, state.plan, state.cut_at) = (false, None, None);
    }

    /// The power is cut, if it was not already, and comes back.
    pub(in crate::wal) fn power_cycle(&self) {
        let mut state = self.0.lock();
        state.lose_unsynced();
        (state.is_off, state.is_locked, state.cut_at, state.plan) = (false, false, None, None);
    }

    /// Puts a file there, durable.
    pub(in crate::wal) fn put(&self, name: &str, content: Vec<u8>) {
        let mut state = self.0.lock();
        let content = Content { durable: content.clone(), now: content, ..Content::default() };
        if let Ok(file) = state.file(name) {
            state.files[file] = content;
            return;
        }
        let file = state.add(name, content);
        state.durable_names.insert(name.to_owned(), file);
    }

    /// Takes a file away, durably.
    pub(in crate::wal) fn take(&self, name: &str) {
        let mut state = self.0.lock();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    /// All files.
    pub(in crate::wal) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock();
        let file = |(name, file): (&String, &usize)| (name.clone(), state.files[*file].now.clone());
        state.names.iter().map(file).collect()
    }
}

impl State {
    /// Counts a call. `Ok`: it takes place, as `Act` says. `Err`: it does not.
    fn call(&mut self) -> io::Result<Act> {
        if self.is_off {
            return Err(power_is_off());
        }
        self.calls += 1;
        if self.cut_at == Some(self.calls) {
            self.is_off = true;
            return if self.random.is(50) { Ok(Act::ThenOff) } else { Err(power_is_off()) };
        }
        let failing = self
            .plan
            .filter(|plan| (plan.call..plan.call.saturating_add(plan.count)).contains(&self.calls));
        match failing.map(|plan| plan.fault) {
            None => Ok(Act::Whole),
            Some(Fault::Short) => Ok(Act::Half),
            Some(Fault::Broken) => Err(io::Error::from_raw_os_error(5)),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Interrupted) => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn bytes(&self) -> usize {
        self.names.values().map(|file| self.files[*file].now.len()).sum()
    }

    fn add(&mut self, name: &str, content: Content) -> usize {
        self.files.push(content);
        let file = self.files.len() - 1;
        self.names.insert(name.to_owned(), file);
        file
    }

    fn lose_unsynced(&mut self) {
        // Sometimes nearly everything gets lost, sometimes nearly nothing.
        let kept_percent = [0, 10, 50, 90, 100][self.random.below(5)];
        let mut names = BTreeMap::new();
        let all: BTreeSet<&String> = self.names.keys().chain(self.durable_names.keys()).collect();
        for name in all {
            let (new, old) = (self.names.get(name), self.durable_names.get(name));
            let file = if self.random.is(kept_percent) { new } else { old };
            if let Some(file) = file {
                names.insert(name.clone(), *file);
            }
        }
        let mut files = Vec::new();
        for file in names.values_mut() {
            let content = &self.files[*file];
            let now = content.after_cut(&mut self.random, kept_percent);
            files.push(Content { durable: now.clone(), now, ..Content::default() });
            *file = files.len() - 1;
        }
        (self.files, self.durable_names, self.names) = (files, names.clone(), names);
    }
}

/// How a call takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Whole,
    /// A write does half of what it was asked to.
    Half,
    /// It takes effect, and nobody hears of it.
    ThenOff,
}

impl Act {
    fn result<T>(self, value: T) -> io::Result<T> {
        match self {
            Act::Whole | Act::Half => Ok(value),
            Act::ThenOff => Err(power_is_off()),
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

#[derive(Debug)]
struct SimGuard(SimDisk);

impl Guard for SimGuard {}

impl Drop for SimGuard {
    fn drop(&mut self) {
        self.0.0.lock().is_locked = false;
    }
}

impl Disk for SimDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.0.lock();
        let act = state.call()?;
        let file = match state.file(name) {
            Ok(file) => {
                let bytes = state.files[file].now.len();
                state.files[file].touch(0, bytes);
                state.files[file].now.clear();
                file
            }
            Err(_) => state.add(name, Content::default()),
        };
        act.result(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn open(&self, name: &str, _access: Access) -> io::Result<Arc<dyn File>> {
        let mut state = self.0.lock();
        let act = state.call()?;
        let file = state.file(name)?;
        act.result(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.0.lock();
        state.call()?.result(state.names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        let act = state.call()?;
        let file = state.file(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        act.result(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        let act = state.call()?;
        state.file(name)?;
        state.names.remove(name);
        act.result(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        let act = state.call()?;
        state.durable_names = state.names.clone();
        act.result(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let mut state = self.0.lock();
        state.call()?.result(state.free_bytes)
    }

    fn lock(&self, name: &str, sharing: Sharing) -> io::Result<Option<Box<dyn Guard>>> {
        let mut state = self.0.lock();
        let act = state.call()?;
        if sharing == Sharing::Exclusive && state.file(name).is_err() {
            state.add(name, Content::default());
        }
        if state.is_locked {
            return Ok(None);
        }
        state.is_locked = true;
        drop(state);
        act.result(Some(Box::new(SimGuard(self.clone()))))
    }

    fn random(&self) -> u64 {
        self.0.lock().random.next()
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl SimFile {
    fn call<T>(&self, act: impl FnOnce(&mut Content, Act) -> T) -> io::Result<T> {
        let mut state = self.disk.0.lock();
        let how = state.call()?;
        how.result(act(&mut state.files[self.file], how))
    }
}

impl SimFile {
    /// How long the file may become.
    fn length_max(&self) -> usize {
        let state = self.disk.0.lock();
        let length = state.files[self.file].now.len();
        length.saturating_add(state.bytes_max.saturating_sub(state.bytes()))
    }
}

impl File for SimFile {
    fn bytes(&self) -> io::Result<u64> {
        self.call(|content, _| content.now.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).unwrap();
        self.call(|content, _| {
            let rest = content.now.get(offset..).unwrap_or_default();
            let bytes = rest.len().min(into.len());
            into[..bytes].copy_from_slice(&rest[..bytes]);
            bytes
        })
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).unwrap();
        // As much as there is room for, and only then an error.
        let from = &from[..from.len().min(self.length_max().saturating_sub(offset))];
        if from.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.call(|content, act| {
            let bytes = if act == Act::Half { from.len().div_ceil(2) } else { from.len() };
            let end = offset + bytes;
            let before = content.now.len();
            content.now.resize(before.max(end), 0);
            content.now[offset..end].copy_from_slice(&from[..bytes]);
            content.touch(offset.min(before), end);
            bytes
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        match state.call() {
            Ok(act) => {
                state.files[self.file].sync();
                act.result(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                if !state.is_off {
                    state.files[self.file].dirty.clear();
                }
                Err(error)
            }
        }
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).unwrap();
        self.call(|content, _| {
            let before = content.now.len();
            content.now.resize(bytes, 0);
            content.touch(bytes.min(before), bytes.max(before));
        })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).unwrap();
        if bytes > self.length_max() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.call(|content, _| {
            let before = content.now.len();
            if bytes > before {
                content.now.resize(bytes, 0);
                content.touch(before, bytes);
            }
        })
    }
}
