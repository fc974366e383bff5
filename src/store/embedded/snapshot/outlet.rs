//! The way out of an export: at the caller's pace, without holding up the walk for long.
//!
//! What a caller has not taken is waited for as long as he is about as fast as the walk, since what goes
//! through the disk is in the way of the log. Who is slower must not keep a cut open.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::pipe::{Gone, Sender, Unsent};
use crate::store::{Error, PIECE_BYTES_MAX, Piece, SnapshotSummary};
use crate::wal::{self, Log, Spool};

/// For so many times as long as it works itself a walk waits for its caller, all in all,
const PATIENCE: u32 = 3;
/// and for this long besides: nobody takes anything in the first moment.
const PATIENCE_MIN: Duration = Duration::from_millis(100);

/// What the caller is told.
pub(super) type Told = Result<Piece, Error>;

/// Why no more can be sent.
#[derive(Debug)]
pub(super) enum Closed {
    /// Nobody listens.
    Gone,
    /// There is no room for what he has not taken.
    NoRoom(wal::Error),
}

impl From<Gone> for Closed {
    fn from(_: Gone) -> Closed {
        Closed::Gone
    }
}

impl From<wal::Error> for Closed {
    fn from(error: wal::Error) -> Closed {
        Closed::NoRoom(error)
    }
}

/// Takes bytes at any time: as far as the caller keeps up through the pipe, else through a spool.
pub(super) struct Outlet<'l> {
    log: &'l Log,
    sender: Sender<Told>,
    spool: Option<Spool>,
    /// How much of the spool was sent.
    sent: u64,
    begun: Instant,
    patience_min: Duration,
    /// How long the caller was waited for.
    waited: Duration,
}

