//! What anybody gets who follows tonic's own guide: its server, its scheduler, the system's allocator.
//!
//! `echo_plain ADDRESS`

mod service;

use std::error::Error;

use pykv::wire::v1::key_value_service_server::KeyValueServiceServer;
use service::Echo;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: echo_plain ADDRESS")?.parse()?;
    let service = KeyValueServiceServer::new(Echo);
    tonic::transport::Server::builder().add_service(service).serve(address).await?;
    Ok(())
}
