//! Standard input as one piece of data, as long as that may be.

use std::io::Read;

use bytes::Bytes;

use super::exit::{Exit, Failure};

/// All of it. What is longer is refused before the rest is read: `what` names it, such as
/// "a value".
pub(super) fn whole(max: usize, what: &str) -> Result<Bytes, Failure> {
    let mut data = Vec::new();
    let read = std::io::stdin()
        .lock()
        .take(max as u64 + 1)
        .read_to_end(&mut data);
    read.map_err(|error| unread(&error))?;
    match data.len() > max {
        true => Err(Failure::new(
            Exit::Usage,
            format!("{what} has at most {max} bytes"),
        )),
        false => Ok(data.into()),
    }
}

/// It cannot be read.
pub(super) fn unread(error: &std::io::Error) -> Failure {
    Failure::new(Exit::File, format!("standard input: {error}"))
}
