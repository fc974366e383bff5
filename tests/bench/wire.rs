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
    /// Text; every good answer begins with `head` and has `bytes` bytes.
    Text { head: &'static [u8], bytes: usize },
}

/// One connection.
#[derive(Debug)]
pub(crate) enum Wire {
    Grpc(Box<Grpc>),
    Pipeline(Box<Pipeline>),
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
            Dialect::Text { head, bytes } => Wire::Text { head, bytes, begun: VecDeque::new() },
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        match self {
            Wire::Grpc(grpc) => grpc.in_flight(),
            Wire::Pipeline(pipeline) => pipeline.in_flight(),
            Wire::Text { begun, .. } => begun.len(),
        }
    }

    pub(crate) fn may_send(&self, bytes: usize) -> bool {
        match self {
            Wire::Grpc(grpc) => grpc.may_send(bytes),
            Wire::Pipeline(pipeline) => pipeline.may_send(bytes),
            Wire::Text { .. } => true,
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
            Wire::Text { begun, .. } => {
                message(out);
                begun.push_back(now);
            }
        }
    }

    /// Sends what a request left behind because others might follow.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        match self {
            Wire::Pipeline(pipeline) => pipeline.flush(out),
            Wire::Grpc(_) | Wire::Text { .. } => {}
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
