//! The multi-call binary: the command line, and the hidden entry points of the processes it starts.

use std::process::ExitCode;

fn main() -> ExitCode {
    zmqnet::cli::main()
}
