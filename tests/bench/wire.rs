//! One connection in the language of its server.

use std::collections::VecDeque;
use std::time::Instant;

use super::Outcome;
use super::grpc::{Grpc, greet};
use super::pipeline::{Framing, Pipeline};

/// When the requests began that have just ended.
pub(crate) type Done = Vec<Instant>;

/// How a request is sent and its answer known.
#[derive(Clone, Debug)]
pub(crate) enum Dialect {
    /// A unary gRPC call; the template is the message with its prefix of five bytes.
    Grpc { path: &'static str, reply_bytes_min: usize },
    /// Requests of one pipeline; the template is a `PipelineRequest` with its prefix of five bytes.
    Pipeline { framing: Framing, reply_bytes_min: usize },
    /// HTTP/1.1; every good answer is 200 with a body of that length at least.
    Http { bytes_min: usize },
    /// Text; every good answer begins with `head` and has `bytes` bytes.
    Text { head: &'static [u8], bytes: usize },
}

/// One connection.
#[derive(Debug)]
pub(crate) enum Wire {
    Grpc(Box<Grpc>),
    Pipeline(Box<Pipeline>),
    Http { bytes_min: usize, begun: VecDeque<Instant> },
    Text { head: &'static [u8], bytes: usize, begun: VecDeque<Instant> },
}

impl Wire {
    /// A new connection, with what it says first in `out`.
    pub(crate) fn open(dialect: &Dialect, out: &mut Vec<u8>) -> Wire {
        match *dialect {
            Dialect::Grpc { path, reply_bytes_min } => {
                greet(out);
                Wire::Grpc(Box::new(Grpc::new(path, reply_bytes_min)))
            }
            Dialect::Pipeline { framing, reply_bytes_min } => {
                Wire::Pipeline(Box::new(Pipeline::open(framing, reply_bytes_min, out)))
            }
            Dialect::Http { bytes_min } => Wire::Http { bytes_min, begun: VecDeque::new() },
            Dialect::Text { head, bytes } => Wire::Text { head, bytes, begun: VecDeque::new() },
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        match self {
            Wire::Grpc(grpc) => grpc.in_flight(),
            Wire::Pipeline(pipeline) => pipeline.in_flight(),
            Wire::Http { begun, .. } | Wire::Text { begun, .. } => begun.len(),
        }
    }

    pub(crate) fn may_send(&self, bytes: usize) -> bool {
        match self {
            Wire::Grpc(grpc) => grpc.may_send(bytes),
            Wire::Pipeline(pipeline) => pipeline.may_send(bytes),
            Wire::Http { .. } | Wire::Text { .. } => true,
        }
    }

    /// Begins a request; `message` appends its `bytes` bytes.
    pub(crate) fn send(
        &mut self,
        out: &mut Vec<u8>,
        now: Instant,
        bytes: usize,
        message: impl FnOnce(&mut Vec<u8>),
    ) {
        match self {
            Wire::Grpc(grpc) => grpc.send(out, now, bytes, message),
            Wire::Pipeline(pipeline) => pipeline.send(out, now, bytes, message),
            Wire::Http { begun, .. } | Wire::Text { begun, .. } => {
                message(out);
                begun.push_back(now);
            }
        }
    }

    /// Sends what a request left behind because others might follow.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        match self {
            Wire::Pipeline(pipeline) => pipeline.flush(out),
            Wire::Grpc(_) | Wire::Http { .. } | Wire::Text { .. } => {}
        }
    }

    /// Reads whole answers from `input` and returns how many bytes they had.
    pub(crate) fn receive(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        done: &mut Done,
    ) -> Outcome<usize> {
        let (head, bytes, begun) = match self {
            Wire::Grpc(grpc) => return grpc.receive(input, out, done),
            Wire::Pipeline(pipeline) => return pipeline.receive(input, out, done),
            Wire::Http { bytes_min, begun } => return receive_http(input, *bytes_min, begun, done),
            Wire::Text { head, bytes, begun } => (*head, *bytes, begun),
        };
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            let seen = head.len().min(rest.len());
            if rest[..seen] != head[..seen] {
                let text = String::from_utf8_lossy(&rest[..rest.len().min(80)]).into_owned();
                return Err(format!("not the expected answer: {text}").into());
            }
            if rest.len() < bytes {
                break;
            }
            done.push(begun.pop_front().ok_or("an answer to no request")?);
            at += bytes;
        }
        Ok(at)
    }
}

/// Reads whole answers of HTTP from `input` and returns how many bytes they had.
fn receive_http(
    input: &[u8],
    bytes_min: usize,
    begun: &mut VecDeque<Instant>,
    done: &mut Done,
) -> Outcome<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let mut at = 0;
    loop {
        let rest = &input[at..];
        let Some(head) = rest.windows(END.len()).position(|four| four == END) else {
            return Ok(at);
        };
        let text = std::str::from_utf8(&rest[..head])?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.ok_or("an answer without a length")?.parse()?;
        if !text.starts_with("HTTP/1.1 200 ") || length < bytes_min {
            return Err(format!("not the expected answer: {text}").into());
        }
        let whole = head + END.len() + length;
        if rest.len() < whole {
            return Ok(at);
        }
        done.push(begun.pop_front().ok_or("an answer to no request")?);
        at += whole;
    }
}
