//! What a fault of another program's files means for a command that reads or writes them.

use super::exit::{Exit, Failure};
use crate::client::file_fault::FileFault;

/// A fault of files as the command ends.
pub(super) fn failure(fault: &FileFault) -> Failure {
    let exit = match fault {
        FileFault::System(..) => Exit::File,
        FileFault::TooLarge { .. }
        | FileFault::Damaged { .. }
        | FileFault::NotEmpty(_)
        | FileFault::Foreign(_) => Exit::Failed,
    };
    Failure::new(exit, fault.to_string())
}
