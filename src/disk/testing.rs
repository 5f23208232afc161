//! A disk for tests: it records what is done to it, fails where it is told to, and says what it may
//! hold after a power cut.
//!
//! After a cut a file has what was synced; of what was written since, any part may be there, each
//! write whole, torn at a sector, or not at all, in any order. Names are kept in their order: of
//! those given, changed and taken since the directory was synced, a beginning is there.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::files::{File, Files};

/// Something that was done.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create(String, usize),
    Write(usize, u64, Vec<u8>),
    Truncate(usize, u64),
    Sync(usize),
    Rename(String, String),
    Remove(String),
    SyncDir,
}

/// What is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failing {
    /// Every write, after it wrote half.
    Write(io::ErrorKind),
    /// Every truncation.
    Truncate(io::ErrorKind),
    /// Every sync of a file.
    Sync(io::ErrorKind),
    /// Every new file.
    Create(io::ErrorKind),
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    ops: Vec<Op>,
    failing: Vec<Failing>,
}

/// The disk.
#[derive(Clone, Default)]
pub(crate) struct TestDisk(Arc<Mutex<State>>);

struct TestFile(TestDisk, usize);

impl TestDisk {
    /// A disk that holds files from the beginning.
    pub(crate) fn holding(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let disk = Self::default();
        for (name, bytes) in files {
            let mut state = disk.state();
            let number = state.files.len();
            state.files.push(bytes.clone());
            state.names.insert(name.clone(), number);
            drop(state);
        }
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn fail(&self, failing: &[Failing]) {
        self.state().failing = failing.to_vec();
    }

    /// Everything that was done so far.
    pub(crate) fn ops(&self) -> Vec<Op> {
        self.state().ops.clone()
    }

    /// Its files now.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let each = state.names.iter();
        each.map(|(name, number)| (name.clone(), state.files[*number].clone()))
            .collect()
    }

    pub(crate) fn shared(&self) -> Arc<dyn Files> {
        Arc::new(self.clone())
    }
}

