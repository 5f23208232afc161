//! Whole copies of a log: made while its role goes on writing, looked at byte by byte, and put back.
//!
//! A copy has its name only when all of it is on the disk; in a directory that is there already, which
//! may be where a disk is mounted, it has its beginning last, so that no part of it passes for a whole.
//! Nothing that is there is ever overwritten.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::audit::{Audit, Fault, audit};
use super::checkpoint;
use super::extents::{self, ABOUT, About};
use super::files::{File, Files, RealFiles};
use super::kind;
use super::segment;

/// Bytes that are copied at once.
const CHUNK_BYTES: usize = 1024 * 1024;
/// How often a copy is begun anew since its log changed under it.
const TRIES: usize = 5;

/// Why there is no copy.
#[derive(Debug)]
pub enum BackupError {
    /// There is no log in a directory.
    Nothing(PathBuf),
    /// Something is there already.
    Exists(PathBuf),
    /// A process has the store open.
    InUse(PathBuf),
    /// What is to be copied is damaged.
    Damaged(PathBuf, Vec<Fault>),
    /// The system refused something.
    System(PathBuf, io::Error),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(dir) => write!(f, "there is no store in {}", dir.display()),
            Self::Exists(dir) => write!(f, "{} is there already, and not empty", dir.display()),
            Self::InUse(dir) => write!(f, "the store in {} is in use", dir.display()),
            Self::Damaged(dir, faults) => {
                write!(f, "what is in {} is damaged", dir.display())?;
                faults
                    .first()
                    .map_or(Ok(()), |first| write!(f, ": {first}"))
            }
            Self::System(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BackupError {}

/// A directory that is only read, without its lock.
struct ReadFiles(PathBuf);

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Files for ReadFiles {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                // One that went in between is none.
                found.extend(entry.metadata().ok().map(|facts| (name, facts.len())));
            }
        }
        Ok(found)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::File::open(self.0.join(name))?))
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn File>> {
        refused()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self) -> io::Result<()> {
        refused()
    }

    fn lock(&self) -> io::Result<()> {
        refused()
    }
}

fn system(path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_owned();
    move |error| BackupError::System(path.clone(), error)
}

/// Reads every byte of the log in a directory, in use or not, and says what is wrong.
pub fn verify(dir: &Path) -> Result<Audit, BackupError> {
    if !dir.is_dir() {
        return Err(BackupError::Nothing(dir.to_owned()));
    }
    let mut found = audit(&ReadFiles(dir.to_owned())).map_err(system(dir))?;
    extents::compare(dir, &mut found).map_err(system(dir))?;
    match found.segments == 0 && found.is_good() {
        true => Err(BackupError::Nothing(dir.to_owned())),
        false => Ok(found),
    }
}

/// Where a copy is made that goes into a directory that is there.
const PART: &str = "copy.part";
/// What a new file system has in its first directory.
const LOST: &str = "lost+found";

/// Copies the log in a directory, in use or not, into another that is new or empty.
pub fn backup(from: &Path, to: &Path, about: About) -> Result<Audit, BackupError> {
    let is_other = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|it| it.file_name() != PART && it.file_name() != LOST)
    };
    let is_used = fs::read_dir(to).is_ok_and(|mut entries| entries.any(is_other));
    if is_used || to.is_file() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    copy(from, to, Some(about))
}

/// Puts a copy back as the store of a directory, where there is none.
pub fn restore(from: &Path, to: &Path) -> Result<Audit, BackupError> {
    let found = verify(from)?;
    if !found.is_good() {
        return Err(BackupError::Damaged(from.to_owned(), found.faults));
    }
    if to.exists() {
        // Held until all is there.
        let files = RealFiles::open(to).map_err(system(to))?;
        files.lock().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => BackupError::InUse(to.to_owned()),
            _ => BackupError::System(to.to_owned(), error),
        })?;
        let listed = files.list().map_err(system(to))?;
        if !listed.is_empty() {
            return Err(BackupError::Exists(to.to_owned()));
        }
        let copied = copy(from, to, None);
        drop(files);
        return copied;
    }
    copy(from, to, None)
}

/// Copies a log under another name first: beside a directory that is to be, or in one that is there.
fn copy(from: &Path, to: &Path, about: Option<About>) -> Result<Audit, BackupError> {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let is_there = to.is_dir();
    let part = match is_there {
        true => to.join(PART),
        false => to.with_file_name(format!("{name}.part")),
    };
    let named = |part: &Path| match is_there {
        true => moved(part, to).map_err(system(to)),
        false => renamed(part, to).map_err(system(to)),
    };
    let described = |audit: Audit| match about {
        Some(about) => extents::write(&part, about, &audit)
            .map(|()| audit)
            .map_err(system(&part)),
        None => Ok(audit),
    };
    let copied = copy_by(from, &part)
        .and_then(described)
        .and_then(|audit| named(&part).map(|()| audit));
    // What is there of somebody else is neither used nor removed.
    let is_ours =
        |fault: &BackupError| !matches!(fault, BackupError::InUse(_) | BackupError::Exists(_));
    if copied.as_ref().is_err_and(is_ours) {
        // A part of a copy would take space that its store may need.
        drop(fs::remove_dir_all(&part));
    }
    copied
}

