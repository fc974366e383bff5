//! The binary: parse, dispatch, exit code.

use std::process::ExitCode;

/// A third of the cost of a small RPC is allocation, and this allocator is the faster one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pykv::cli::main()
}
