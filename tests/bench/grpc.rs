//! The client's end of HTTP/2, framed by hand, for unary calls of one method.
//!
//! A client library costs more than the servers that are measured here. So: the headers of a call are
//! the same few bytes each time, because the first call has put them into the peer's table; the
//! message goes out in one DATA frame that ends the stream; of the answer only the frames are read. An
//! answer without DATA is an error of the call and ends the run.

use std::time::Instant;

use ahash::AHashMap;

use super::Outcome;
use super::wire::Done;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What the peer may send unread, on a stream and on the connection: more than any answer.
pub(crate) const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Largest frame that may be sent to a peer that has not said otherwise.
const FRAME_BYTES_MAX: usize = 16 * 1024;
/// A peer's connection window before its first WINDOW_UPDATE.
const WINDOW_BYTES_INITIAL: i64 = 65_535;

/// Kinds and flags of frames.
pub(crate) mod kinds {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;

    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
}

use kinds::{ACK, DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, WINDOW_UPDATE};

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// One call under way.
#[derive(Debug)]
struct Flight {
    begun: Instant,
    /// Bytes of DATA received.
    bytes: usize,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Grpc {
    /// Header block of the first call, then of all others.
    first: Option<Vec<u8>>,
    flights: AHashMap<u32, Flight>,
    next_stream: u32,
    /// What may still be sent on the connection.
    window: i64,
    /// What was received since the peer was last told that it may send more.
    unreported: u32,
    /// Fewest bytes of DATA in a good answer.
    reply_bytes_min: usize,
}

impl Grpc {
    /// A connection for calls of the method at `path`, as in `/pykv.v1.KeyValueService/Get`.
    pub(crate) fn new(path: &str, reply_bytes_min: usize) -> Grpc {
        Grpc {
            first: Some(headers(path)),
            flights: AHashMap::new(),
            next_stream: 1,
            window: WINDOW_BYTES_INITIAL,
            unreported: 0,
            reply_bytes_min,
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether the peer's window takes a message of this many bytes.
    pub(crate) fn may_send(&self, bytes: usize) -> bool {
        i64::try_from(bytes).is_ok_and(|bytes| bytes <= self.window)
    }

    /// Begins a call; `message` appends `bytes` bytes.
    pub(crate) fn send(
        &mut self,
        out: &mut Vec<u8>,
        now: Instant,
        bytes: usize,
        message: impl FnOnce(&mut Vec<u8>),
    ) {
        assert!(bytes <= FRAME_BYTES_MAX, "a message must fit one frame");
        let stream = self.next_stream;
        self.next_stream += 2;
        self.window -= i64::try_from(bytes).unwrap_or(i64::MAX);
        let headers: &[u8] = match &self.first {
            Some(first) => first,
            None => &OTHER_HEADERS,
        };
        frame(out, headers.len(), HEADERS, END_HEADERS, stream);
        out.extend_from_slice(headers);
        self.first = None;
        frame(out, bytes, DATA, END_STREAM, stream);
        message(out);
        self.flights.insert(stream, Flight { begun: now, bytes: 0 });
    }

    /// Reads whole frames from `input`; returns how many bytes they had. What must be answered is
    /// appended to `out`, calls that ended to `done`.
    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        done: &mut Done,
    ) -> Outcome<usize> {
        let mut at = 0;
        while let Some((head, payload)) = next_frame(&input[at..]) {
            self.receive_frame(head, payload, out, done)?;
            at += HEAD_BYTES + payload.len();
        }
        if self.unreported > WINDOW_BYTES / 4 {
            report(out, 0, self.unreported);
            self.unreported = 0;
        }
        Ok(at)
    }

    fn receive_frame(
        &mut self,
        head: Head,
        payload: &[u8],
        out: &mut Vec<u8>,
        done: &mut Done,
    ) -> Outcome<()> {
        match head.kind {
            DATA => {
                self.unreported += u32::try_from(payload.len())?;
                let flight = self.flights.get_mut(&head.stream).ok_or("DATA for no call")?;
                flight.bytes += payload.len();
            }
            WINDOW_UPDATE if head.stream == 0 => self.window += i64::from(number(payload)),
            _ => head.answer_or_fail(payload, out)?,
        }
        if head.is_end() {
            let flight = self.flights.remove(&head.stream).ok_or("an answer to no call")?;
            if flight.bytes < self.reply_bytes_min {
                let tail = String::from_utf8_lossy(payload).into_owned();
                let bytes = flight.bytes;
                return Err(format!("an answer of {bytes} bytes is no good answer: {tail}").into());
            }
            done.push(flight.begun);
        }
        Ok(())
    }
}

/// What a client says first.
pub(crate) fn greet(out: &mut Vec<u8>) {
    out.extend_from_slice(PREFACE);
    frame(out, 6, SETTINGS, 0, 0);
    out.extend_from_slice(&INITIAL_WINDOW_SIZE.to_be_bytes());
    out.extend_from_slice(&WINDOW_BYTES.to_be_bytes());
    report(out, 0, WINDOW_BYTES);
}

/// Lets the peer send so many bytes more.
pub(crate) fn report(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    frame(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&bytes.to_be_bytes());
}

/// What stands before the payload of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

/// Bytes before the payload of a frame.
pub(crate) const HEAD_BYTES: usize = 9;

/// The frame that `input` begins with, if all of it is there.
pub(crate) fn next_frame(input: &[u8]) -> Option<(Head, &[u8])> {
    let head = input.get(..HEAD_BYTES)?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let payload = input.get(HEAD_BYTES..HEAD_BYTES + length)?;
    let stream = number(&head[5..9]) & 0x7fff_ffff;
    Some((Head { kind: head[3], flags: head[4], stream }, payload))
}

impl Head {
    /// Whether nothing follows on the stream.
    pub(crate) fn is_end(self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// What a peer's settings say of the window of a new stream.
    pub(crate) fn initial_window(self, payload: &[u8]) -> Option<i64> {
        let setting =
            payload.chunks_exact(6).find(|one| one[..2] == INITIAL_WINDOW_SIZE.to_be_bytes());
        setting.map(|one| i64::from(number(&one[2..])))
    }

    /// Answers what has to be answered.
    pub(crate) fn answer(self, payload: &[u8], out: &mut Vec<u8>) {
        match self.kind {
            SETTINGS if self.flags & ACK == 0 => frame(out, 0, SETTINGS, ACK, 0),
            kinds::PING if self.flags & ACK == 0 => {
                frame(out, payload.len(), kinds::PING, ACK, 0);
                out.extend_from_slice(payload);
            }
            _ => {}
        }
    }

    /// The same, unless the peer gives up.
    pub(crate) fn answer_or_fail(self, payload: &[u8], out: &mut Vec<u8>) -> Outcome<()> {
        match self.kind {
            kinds::RST_STREAM => Err(format!("the call was reset: {payload:?}").into()),
            kinds::GOAWAY => {
                let reason = String::from_utf8_lossy(payload.get(8..).unwrap_or_default());
                Err(format!("the peer sent GOAWAY: {reason}").into())
            }
            _ => {
                self.answer(payload, out);
                Ok(())
            }
        }
    }
}

/// `:method POST`, `:scheme http` and the four entries that the first block has put into the table.
const OTHER_HEADERS: [u8; 6] = [0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe];

/// The block that makes the peer remember path, authority, content type and `te`, in this order.
pub(crate) fn headers(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    // A literal whose name has this index in the static table, to be remembered.
    for (name, value) in [(4_u8, path), (1, "localhost"), (31, "application/grpc"), (0, "trailers")]
    {
        block.push(0x40 | name);
        if name == 0 {
            literal(&mut block, "te");
        }
        literal(&mut block, value);
    }
    block
}

fn literal(block: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 127, "longer texts need a longer length");
    block.push(u8::try_from(text.len()).unwrap_or_default());
    block.extend_from_slice(text.as_bytes());
}

/// Appends a frame header.
pub(crate) fn frame(out: &mut Vec<u8>, bytes: usize, kind: u8, flags: u8, stream: u32) {
    let length = u32::try_from(bytes).unwrap_or_default().to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// The number that `bytes` begin with.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}
