//! What a copy is: its files with their lengths and checksums, and what they hold. By it a part of a
//! copy is told from a whole one, however well that part fits together.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::audit::{Audit, Fault};
use super::files::LOCK;

/// The file in a copy that says what it is.
pub(super) const ABOUT: &str = "backup.json";
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Of what a copy was made, and of what it consists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The kind of the node.
    pub kind: String,
    /// The node.
    pub node: String,
    /// What it consists of; nothing in copies of before this was said.
    #[serde(default)]
    pub extents: Option<Extents>,
}

/// What a copy consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extents {
    /// Its files but the one that says this, by their names.
    pub files: Vec<Extent>,
    /// The records in it.
    pub records: u64,
    /// The offset of the last of them; nothing where there are none.
    pub last_offset: Option<u64>,
}

/// A file of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// Their CRC-32C.
    pub crc32c: u32,
}

/// What a copy says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Nothing: it is no copy, or was made by hand.
    Nothing,
    /// This.
    About(About),
    /// There is something, which cannot be read.
    Unreadable,
}

/// What a directory says of itself.
pub fn about(dir: &Path) -> io::Result<Said> {
    match fs::read(dir.join(ABOUT)) {
        Ok(text) => Ok(serde_json::from_slice(&text).map_or(Said::Unreadable, Said::About)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Said::Nothing),
        Err(error) => Err(error),
    }
}

/// Says in a copy that is made what it is, and has the disk keep it.
pub(super) fn write(dir: &Path, mut about: About, audit: &Audit) -> io::Result<()> {
    about.extents = Some(Extents {
        files: files(dir)?,
        records: audit.records,
        last_offset: audit.last_offset,
    });
    let text = serde_json::to_string_pretty(&about).map_err(io::Error::other)?;
    let path = dir.join(ABOUT);
    fs::write(&path, format!("{text}\n"))?;
    fs::File::open(&path)?.sync_all()?;
    fs::File::open(dir)?.sync_all()
}

/// The files of a copy as they are.
fn files(dir: &Path) -> io::Result<Vec<Extent>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.metadata()?.is_file() && name != ABOUT && name != LOCK {
            let (bytes, crc32c) = summed(&entry.path())?;
            found.push(Extent {
                name,
                bytes,
                crc32c,
            });
        }
    }
    found.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn summed(path: &Path) -> io::Result<(u64, u32)> {
    let mut file = fs::File::open(path)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut bytes, mut sum) = (0, 0);
    loop {
        let got = io::Read::read(&mut file, &mut chunk)?;
        if got == 0 {
            return Ok((bytes, sum));
        }
        bytes += got as u64;
        sum = crc32c::crc32c_append(sum, &chunk[..got]);
    }
}

/// Adds to what was found in a directory in what it differs from what it says that it is.
pub(super) fn compare(dir: &Path, audit: &mut Audit) -> io::Result<()> {
    let extents = match about(dir)? {
        Said::Nothing => return Ok(()),
        Said::About(About { extents: None, .. }) => return Ok(()),
        Said::About(About {
            extents: Some(extents),
            ..
        }) => extents,
        Said::Unreadable => {
            let what = "it is empty or damaged: whether the copy is whole is not known";
            audit.faults.push(fault(ABOUT, what.to_owned()));
            return Ok(());
        }
    };
    let is = files(dir)?;
    for wanted in &extents.files {
        let what = match is.iter().find(|it| it.name == wanted.name) {
            None => "it is missing in the copy".to_owned(),
            Some(it) if it.bytes != wanted.bytes => {
                format!(
                    "it has {} bytes, and {} were copied",
                    it.bytes, wanted.bytes
                )
            }
            Some(it) if it.crc32c != wanted.crc32c => "it is not what was copied".to_owned(),
            Some(_) => continue,
        };
        audit.faults.push(fault(&wanted.name, what));
    }
    if audit.is_good() && audit.records != extents.records {
        let (is, were) = (audit.records, extents.records);
        let what = format!("{were} records were copied, and {is} are there");
        audit.faults.push(fault(ABOUT, what));
    }
    Ok(())
}

fn fault(file: &str, what: String) -> Fault {
    Fault {
        file: file.to_owned(),
        what,
        offsets: None,
    }
}
