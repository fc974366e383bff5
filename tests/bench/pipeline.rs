//! The client's end of one long stream in HTTP/2, framed by hand: many requests, one call.

use std::collections::VecDeque;
use std::time::Instant;

use super::Outcome;
use super::grpc::{
    HEAD_BYTES, WINDOW_BYTES, frame, greet, headers, kinds, next_frame, number, report,
};
use super::wire::Done;

/// How requests are put into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Each in a DATA frame of its own, as clients send that write each message as it comes.
    Single,
    /// What is sent together in as few frames as possible, as clients send that gather.
    Together,
}

/// Largest DATA frame that may be sent to a peer that has not said otherwise.
const FRAME_BYTES_MAX: usize = 16 * 1024;
/// A peer's windows before it says anything.
const WINDOW_BYTES_INITIAL: i64 = 65_535;
/// The only stream.
const STREAM: u32 = 1;
/// Bytes before each message.
const PREFIX_BYTES: usize = 5;
/// The tag of `PipelineResponse.error`.
const ERROR: u8 = 15 << 3 | 2;

/// One connection with one pipeline.
#[derive(Debug)]
pub(crate) struct Pipeline {
    framing: Framing,
    /// When the requests under way were sent.
    begun: VecDeque<Instant>,
    /// Messages that wait for their frame.
    gathered: Vec<u8>,
    /// What may still be sent on the connection, and on the stream.
    window: i64,
    stream_window: i64,
    /// What the stream's window was at first, by the peer's settings.
    stream_window_first: i64,
    /// The part of an answer that has come.
    partial: Vec<u8>,
    unreported: u32,
    /// Fewest bytes of a good answer.
    reply_bytes_min: usize,
}

impl Pipeline {
    /// Opens the stream.
    pub(crate) fn open(framing: Framing, reply_bytes_min: usize, out: &mut Vec<u8>) -> Pipeline {
        greet(out);
        let block = headers("/pykv.v1.KeyValueService/Pipeline");
        frame(out, block.len(), kinds::HEADERS, kinds::END_HEADERS, STREAM);
        out.extend_from_slice(&block);
        Pipeline {
            framing,
            begun: VecDeque::new(),
            gathered: Vec::new(),
            window: WINDOW_BYTES_INITIAL,
            stream_window: WINDOW_BYTES_INITIAL,
            stream_window_first: WINDOW_BYTES_INITIAL,
            partial: Vec::new(),
            unreported: 0,
            reply_bytes_min,
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.begun.len()
    }

    /// Whether both windows take a message of this many bytes.
    pub(crate) fn may_send(&self, bytes: usize) -> bool {
        i64::try_from(bytes).is_ok_and(|bytes| bytes <= self.window.min(self.stream_window))
    }

    /// Sends a request; `message` appends its `bytes` bytes.
    pub(crate) fn send(
        &mut self,
        out: &mut Vec<u8>,
        now: Instant,
        bytes: usize,
        message: impl FnOnce(&mut Vec<u8>),
    ) {
        assert!(bytes <= FRAME_BYTES_MAX, "a message must fit one frame");
        let size = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.window -= size;
        self.stream_window -= size;
        match self.framing {
            Framing::Single => {
                frame(out, bytes, kinds::DATA, 0, STREAM);
                message(out);
            }
            Framing::Together => {
                if self.gathered.len() + bytes > FRAME_BYTES_MAX {
                    self.flush(out);
                }
                message(&mut self.gathered);
            }
        }
        self.begun.push_back(now);
    }

    /// Sends what was gathered.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        if !self.gathered.is_empty() {
            frame(out, self.gathered.len(), kinds::DATA, 0, STREAM);
            out.append(&mut self.gathered);
        }
    }

    /// Reads whole frames from `input`; returns how many bytes they had. What must be answered is
    /// appended to `out`, requests that were answered to `done`.
    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        done: &mut Done,
    ) -> Outcome<usize> {
        let mut at = 0;
        while let Some((head, payload)) = next_frame(&input[at..]) {
            at += HEAD_BYTES + payload.len();
            match head.kind {
                kinds::DATA => {
                    self.unreported += u32::try_from(payload.len())?;
                    self.take(payload, done)?;
                }
                kinds::WINDOW_UPDATE => {
                    let window =
                        if head.stream == 0 { &mut self.window } else { &mut self.stream_window };
                    *window += i64::from(number(payload));
                }
                kinds::SETTINGS => {
                    if let Some(first) = head.initial_window(payload) {
                        self.stream_window += first - self.stream_window_first;
                        self.stream_window_first = first;
                    }
                    head.answer(payload, out);
                }
                _ => head.answer_or_fail(payload, out)?,
            }
            if head.is_end() {
                let text = String::from_utf8_lossy(payload).into_owned();
                return Err(format!("the stream has ended: {text}").into());
            }
        }
        if self.unreported > WINDOW_BYTES / 4 {
            report(out, 0, self.unreported);
            report(out, STREAM, self.unreported);
            self.unreported = 0;
        }
        Ok(at)
    }

    /// Takes a piece of the answers.
    fn take(&mut self, piece: &[u8], done: &mut Done) -> Outcome<()> {
        let mut rest = piece;
        while !self.partial.is_empty() && !rest.is_empty() {
            // Only an answer that is in two frames is copied.
            let wanted = match self.partial.get(..PREFIX_BYTES) {
                None => PREFIX_BYTES,
                Some(prefix) => PREFIX_BYTES + message_bytes(prefix),
            };
            let count = rest.len().min(wanted - self.partial.len());
            self.partial.extend_from_slice(&rest[..count]);
            rest = &rest[count..];
            if let Some(prefix) = self.partial.get(..PREFIX_BYTES)
                && self.partial.len() == PREFIX_BYTES + message_bytes(prefix)
            {
                let whole = std::mem::take(&mut self.partial);
                self.finish(&whole[PREFIX_BYTES..], done)?;
            }
        }
        while let Some(prefix) = rest.get(..PREFIX_BYTES) {
            let Some(message) = rest.get(PREFIX_BYTES..PREFIX_BYTES + message_bytes(prefix)) else {
                break;
            };
            self.finish(message, done)?;
            rest = &rest[PREFIX_BYTES + message.len()..];
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    fn finish(&mut self, message: &[u8], done: &mut Done) -> Outcome<()> {
        // The id of every request is one, and takes two bytes.
        let is_good = message.len() >= self.reply_bytes_min && message.get(2) != Some(&ERROR);
        if !is_good {
            return Err(format!("no good answer: {}", String::from_utf8_lossy(message)).into());
        }
        done.push(self.begun.pop_front().ok_or("an answer to no request")?);
        Ok(())
    }
}

fn message_bytes(prefix: &[u8]) -> usize {
    prefix[1..].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}
