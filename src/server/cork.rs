//! A socket that gathers what is written and sends it once per turn of its connection.
//!
//! HTTP/2 flushes after each larger frame, which costs one system call per reply. Here a flush does
//! nothing; whoever drives the connection calls [`Cork::write_out`] after each turn.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::turns::Reading;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What one turn reads; a peer that sends more waits for the next one.
const TURN_READ_BYTES: usize = 32 * 1024;

/// A bigger buffer than this is given back once it is empty, so that idle connections are small.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// A corked socket. Clones are the same socket; its lock is never waited for, as one task has them all.
pub(super) struct Cork<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    socket: T,
    /// What is still to be written begins at `written`.
    buffer: Vec<u8>,
    written: usize,
    bytes_max: usize,
    /// What may still be read in this turn.
    readable: usize,
    /// Who wanted to read more than that.
    cut: Option<Waker>,
    reading: Reading,
    /// Bytes taken by the socket so far.
    sent: u64,
    /// How many first bytes agree with the preface; none once they have differed.
    preface: Option<usize>,
}

/// How far [`Cork::write_out`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing waits.
    Empty,
    /// The socket is full; `sent` bytes were taken in its whole life.
    Blocked { sent: u64 },
}

impl<T> Clone for Cork<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: AsyncWrite + Unpin> Cork<T> {
    /// Corks `socket`; at most `bytes_max` bytes wait for it.
    pub(super) fn new(socket: T, bytes_max: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            socket,
            buffer: Vec::new(),
            written: 0,
            bytes_max,
            readable: TURN_READ_BYTES,
            cut: None,
            reading: Reading::GoesOn,
            sent: 0,
            preface: Some(0),
        })))
    }

    /// Lets the connection read again.
    pub(super) fn begin_turn(&self) {
        self.0.lock().readable = TURN_READ_BYTES;
    }

    /// Wakes who may read on in the next turn. In this one it would be polled for nothing.
    pub(super) fn end_turn(&self) {
        let cut = self.0.lock().cut.take();
        if let Some(waker) = cut {
            waker.wake();
        }
    }

    /// Whether it may, as far as its calls go. Once they are fewer, whoever has paused it rings.
    pub(super) fn set_reading(&self, reading: Reading) {
        self.0.lock().reading = reading;
    }

    /// Writes what waits, as far as the socket takes it. When it is full, the task is woken once it
    /// is not.
    pub(super) fn write_out(&self, cx: &mut Context<'_>) -> io::Result<Progress> {
        let mut state = self.0.lock();
        match state.write_out(cx) {
            Poll::Ready(Ok(())) => Ok(Progress::Empty),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Progress::Blocked { sent: state.sent }),
        }
    }

    /// Whether the peer has sent the whole preface of HTTP/2.
    pub(super) fn has_preface(&self) -> bool {
        self.0.lock().preface == Some(PREFACE.len())
    }
}

