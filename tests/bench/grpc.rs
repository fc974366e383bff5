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
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Largest frame that may be sent to a peer that has not said otherwise.
const FRAME_BYTES_MAX: usize = 16 * 1024;
const HEADER_BYTES: usize = 9;
/// A peer's connection window before its first WINDOW_UPDATE.
const WINDOW_BYTES_INITIAL: i64 = 65_535;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

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
            first: Some(first_headers(path)),
            flights: AHashMap::new(),
            next_stream: 1,
            window: WINDOW_BYTES_INITIAL,
            unreported: 0,
            reply_bytes_min,
        }
    }

    /// What a client says first.
    pub(crate) fn greet(out: &mut Vec<u8>) {
        out.extend_from_slice(PREFACE);
        frame(out, 6, SETTINGS, 0, 0);
        out.extend_from_slice(&INITIAL_WINDOW_SIZE.to_be_bytes());
        out.extend_from_slice(&WINDOW_BYTES.to_be_bytes());
        frame(out, 4, WINDOW_UPDATE, 0, 0);
        out.extend_from_slice(&WINDOW_BYTES.to_be_bytes());
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
        while let Some(head) = input.get(at..at + HEADER_BYTES) {
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let stream = number(&head[5..9]) & 0x7fff_ffff;
            let Some(payload) = input.get(at + HEADER_BYTES..at + HEADER_BYTES + length) else {
                break;
            };
            self.receive_frame((head[3], head[4]), stream, payload, out, done)?;
            at += HEADER_BYTES + length;
        }
        if self.unreported > WINDOW_BYTES / 4 {
            frame(out, 4, WINDOW_UPDATE, 0, 0);
            out.extend_from_slice(&self.unreported.to_be_bytes());
            self.unreported = 0;
        }
        Ok(at)
    }

    fn receive_frame(
        &mut self,
        (kind, flags): (u8, u8),
        stream: u32,
        payload: &[u8],
        out: &mut Vec<u8>,
        done: &mut Done,
    ) -> Outcome<()> {
        match kind {
            DATA => {
                self.unreported += u32::try_from(payload.len())?;
                self.flights.get_mut(&stream).ok_or("DATA for no call")?.bytes += payload.len();
            }
            HEADERS => {}
            SETTINGS if flags & ACK == 0 => frame(out, 0, SETTINGS, ACK, 0),
            PING if flags & ACK == 0 => {
                frame(out, payload.len(), PING, ACK, 0);
                out.extend_from_slice(payload);
            }
            WINDOW_UPDATE if stream == 0 => self.window += i64::from(number(payload)),
            RST_STREAM => return Err(format!("the call was reset: {payload:?}").into()),
            GOAWAY => {
                let reason = String::from_utf8_lossy(payload.get(8..).unwrap_or_default());
                return Err(format!("the peer sent GOAWAY: {reason}").into());
            }
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            let flight = self.flights.remove(&stream).ok_or("an answer to no call")?;
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

/// `:method POST`, `:scheme http` and the four entries that the first block has put into the table.
const OTHER_HEADERS: [u8; 6] = [0x83, 0x86, 0xc1, 0xc0, 0xbf, 0xbe];

/// The block that makes the peer remember path, authority, content type and `te`, in this order.
fn first_headers(path: &str) -> Vec<u8> {
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
fn frame(out: &mut Vec<u8>, bytes: usize, kind: u8, flags: u8, stream: u32) {
    let length = u32::try_from(bytes).unwrap_or_default().to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}
