//! Server processes: started, watched and ended, each by its own id.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ahash::AHashMap;

use super::Outcome;

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(60);
/// Pause between two questions whether a server is ready.
const PAUSE: Duration = Duration::from_millis(2);
/// How long one such question may take.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// How to learn that a server is ready: what to send it, and what is in a good answer. With nothing
/// to send it is enough that it accepts connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) ask: &'static str,
    pub(crate) good: &'static str,
}

/// A running server; it is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From its start until it was ready.
    pub(crate) took: Duration,
}

impl Process {
    /// Starts what `command` makes for an address and waits until it is ready. What it prints goes to
    /// a file in `directory`.
    pub(crate) fn start(
        command: impl FnOnce(SocketAddr) -> Command,
        probe: Probe,
        directory: &Path,
    ) -> Outcome<Process> {
        // Free now; somebody else could take it before the server does, and the start would fail.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = command(address);
        let path = directory.join("output.txt");
        let output = File::create(&path)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let begun = Instant::now();
        let child =
            command.spawn().map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let mut process = Process { child, address, took: Duration::ZERO };
        while !answers(address, probe) {
            let ended = process.child.try_wait()?;
            if ended.is_some() || begun.elapsed() > START_MAX {
                let output = fs::read_to_string(&path).unwrap_or_default();
                return Err(format!("{command:?} is not ready ({ended:?}): {output}").into());
            }
            thread::sleep(PAUSE);
        }
        process.took = begun.elapsed();
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no VmRSS")?;
        Ok(kib.trim().parse::<u64>()? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answers(address: SocketAddr, probe: Probe) -> bool {
    let answer = || -> io::Result<bool> {
        let mut socket = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        socket.write_all(probe.ask.as_bytes())?;
        if probe.ask.is_empty() {
            return Ok(true);
        }
        // Answers are short and come in one piece; should one not, the next question is answered.
        let mut answer = [0; 1024];
        let count = socket.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..count]).contains(probe.good))
    };
    answer().unwrap_or(false)
}

/// CPU time that each thread of a process has used so far, in nanoseconds, by thread.
#[derive(Debug)]
pub(crate) struct Cpu(AHashMap<String, u64>);

impl Cpu {
    /// Reads `schedstat`, which counts the same as user and system time in `stat`, and does so in
    /// nanoseconds instead of hundredths of a second.
    pub(crate) fn of(pid: u32) -> Outcome<Cpu> {
        let mut threads = AHashMap::new();
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?;
            // A thread may end meanwhile; then there is nothing to read.
            let Ok(stat) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let spent = stat.split(' ').next().unwrap_or_default().parse()?;
            threads.insert(thread.file_name().to_string_lossy().into_owned(), spent);
        }
        Ok(Cpu(threads))
    }

    /// What the process has used since `earlier`.
    pub(crate) fn since(&self, earlier: &Cpu) -> Duration {
        let used = |(thread, now): (&String, &u64)| {
            now.saturating_sub(earlier.0.get(thread).copied().unwrap_or_default())
        };
        Duration::from_nanos(self.0.iter().map(used).sum())
    }
}
