//! Whose store a directory is: a file with one word, the kind of node that keeps something there.
//!
//! It is written once, before anything is stored, and only looked at later: a log of one kind must
//! never be read as another's. A directory without a word that is understood is nobody's yet; whoever
//! opens it then looks at what it keeps.

use std::io;
use std::path::Path;

use super::files::{File, Files};

/// Its name.
const NAME: &str = "kind";
/// What it is called before it is on the disk.
const TEMPORARY: &str = "kind.tmp";
/// The longest word.
const WORD_BYTES_MAX: usize = 16;

/// Whether a file is this one, or what was not finished of it.
pub(super) fn is_name(name: &str) -> bool {
    name == NAME || name == TEMPORARY
}

/// The kind of node that keeps something in a directory, where that is known.
pub fn kind_of(dir: &Path) -> Option<String> {
    let file = std::fs::File::open(dir.join(NAME)).ok()?;
    word(&file).ok().flatten()
}

/// The same, by the seam.
pub(super) fn read(files: &dyn Files) -> io::Result<Option<String>> {
    match files.open(NAME) {
        Ok(file) => word(&*file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn word(file: &dyn File) -> io::Result<Option<String>> {
    let mut bytes = [0; WORD_BYTES_MAX + 2];
    let got = file.read_at(&mut bytes, 0)?;
    let word = bytes[..got].strip_suffix(b"\n").unwrap_or_default();
    let is_word = (1..=WORD_BYTES_MAX).contains(&word.len())
        && word.iter().all(|byte| byte.is_ascii_lowercase());
    Ok(is_word.then(|| word.iter().map(|byte| char::from(*byte)).collect()))
}

/// Says whose it is, for good.
pub(super) fn write(files: &dyn Files, kind: &str) -> io::Result<()> {
    let file = files.create(TEMPORARY)?;
    file.write_at(format!("{kind}\n").as_bytes(), 0)?;
    file.sync()?;
    files.rename(TEMPORARY, NAME)?;
    files.sync_dir()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryFiles;

    #[test]
    fn a_word_is_read_again_and_what_is_no_word_says_nothing() {
        let files = MemoryFiles::default();
        assert_eq!(read(&files).unwrap(), None);
        write(&files, "stream").unwrap();
        assert_eq!(read(&files).unwrap().as_deref(), Some("stream"));
        for text in [
            "",
            "\n",
            "stream",
            "Stream\n",
            "kv\nkv\n",
            "abcdefghijklmnopq\n",
        ] {
            files
                .create(NAME)
                .unwrap()
                .write_at(text.as_bytes(), 0)
                .unwrap();
            assert_eq!(read(&files).unwrap(), None, "{text:?}");
        }
        assert_eq!(kind_of(Path::new("/nowhere")), None);
    }
}
