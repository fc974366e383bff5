//! What anybody gets who follows axum's own guide: one route that answers with an entry as JSON, always
//! the same one. Its scheduler, the system's allocator.
//!
//! `echo_axum ADDRESS`

use std::error::Error;

use axum::extract::Path;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: echo_axum ADDRESS")?;
    let app = Router::new().route("/v1/namespaces/{namespace}/entries/{key}", get(answer));
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, app).await?;
    Ok(())
}

/// As much as an entry with a value of 100 bytes.
async fn answer(Path((_namespace, key)): Path<(String, String)>) -> Json<Value> {
    let value = "dnZ2".repeat(34);
    let update_time = "2026-11-26T23:32:03.163Z";
    let (version, size_bytes) = ("100000", "100");
    Json(json!({ "entry": {
        "key": key, "value": value, "version": version, "updateTime": update_time,
        "sizeBytes": size_bytes,
    } }))
}