impl<'l> Outlet<'l> {
    pub(super) fn new(log: &'l Log, sender: Sender<Told>) -> Outlet<'l> {
        Outlet::patient(log, sender, PATIENCE_MIN)
    }

    fn patient(log: &'l Log, sender: Sender<Told>, patience_min: Duration) -> Outlet<'l> {
        let (begun, waited) = (Instant::now(), Duration::ZERO);
        Outlet { log, sender, spool: None, sent: 0, begun, patience_min, waited }
    }

    /// How long the caller was waited for, all in all.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// Whether nobody listens any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends `bytes` behind everything before.
    pub(super) fn push(&mut self, bytes: Vec<u8>) -> Result<(), Closed> {
        let mut bytes = Bytes::from(bytes);
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES_MAX));
            self.catch_up()?;
            if self.is_behind() {
                self.put_aside(&piece)?;
                continue;
            }
            let size = piece.len();
            match self.send(Ok(Piece::Bytes(piece)), size) {
                Ok(()) => {}
                Err(Unsent::Gone) => return Err(Closed::Gone),
                Err(Unsent::Full(Ok(Piece::Bytes(piece)))) => self.put_aside(&piece)?,
                Err(Unsent::Full(_)) => unreachable!("what comes back is what was sent"),
            }
        }
        Ok(())
    }

    /// Sends it, or gives it back when the caller has used up the patience there is.
    fn send(&mut self, told: Told, size: usize) -> Result<(), Unsent<Told>> {
        let now = Instant::now();
        let worked = now.saturating_duration_since(self.begun).saturating_sub(self.waited);
        let patience = (self.patience_min + worked * PATIENCE).saturating_sub(self.waited);
        let sent = self.sender.send_until(told, size, now + patience);
        self.waited += now.elapsed();
        sent
    }

    /// Sends everything that was put aside, and then the end; waits for the caller.
    pub(super) fn finish(&mut self, summary: SnapshotSummary) -> Result<(), Closed> {
        while let Some(piece) = self.next_aside()? {
            let size = piece.len();
            self.sender.send_blocking(Ok(Piece::Bytes(piece)), size)?;
        }
        self.sender.send_blocking(Ok(Piece::End(summary)), 0)?;
        Ok(())
    }

    /// Tells the caller why it ends.
    pub(super) fn fail(self, error: Error) {
        // Whoever is gone need not know.
        let _ = self.sender.send_blocking(Err(error), 0);
    }

    /// Whether something was put aside that is not sent.
    fn is_behind(&self) -> bool {
        self.spool.as_ref().is_some_and(|spool| self.sent < spool.bytes())
    }

    fn put_aside(&mut self, piece: &[u8]) -> Result<(), Closed> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            None => self.spool.insert(self.log.spool()?),
        };
        Ok(spool.append(piece)?)
    }

    /// Sends of what was put aside as much as there is room for.
    fn catch_up(&mut self) -> Result<(), Closed> {
        while self.is_behind() && self.sender.has_room(PIECE_BYTES_MAX) {
            let Some(piece) = self.next_aside()? else { break };
            let size = piece.len();
            match self.sender.try_send(Ok(Piece::Bytes(piece)), size) {
                Ok(()) => {}
                Err(Unsent::Gone) => return Err(Closed::Gone),
                Err(Unsent::Full(_)) => unreachable!("only this thread fills the pipe"),
            }
        }
        Ok(())
    }

    /// The next of what was put aside; once there is no more, its room is given back.
    fn next_aside(&mut self) -> Result<Option<Bytes>, Closed> {
        let Some(spool) = &mut self.spool else { return Ok(None) };
        let mut piece = vec![0; PIECE_BYTES_MAX];
        let read = spool.read(&mut piece, self.sent)?;
        if read == 0 {
            spool.clear()?;
            self.sent = 0;
            return Ok(None);
        }
        piece.truncate(read);
        self.sent += read as u64;
        Ok(Some(piece.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::model::UnixMillis;
    use crate::store::embedded::snapshot::pipe::{Receiver, pipe};
    use crate::store::embedded::snapshot::sorter::tests::log;
    use crate::store::embedded::tests::block_on;

    const SUMMARY: SnapshotSummary =
        SnapshotSummary { namespaces: 1, entries: 2, bytes: 3, moment: UnixMillis::ZERO };

    /// Everything that comes, with its end.
    fn take(receiver: &Receiver<Told>) -> Vec<Option<Bytes>> {
        block_on(async {
            let mut taken = Vec::new();
            loop {
                match receiver.recv().await.unwrap().unwrap() {
                    Piece::Bytes(bytes) => taken.push(Some(bytes)),
                    Piece::End(_) => break taken.push(None),
                }
            }
            taken
        })
    }

    /// Sends numbered pieces through a pipe that holds one of them to a caller who begins to take when
    /// `is_late` says; returns whether some went through the disk.
    fn sends(patience_min: Duration, is_late: bool) -> bool {
        let ((_dir, log), (sender, receiver)) = (log(), pipe(1));
        let mut outlet = Outlet::patient(&log, sender, patience_min);
        let taking = |outlet: &mut Outlet<'_>, work: &dyn Fn(&mut Outlet<'_>)| {
            thread::scope(|scope| {
                let taken = scope.spawn(|| take(&receiver));
                work(outlet);
                outlet.finish(SUMMARY).unwrap();
                taken.join().unwrap()
            })
        };
        let push = |outlet: &mut Outlet<'_>| (0..9).for_each(|n| outlet.push(vec![n]).unwrap());
        let mut is_behind = false;
        let taken = if is_late {
            push(&mut outlet);
            is_behind = outlet.is_behind();
            taking(&mut outlet, &|_| ())
        } else {
            taking(&mut outlet, &push)
        };
        let bytes: Vec<u8> = taken.iter().flatten().flatten().copied().collect();
        assert_eq!((bytes, taken.last()), ((0..9).collect(), Some(&None)));
        is_behind || outlet.spool.is_some()
    }

    #[test]
    fn a_caller_who_keeps_up_is_waited_for_and_who_takes_nothing_is_not() {
        assert!(!sends(Duration::from_secs(60), false), "nothing went through the disk");
        assert!(sends(Duration::ZERO, true), "what is not taken waits there");
    }
}