impl<T: AsyncWrite + Unpin> State<T> {
    fn write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.buffer.len() {
            let rest = &self.buffer[self.written..];
            let count = ready!(Pin::new(&mut self.socket).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.sent += u64::try_from(count).unwrap_or(u64::MAX);
        }
        // What the socket has encrypted and not sent; without encryption nothing.
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.written = 0;
        self.buffer.clear();
        if self.buffer.capacity() > KEPT_BYTES_MAX {
            self.buffer = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Makes room for at least one byte.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.len() >= self.bytes_max {
            // Blocked or not, what the socket took makes room.
            let blocked = self.write_out(cx)?.is_pending();
            if blocked {
                self.buffer.drain(..self.written);
                self.written = 0;
            }
            if self.buffer.len() >= self.bytes_max {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(self.bytes_max - self.buffer.len()))
    }

    /// Adds bytes for which there is room.
    fn append(&mut self, bytes: &[u8]) {
        let len = self.buffer.len() + bytes.len();
        if len > self.buffer.capacity().max(KEPT_BYTES_MAX) {
            // It does not grow step by step, which would copy what is in it each time.
            self.buffer.reserve_exact(self.bytes_max - self.buffer.len());
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn note_read(&mut self, bytes: &[u8]) {
        let Some(seen) = self.preface else { return };
        let wanted = &PREFACE[seen..];
        let count = wanted.len().min(bytes.len());
        self.preface = (wanted[..count] == bytes[..count]).then_some(seen + count);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Cork<T>
where
    T: AsyncWrite,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.reading == Reading::Paused {
            return Poll::Pending;
        }
        if state.readable == 0 {
            state.cut = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut state.socket).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        state.readable = state.readable.saturating_sub(read.len());
        state.note_read(read);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Cork<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        let count = ready!(state.poll_room(cx))?.min(bytes.len());
        state.append(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        let room = ready!(state.poll_room(cx))?;
        let mut count = 0;
        for slice in slices {
            let part = slice.len().min(room - count);
            state.append(&slice[..part]);
            count += part;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        ready!(state.write_out(cx))?;
        Pin::new(&mut state.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Takes `room` bytes and remembers each write.
    #[derive(Default)]
    struct Socket {
        room: usize,
        writes: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Poll::Pending;
            }
            self.room -= count;
            self.writes.push(bytes[..count].to_vec());
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn put(cork: &mut Cork<Socket>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut cx = Context::from_waker(Waker::noop());
        let put = Pin::new(&mut *cork).poll_write(&mut cx, bytes);
        assert!(Pin::new(cork).poll_flush(&mut cx).is_ready());
        put
    }

    #[test]
    fn a_burst_of_flushed_replies_is_one_write() {
        let mut cork = Cork::new(Socket { room: usize::MAX, writes: vec![] }, 256 * 1024);
        for _ in 0..32 {
            assert!(put(&mut cork, &[7; 4_096]).is_ready());
        }
        assert!(cork.0.lock().socket.writes.is_empty(), "nothing leaves before the turn ends");
        let progress = cork.write_out(&mut Context::from_waker(Waker::noop())).unwrap();
        assert_eq!(progress, Progress::Empty);
        let lengths: Vec<_> = cork.0.lock().socket.writes.iter().map(Vec::len).collect();
        assert_eq!(lengths, [32 * 4_096]);
    }

    #[test]
    fn a_full_cork_takes_no_more_and_loses_nothing() {
        let mut cork = Cork::new(Socket::default(), 10);
        assert!(matches!(put(&mut cork, b"0123456789ab"), Poll::Ready(Ok(10))));
        assert!(put(&mut cork, b"ab").is_pending());
        cork.0.lock().socket.room = 4;
        assert!(matches!(put(&mut cork, b"abcdef"), Poll::Ready(Ok(4))));
        cork.0.lock().socket.room = 100;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut cork).poll_shutdown(&mut cx).is_ready());
        assert_eq!(cork.0.lock().socket.writes.concat(), b"0123456789abcd");
    }

    /// Counts how often it rang.
    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What one turn reads of all that is there, and how often it has rung for that when it is over.
    fn turn(cork: &mut Cork<tokio::io::DuplexStream>, reading: Reading) -> (usize, usize) {
        let (bell, mut bytes, mut read) = (Arc::<Bell>::default(), vec![0; 8192], 0);
        let waker = Waker::from(Arc::clone(&bell));
        cork.begin_turn();
        cork.set_reading(reading);
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            let cx = &mut Context::from_waker(&waker);
            match Pin::new(&mut *cork).poll_read(cx, &mut buf) {
                Poll::Ready(outcome) => outcome.unwrap(),
                Poll::Pending => break,
            }
            read += buf.filled().len();
        }
        assert_eq!(bell.0.load(Ordering::Relaxed), 0, "it can read no more in this turn");
        cork.end_turn();
        (read, bell.0.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_turn_reads_so_much_and_rings_for_the_rest_unless_it_is_paused() {
        let (socket, mut peer) = tokio::io::duplex(1 << 20);
        let mut cork = Cork::new(socket, 10);
        peer.write_all(&[7; TURN_READ_BYTES + 30_000]).await.unwrap();
        assert_eq!(turn(&mut cork, Reading::Paused), (0, 0), "whoever paused it will ring");
        assert_eq!(turn(&mut cork, Reading::GoesOn), (TURN_READ_BYTES, 1));
        assert_eq!(turn(&mut cork, Reading::GoesOn), (30_000, 0), "the socket will ring");
    }
}
