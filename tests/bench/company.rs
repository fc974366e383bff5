//! Who else is on a server while something is measured: another process of this program.
//!
//! It gives way to what is measured (`nice`), since on a small machine the two share processors, and
//! what is to be seen is what the server does to its callers, not what the machine does to the bench.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use pykv::client::{Client, Identity};
use pykv::wire::v1::WatchRequest;
use tokio::task::JoinSet;

use super::Outcome;
use super::load::{Shape, Until, Work, run_at};
use super::requests::pykv_requests;
use super::template::{Keys, key};

/// The namespace of the noisy tenant; it keeps few keys and is asked for many.
pub(crate) const NOISY: &str = "bench-noisy";
pub(crate) const NOISY_KEYS_MAX: u64 = 10_000;
/// As many keys as it is asked for: nearly all are gone again, or evict another.
const NOISY_KEYS_ASKED: u64 = 1_000_000;

/// Its large values.
const LARGE_BYTES: usize = 12 << 10;

/// The namespace that is watched.
pub(crate) const WATCHED: &str = "bench-watched";

/// Watches on one connection.
const WATCHES_BY_CONNECTION: usize = 128;

/// Longer than anything that is measured beside it.
const FOREVER: Duration = Duration::from_secs(3_600);

/// How long a call may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What the other process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A tenant at full speed, that evicts, misses, and moves as many bytes as it can.
    Noise,
    /// So many watches, each of one key.
    Watches(usize),
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        match text.split_once('=') {
            None if text == "noise" => Ok(Role::Noise),
            Some(("watches", count)) => count.parse().map(Role::Watches).map_err(|e| e.to_string()),
            _ => Err(format!("no role: {text}")),
        }
    }
}

/// The other process; it is killed when dropped.
#[derive(Debug)]
pub(crate) struct Company {
    child: Child,
    orders: Option<ChildStdin>,
    news: BufReader<ChildStdout>,
}

impl Company {
    /// Starts it, and waits until it is at work.
    pub(crate) fn start(role: Role, address: SocketAddr) -> Outcome<Company> {
        let role = match role {
            Role::Noise => "noise".to_owned(),
            Role::Watches(count) => format!("watches={count}"),
        };
        let mut child = Command::new("nice")
            .args(["-n", "10"])
            .arg(std::env::current_exe()?)
            .args(["--company", &role, "--of", &address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take();
        let news = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut company = Company { child, orders, news };
        company.hear()?;
        Ok(company)
    }

    /// Ends its work; returns how much it has done.
    pub(crate) fn end(mut self) -> Outcome<u64> {
        drop(self.orders.take());
        self.hear()
    }

    fn hear(&mut self) -> Outcome<u64> {
        let mut line = String::new();
        self.news.read_line(&mut line)?;
        line.trim().parse().map_err(|_| "the other process failed; it says why above".into())
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        // Either fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The work of the other process: says that it has begun, goes on until its input ends, and says how
/// much it has done.
pub(crate) async fn work(role: Role, address: SocketAddr) -> Outcome<()> {
    let ordered = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    match role {
        Role::Noise => {
            say(0)?;
            tokio::select! {
                done = noise(address) => done?,
                _ = ordered => {}
            }
            say(0)
        }
        Role::Watches(count) => {
            let mut watches = watch(address, count).await?;
            say(0)?;
            ordered.await??;
            // What was sent before has arrived by then.
            tokio::time::sleep(Duration::from_millis(500)).await;
            watches.abort_all();
            let mut failed = None;
            while let Some(ended) = watches.join_next().await {
                failed = ended.ok().or(failed);
            }
            match failed {
                Some(error) => Err(error.into()),
                None => say(EVENTS.load(std::sync::atomic::Ordering::Relaxed)),
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is how the two processes talk")]
fn say(count: u64) -> Outcome<()> {
    println!("{count}");
    Ok(std::io::stdout().flush()?)
}

/// Everything at once that a tenant can do to others.
async fn noise(address: SocketAddr) -> Outcome<()> {
    let pid = std::process::id();
    let load = async |work: Work, shape| {
        let work = work.over(Keys::Random { count: NOISY_KEYS_ASKED });
        let until = Until::Elapsed { warm_up: FOREVER, window: Duration::ZERO };
        run_at(address, pid, &work, shape, until).await.map(drop)
    };
    tokio::try_join!(
        load(pykv_requests::set(NOISY, 100), Shape::of(4, 64)),
        load(pykv_requests::get(NOISY, 0).may_miss(), Shape::of(4, 64)),
        load(pykv_requests::batch_write(NOISY), Shape::of(2, 8)),
        load(pykv_requests::set(NOISY, LARGE_BYTES), Shape::of(2, 8)),
        load(pykv_requests::batch_get(NOISY).may_miss(), Shape::of(2, 8)),
    )?;
    Ok(())
}

/// Events received by all watches.
static EVENTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Opens the watches; each ends only with an error.
async fn watch(address: SocketAddr, count: usize) -> Outcome<JoinSet<String>> {
    let mut watches = JoinSet::new();
    let mut client = None;
    for number in 0..count {
        if number % WATCHES_BY_CONNECTION == 0 {
            client =
                Some(Client::dial(&address.to_string(), &Identity::default(), SILENCE_MAX).await?);
        }
        let Some(client) = &client else { continue };
        let keys = vec![key(number as u64)];
        let request = WatchRequest {
            namespace: WATCHED.into(),
            keys,
            include_values: true,
            ..Default::default()
        };
        let mut stream = client.key_value().watch(request).await?.into_inner();
        // The first message says where it begins.
        stream.message().await?;
        watches.spawn(async move {
            loop {
                match stream.message().await {
                    Ok(Some(message)) => {
                        let events = message.events.len() as u64;
                        EVENTS.fetch_add(events, std::sync::atomic::Ordering::Relaxed);
                    }
                    Ok(None) => return "a watch ended".to_owned(),
                    Err(status) => return status.to_string(),
                }
            }
        });
    }
    Ok(watches)
}
