//! The least that hosts a generated service as the server does: one thread with a runtime of its own
//! for each processor, sockets dealt to them in turn, hyper's connections, the same allocator. No
//! limits, no metrics, no store.
//!
//! `echo_bare ADDRESS`

mod service;

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::num::NonZero;
use std::thread;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use pykv::wire::v1::key_value_service_server::KeyValueServiceServer;
use service::Echo;
use tokio::sync::mpsc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The window and the streams that the measured server allows.
const WINDOW_BYTES: u32 = 1024 * 1024;
const STREAMS_MAX: u32 = 256;
/// Sockets that may wait for a worker.
const WAITING_MAX: usize = 128;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: echo_bare ADDRESS")?;
    let listener = TcpListener::bind(address)?;
    let count = thread::available_parallelism().map_or(1, NonZero::get);
    let mut workers = Vec::new();
    for _ in 0..count {
        let (sockets, arrivals) = mpsc::channel(WAITING_MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(work(arrivals));
        });
        workers.push(sockets);
    }
    for (socket, worker) in listener.incoming().zip(workers.iter().cycle()) {
        let socket = socket?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        worker.blocking_send(socket)?;
    }
    Ok(())
}

/// Serves the sockets it is sent.
async fn work(mut arrivals: mpsc::Receiver<TcpStream>) {
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX);
    let service = KeyValueServiceServer::new(Echo);
    while let Some(socket) = arrivals.recv().await {
        let Ok(socket) = tokio::net::TcpStream::from_std(socket) else { continue };
        let (builder, service) = (builder.clone(), TowerToHyperService::new(service.clone()));
        tokio::spawn(async move {
            // A connection that ends in an error has ended all the same.
            let _ = builder.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
