//! A closed loop: so many connections, each with so many requests under way, all in one thread; as
//! fast as it goes, or paced.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, sleep};

use super::Outcome;
use super::process::{Cpu, Process};
use super::template::{Draw, Keys, Template};
use super::wire::{Dialect, Wire};

/// Where random keys begin; each connection multiplies it by its number.
pub(crate) const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
/// What one read from a socket may bring.
const BUFFER_BYTES: usize = 256 * 1024;

/// What one request is, and what it does.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) dialect: Dialect,
    pub(crate) template: Template,
    pub(crate) keys: Keys,
    /// Operations in one request: more than one in a batch.
    pub(crate) operations: u32,
}

/// Connections, and requests under way on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    pub(crate) outstanding: usize,
    /// With one: as many requests again so long after the last ones, if those were answered by then.
    pub(crate) pace: Option<Duration>,
}

impl Shape {
    /// As fast as it goes.
    pub(crate) fn of(connections: usize, outstanding: usize) -> Shape {
        Shape { connections, outstanding, pace: None }
    }
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// After `window`, of which nothing before `warm_up` counts.
    Elapsed { warm_up: Duration, window: Duration },
    /// When this many requests were answered, on one connection.
    Answered(u64),
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) operations_per_second: f64,
    /// Of the server, by operation, in microseconds.
    pub(crate) server_cpu: f64,
    /// Of this program, by operation, in microseconds.
    pub(crate) client_cpu: f64,
    /// Latencies of requests, in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// What the connections of one run share. They are tasks of one thread.
#[derive(Debug, Default)]
struct Tally {
    over: Cell<bool>,
    counting: Cell<bool>,
    answered: Cell<u64>,
    /// Of requests answered while counting, in microseconds.
    latencies: RefCell<Vec<u32>>,
}

/// A moment of a run.
struct Mark {
    at: Instant,
    answered: u64,
    server: Cpu,
    client: Cpu,
}

/// Puts load on a server.
pub(crate) async fn run(
    process: &Process,
    work: &Work,
    shape: Shape,
    until: Until,
) -> Outcome<Sample> {
    run_at(process.address, process.pid(), work, shape, until).await
}

/// The same, for a server that somebody else has started.
pub(crate) async fn run_at(
    address: SocketAddr,
    pid: u32,
    work: &Work,
    shape: Shape,
    until: Until,
) -> Outcome<Sample> {
    let requests_max = match until {
        Until::Elapsed { .. } => u64::MAX,
        Until::Answered(count) => {
            assert_eq!(shape.connections, 1, "a count is kept by one connection");
            count
        }
    };
    let tally = Rc::new(Tally::default());
    let mut connections = JoinSet::new();
    let tasks = LocalSet::new();
    for number in 1..=shape.connections {
        let seed = u64::try_from(number).unwrap_or(1).wrapping_mul(SEED);
        let conversation = Conversation {
            work: work.clone(),
            shape,
            draw: Draw::new(work.keys, seed),
            requests_left: requests_max,
            tally: Rc::clone(&tally),
        };
        connections.spawn_local_on(conversation.hold(address), &tasks);
    }
    let clock = async {
        let Until::Elapsed { warm_up, window } = until else {
            tally.counting.set(true);
            return Ok((tally.mark(pid)?, None));
        };
        sleep(warm_up).await;
        tally.counting.set(true);
        let from = tally.mark(pid)?;
        sleep(window).await;
        let to = tally.mark(pid)?;
        tally.over.set(true);
        Ok((from, Some(to)))
    };
    let ended = async {
        while let Some(outcome) = connections.join_next().await {
            outcome??;
        }
        Outcome::Ok(())
    };
    let ((from, to), ()) = tasks.run_until(async { tokio::try_join!(clock, ended) }).await?;
    let to = to.map_or_else(|| tally.mark(pid), Ok)?;
    Ok(sample(&from, &to, work.operations, &mut tally.latencies.borrow_mut()))
}

/// Asks one thing of a server.
pub(crate) async fn once(process: &Process, work: &Work) -> Outcome<Sample> {
    run(process, work, Shape::of(1, 1), Until::Answered(1)).await
}

fn interval(pace: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// One connection and what it still has to say.
struct Conversation {
    work: Work,
    shape: Shape,
    draw: Draw,
    requests_left: u64,
    tally: Rc<Tally>,
}

impl Conversation {
    /// Keeps so many requests under way until the run is over or nothing is left to ask.
    async fn hold(mut self, address: SocketAddr) -> Outcome<()> {
        let mut socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (mut input, mut output) = (Vec::with_capacity(BUFFER_BYTES), Vec::new());
        let mut done = Vec::new();
        let mut wire = Wire::open(&self.work.dialect, &mut output);
        let mut ticks = self.shape.pace.map(interval);
        loop {
            if let (0, Some(ticks)) = (wire.in_flight(), &mut ticks) {
                ticks.tick().await;
            }
            self.ask(&mut wire, &mut output);
            if !output.is_empty() {
                socket.write_all(&output).await?;
                output.clear();
            }
            if wire.in_flight() == 0 && (self.tally.over.get() || self.requests_left == 0) {
                return Ok(());
            }
            if socket.read_buf(&mut input).await? == 0 {
                return Err("the server has closed the connection".into());
            }
            let read = wire.receive(&input, &mut output, &mut done)?;
            input.drain(..read);
            self.tally.note(&mut done);
        }
    }

    fn ask(&mut self, wire: &mut Wire, output: &mut Vec<u8>) {
        let template = &self.work.template;
        let now = Instant::now();
        while wire.in_flight() < self.shape.outstanding
            && self.requests_left > 0
            && !self.tally.over.get()
            && wire.may_send(template.len())
        {
            let draw = &mut self.draw;
            wire.send(output, now, template.len(), |out| template.write(out, || draw.next()));
            self.requests_left -= 1;
        }
        wire.flush(output);
    }
}

impl Tally {
    fn note(&self, done: &mut Vec<Instant>) {
        let now = Instant::now();
        self.answered.set(self.answered.get() + u64::try_from(done.len()).unwrap_or_default());
        if self.counting.get() {
            let micros = |begun: &Instant| u32::try_from((now - *begun).as_micros());
            let mut latencies = self.latencies.borrow_mut();
            latencies.extend(done.iter().map(|begun| micros(begun).unwrap_or(u32::MAX)));
        }
        done.clear();
    }

    fn mark(&self, pid: u32) -> Outcome<Mark> {
        let (server, client) = (Cpu::of(pid)?, Cpu::of(std::process::id())?);
        Ok(Mark { at: Instant::now(), answered: self.answered.get(), server, client })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn sample(from: &Mark, to: &Mark, operations: u32, latencies: &mut [u32]) -> Sample {
    let count = (to.answered - from.answered) as f64 * f64::from(operations);
    latencies.sort_unstable();
    let quantile = |percent: usize| {
        let at = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies.get(at).copied().map_or(f64::NAN, f64::from)
    };
    Sample {
        operations_per_second: count / (to.at - from.at).as_secs_f64(),
        server_cpu: to.server.since(&from.server).as_secs_f64() * 1e6 / count,
        client_cpu: to.client.since(&from.client).as_secs_f64() * 1e6 / count,
        p50: quantile(50),
        p99: quantile(99),
    }
}
