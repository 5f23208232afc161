//! The multi-call binary: the command line, and the hidden entry points of the processes it starts.

use std::process::ExitCode;

/// The program chooses how memory is allocated; who uses the library chooses for himself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    zmqnet::cli::main()
}
