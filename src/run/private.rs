//! Files that only our user reads, written so that a reader sees the old text or the new one, whole.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Opens a file to be written anew.
pub fn open(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// Writes a file. It changes places with the old one: a file that was renamed over another goes to the
/// disk at once, and costs milliseconds when it is removed. Nothing written here is needed after a power
/// cut.
pub fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    open(&fresh)?.write_all(text)?;
    match renameat_with(CWD, &fresh, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_file(&fresh),
        // There is no old one, or the file system cannot do it.
        Err(_) => fs::rename(&fresh, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_where_there_was_none_and_in_place_of_another() {
        let dir = std::env::temp_dir().join(format!("zn-private-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        let path = dir.join("a.json");
        assert!(write(&path, b"nowhere").is_err());
        fs::create_dir_all(&dir).unwrap();
        for text in ["first", "second", "3"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(
                fs::read_dir(&dir).unwrap().count(),
                1,
                "nothing else is left"
            );
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