/// The directory for a copy, taken and empty: what an earlier copy left there, which was ended, goes.
fn emptied(part: &Path) -> Result<RealFiles, BackupError> {
    let target = RealFiles::open(part).map_err(system(part))?;
    target.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => BackupError::InUse(part.to_owned()),
        _ => BackupError::System(part.to_owned(), error),
    })?;
    for (name, _) in target.list().map_err(system(part))? {
        let is_ours = checkpoint::is_name(&name) || kind::is_name(&name) || name == ABOUT;
        if !is_ours && segment::first_seq(&name).is_none() {
            return Err(BackupError::Exists(part.to_owned()));
        }
        target.remove(&name).map_err(system(part))?;
    }
    Ok(target)
}

/// Gives a copy its name.
fn renamed(part: &Path, to: &Path) -> io::Result<()> {
    fs::rename(part, to)?;
    let parent = to.parent().filter(|it| !it.as_os_str().is_empty());
    fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Moves a copy into a directory. First comes what says of what it consists, by which a part of it is
/// none. Its checkpoint comes last, and before it the segments from the newest
/// on: what is missing meanwhile is missed, be it the first segment or the checkpoint.
fn moved(part: &Path, to: &Path) -> io::Result<()> {
    let listed = fs::read_dir(part)?;
    let mut names: Vec<String> = listed
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort_unstable_by_key(|name| {
        let newest_first = std::cmp::Reverse(segment::first_seq(name));
        (name != ABOUT, checkpoint::is_name(name), newest_first)
    });
    let dir = fs::File::open(to)?;
    for (number, name) in names.iter().enumerate() {
        if number + 1 == names.len() {
            dir.sync_all()?;
        }
        fs::rename(part.join(name), to.join(name))?;
    }
    fs::remove_dir(part)?;
    dir.sync_all()
}

fn copy_by(from: &Path, part: &Path) -> Result<Audit, BackupError> {
    let source = ReadFiles(from.to_owned());
    let mut last = Audit::default();
    for _ in 0..TRIES {
        let target = emptied(part)?;
        match copy_files(&source, &target) {
            Ok(()) => {}
            // A segment went, with a checkpoint that contains it.
            Err(Side::From(error)) if error.kind() == io::ErrorKind::NotFound && from.is_dir() => {
                continue;
            }
            Err(Side::From(error)) => return Err(BackupError::System(from.to_owned(), error)),
            Err(Side::To(error)) => return Err(BackupError::System(part.to_owned(), error)),
        }
        last = audit(&target).map_err(system(part))?;
        if last.is_good() && last.segments > 0 {
            drop(target);
            fs::remove_file(part.join(super::files::LOCK)).map_err(system(part))?;
            return Ok(last);
        }
    }
    match last.faults.is_empty() {
        true => Err(BackupError::Nothing(from.to_owned())),
        false => Err(BackupError::Damaged(from.to_owned(), last.faults)),
    }
}

/// What refused something: what is copied, or where the copy goes.
enum Side {
    From(io::Error),
    To(io::Error),
}

fn copy_files(source: &dyn Files, target: &dyn Files) -> Result<(), Side> {
    if let Some(word) = kind::read(source).map_err(Side::From)? {
        kind::write(target, &word).map_err(Side::To)?;
    }
    // The checkpoint first: what is removed after it was read is missed by the look at the copy, and
    // what was removed before is in it.
    match copy_file(source, target, checkpoint::NAME) {
        Err(Side::From(error)) if error.kind() == io::ErrorKind::NotFound => {}
        copied => copied?,
    }
    let listed = source.list().map_err(Side::From)?.into_iter();
    let mut names: Vec<String> = listed.map(|(name, _)| name).collect();
    names.retain(|name| segment::first_seq(name).is_some());
    names.sort_unstable();
    for (number, name) in names.iter().enumerate() {
        copy_file(source, target, name)?;
        if number + 1 == names.len() {
            cut(target, name).map_err(Side::To)?;
        }
    }
    target.sync_dir().map_err(Side::To)
}

fn copy_file(source: &dyn Files, target: &dyn Files, name: &str) -> Result<(), Side> {
    let file = source.open(name).map_err(Side::From)?;
    let copy = target.create(name).map_err(Side::To)?;
    let mut bytes = vec![0; CHUNK_BYTES];
    let mut at = 0;
    loop {
        let got = file.read_at(&mut bytes, at).map_err(Side::From)?;
        if got == 0 {
            return copy.sync().map_err(Side::To);
        }
        copy.write_at(&bytes[..got], at).map_err(Side::To)?;
        at += got as u64;
    }
}

/// Cuts what the writer had under way from the last segment; damage stays, to be found.
fn cut(target: &dyn Files, name: &str) -> io::Result<()> {
    let found = audit(target)?;
    if found.unfinished_bytes > 0 {
        let file = target.open(name)?;
        file.truncate(file.length()? - found.unfinished_bytes)?;
        file.sync()?;
    }
    Ok(())
}