impl State {
    fn check(&self, which: impl Fn(Failing) -> Option<io::ErrorKind>) -> io::Result<()> {
        match self.failing.iter().find_map(|it| which(*it)) {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }
}

impl Files for TestDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let files = self.files().into_iter();
        Ok(files
            .map(|(name, bytes)| (name, bytes.len() as u64))
            .collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let number = self.state().names.get(name).copied();
        let number = number.ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(TestFile(self.clone(), number)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.check(|it| match it {
            Failing::Create(kind) => Some(kind),
            _ => None,
        })?;
        let number = state.files.len();
        state.files.push(Vec::new());
        state.names.insert(name.to_owned(), number);
        state.ops.push(Op::Create(name.to_owned(), number));
        Ok(Arc::new(TestFile(self.clone(), number)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let number = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), number);
        state.ops.push(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.ops.push(Op::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.state().ops.push(Op::SyncDir);
        Ok(())
    }

    fn lock(&self) -> io::Result<()> {
        Ok(())
    }
}

fn put(file: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = usize::try_from(at).unwrap();
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

impl File for TestFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.state().files[self.1].len() as u64)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.0.state();
        let file = &state.files[self.1];
        let from = usize::try_from(at).unwrap().min(file.len());
        let count = into.len().min(file.len() - from);
        into[..count].copy_from_slice(&file[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.0.state();
        let failed = state.check(|it| match it {
            Failing::Write(kind) => Some(kind),
            _ => None,
        });
        let bytes = match failed {
            Ok(()) => bytes,
            Err(_) => &bytes[..bytes.len() / 2],
        };
        put(&mut state.files[self.1], at, bytes);
        state.ops.push(Op::Write(self.1, at, bytes.to_vec()));
        failed
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state();
        state.check(|it| match it {
            Failing::Sync(kind) => Some(kind),
            _ => None,
        })?;
        state.ops.push(Op::Sync(self.1));
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.state();
        state.check(|it| match it {
            Failing::Truncate(kind) => Some(kind),
            _ => None,
        })?;
        state.files[self.1].resize(usize::try_from(len).unwrap(), 0);
        state.ops.push(Op::Truncate(self.1, len));
        Ok(())
    }
}

/// What a disk may hold after a power cut in the middle of what was done.
pub(crate) struct Cut<'a> {
    /// What was done before the cut.
    pub(crate) ops: &'a [Op],
    /// Chooses among what may be: a number below a bound.
    pub(crate) choose: &'a mut dyn FnMut(usize) -> usize,
    /// Where a write may be torn, in bytes.
    pub(crate) sector: u64,
}

impl Cut<'_> {
    /// One disk that may be.
    pub(crate) fn disk(mut self) -> BTreeMap<String, Vec<u8>> {
        let names = self.names();
        let each = names.into_iter();
        each.map(|(name, number)| (name, self.file(number)))
            .collect()
    }

    fn names(&mut self) -> BTreeMap<String, usize> {
        let is_name = |op: &Op| matches!(op, Op::Create(..) | Op::Rename(..) | Op::Remove(_));
        let synced = self.ops.iter().rposition(|op| matches!(op, Op::SyncDir));
        let settled = synced.map_or(0, |at| at + 1);
        let loose = self.ops[settled..].iter().filter(|op| is_name(op)).count();
        let kept = (self.choose)(loose + 1);
        let firm = self.ops[..settled].iter().filter(|op| is_name(op));
        let loose = self.ops[settled..].iter().filter(|op| is_name(op));
        let mut names = BTreeMap::new();
        for op in firm.chain(loose.take(kept)) {
            match op {
                Op::Create(name, number) => {
                    names.insert(name.clone(), *number);
                }
                Op::Rename(from, to) => {
                    if let Some(number) = names.remove(from) {
                        names.insert(to.clone(), number);
                    }
                }
                Op::Remove(name) => {
                    names.remove(name);
                }
                Op::Write(..) | Op::Truncate(..) | Op::Sync(_) | Op::SyncDir => {}
            }
        }
        names
    }

    fn file(&mut self, wanted: usize) -> Vec<u8> {
        let of = |op: &Op| match op {
            Op::Write(number, ..) | Op::Truncate(number, _) | Op::Sync(number) => *number == wanted,
            Op::Create(..) | Op::Rename(..) | Op::Remove(_) | Op::SyncDir => false,
        };
        let ops: Vec<&Op> = self.ops.iter().filter(|op| of(op)).collect();
        let synced = ops.iter().rposition(|op| matches!(op, Op::Sync(_)));
        let settled = synced.map_or(0, |at| at + 1);
        let mut file = Vec::new();
        // Of what is written over and over in one place, one is the last that is there.
        let is_again = |op: &&Op| matches!(op, Op::Write(_, 0, bytes) if bytes.len() == 32);
        if settled == 0 && !ops.is_empty() && ops.iter().all(is_again) {
            let last = (self.choose)(ops.len() + 1);
            if let Some(Op::Write(_, at, bytes)) = last.checked_sub(1).map(|it| ops[it]) {
                put(&mut file, *at, bytes);
            }
            return file;
        }
        for (place, op) in ops.iter().enumerate() {
            let is_loose = place >= settled;
            match op {
                Op::Write(_, at, bytes) if is_loose => self.loose(&mut file, *at, bytes),
                Op::Write(_, at, bytes) => put(&mut file, *at, bytes),
                Op::Truncate(_, len) if !is_loose || (self.choose)(2) == 0 => {
                    file.resize(usize::try_from(*len).unwrap(), 0);
                }
                _ => {}
            }
        }
        file
    }

    /// A write that was not synced: each of its sectors is there or not, or holds zeros.
    fn loose(&mut self, file: &mut Vec<u8>, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        let (none, all, some) = (0, 1, 2);
        let how = (self.choose)(3);
        if how == none {
            return;
        }
        let mut from = at;
        while from < end {
            let to = ((from / self.sector + 1) * self.sector).min(end);
            let part = &bytes[(from - at) as usize..(to - at) as usize];
            let is_there = how == all || (how == some && (self.choose)(2) == 1);
            if is_there {
                put(file, from, part);
            }
            from = to;
        }
    }
}
