//! The reading half of a log: for any thread, beside the one that writes.
//!
//! It gives only what is synced and whole. What is damaged it says by its offsets, makes the log
//! read-only for it, and goes on behind it.

use std::io;
use std::sync::Arc;

use crate::model::store::{Batch, Fetched, Record, Start, StoreFault};

use super::files::File;
use super::index::{self, Index};
use super::segment::{HEADER_BYTES, Header, Step, Walk, find_after};
use super::view::{Health, Shared, View, held};

/// Segments that stay open after they were read.
const OPEN_MAX: usize = 8;

/// A reader of a log.
pub struct Reader {
    shared: Arc<Shared>,
    /// The last read ones last.
    open: Vec<Open>,
}

#[derive(Clone)]
struct Open {
    first_seq: u64,
    file: Arc<dyn File>,
    index: Arc<Index>,
}

/// A segment as it is read.
struct Place {
    header: Header,
    file: Arc<dyn File>,
    /// Where to begin.
    at: u64,
    /// Where to end.
    end: u64,
}

/// What reading has gathered.
struct Gathered {
    start: Start,
    first: Option<u64>,
    records: Vec<Record>,
    records_max: usize,
    bytes_left: usize,
    is_full: bool,
}

/// What was found wrong in a log, and how much was right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Records that are whole.
    pub records: u64,
    /// Their segments' bytes.
    pub bytes: u64,
    /// The damaged offsets: from, and the first that is not.
    pub damaged: Vec<(u64, u64)>,
}

impl Gathered {
    fn new(start: Start, records_max: usize, bytes_max: usize) -> Self {
        Self {
            start,
            first: None,
            records: Vec::new(),
            records_max,
            bytes_left: bytes_max,
            is_full: records_max == 0,
        }
    }

    /// The offset that comes next, if it is known.
    fn next(&self) -> Option<u64> {
        match (self.first, self.start) {
            (Some(first), _) => Some(first + self.records.len() as u64),
            (None, Start::Offset(wanted)) => Some(wanted),
            (None, Start::Time(_)) => None,
        }
    }

    /// Takes what is wanted of a batch. False where records are missing in front of it.
    fn take(&mut self, batch: Batch) -> bool {
        let first = batch.first_offset;
        if self.next().is_some_and(|next| next < first) && !batch.records.is_empty() {
            return false;
        }
        for (offset, record) in (first..).zip(batch.records) {
            let is_wanted = match (self.first, self.start) {
                (Some(_), _) => true,
                (None, Start::Offset(wanted)) => offset >= wanted,
                (None, Start::Time(wanted)) => record.time_ns >= wanted,
            };
            if is_wanted && !self.is_full {
                let bytes = record.data.len();
                let is_over = !self.records.is_empty() && bytes > self.bytes_left;
                if is_over {
                    self.is_full = true;
                    break;
                }
                self.first.get_or_insert(offset);
                self.bytes_left = self.bytes_left.saturating_sub(bytes);
                self.records.push(record);
                self.is_full = self.records.len() >= self.records_max;
            }
        }
        true
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            open: Vec::new(),
        }
    }

    /// Whether the log is well.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// The oldest offset, and the one after the newest that may be read.
    pub fn range(&self) -> (u64, u64) {
        let view = self.shared.view();
        (view.start, view.end)
    }

    /// The bytes of all segments, and how many there are.
    pub fn size(&self) -> (u64, usize) {
        let view = self.shared.view();
        let sealed: u64 = view.sealed.iter().map(|it| it.end.bytes).sum();
        (sealed + view.active.readable(), view.sealed.len() + 1)
    }

    /// Reads records: at least one where there is one, and no more than a bound says.
    pub fn fetch(
        &mut self,
        start: Start,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Fetched, StoreFault> {
        let view = self.shared.view();
        if let Start::Offset(wanted) = start {
            if wanted < view.start {
                return Err(StoreFault::Gone(view.start));
            }
            if wanted >= view.end {
                return Ok(fetched(&view, Gathered::new(start, 0, 0)));
            }
        }
        let mut gathered = Gathered::new(start, records_max, bytes_max);
        let mut number = first_place(&view, start);
        while number <= view.sealed.len() && !gathered.is_full {
            match self.gather(&view, number, &mut gathered) {
                Ok(None) => number += 1,
                // What was read before it is right.
                Ok(Some(_)) if !gathered.records.is_empty() => break,
                Ok(Some((from, next))) => return Err(self.damaged(from, next)),
                Err(error) => return Err(self.unread(&view, &error)),
            }
        }
        Ok(fetched(&view, gathered))
    }

    /// Reads on in one segment. Gives the damaged offsets where it met any.
    fn gather(
        &mut self,
        view: &View,
        number: usize,
        gathered: &mut Gathered,
    ) -> io::Result<Option<(u64, u64)>> {
        let place = self.place(view, number, gathered.start)?;
        let mut walk = Walk::new(&*place.file, self.shared.log, place.at, place.end);
        let mut last = None;
        while !gathered.is_full {
            match walk.next()? {
                Step::Batch(_, found) => {
                    let first = found.batch.first_offset;
                    last = Some((found.batch.seq, found.batch.next_offset()));
                    if !gathered.take(found.batch) {
                        return Ok(gathered.next().map(|next| (next, first)));
                    }
                }
                Step::End => return Ok(None),
                Step::Bad => {
                    let (seq, known) = match last {
                        Some((seq, offset)) => (seq + 1, offset),
                        None => (place.header.first_seq, place.header.first_offset),
                    };
                    let span = (walk.at() + 1, place.end);
                    let after = find_after(&*place.file, self.shared.log, span, seq)?;
                    let next = match &after {
                        Some((_, found)) => found.batch.first_offset,
                        None => next_place(view, number),
                    };
                    let from = gathered.next().unwrap_or(known).max(known);
                    // What is wanted may lie behind what is damaged.
                    if from >= next
                        && let Some((at, _)) = after
                    {
                        walk = Walk::new(&*place.file, self.shared.log, at, place.end);
                        self.damaged(known, next);
                        continue;
                    }
                    return Ok((from < next).then_some((from, next)));
                }
            }
        }
        Ok(None)
    }

    /// A segment, and where to begin in it.
    fn place(&mut self, view: &View, number: usize, start: Start) -> io::Result<Place> {
        let Some(sealed) = view.sealed.get(number) else {
            let active = &view.active;
            return Ok(Place {
                header: active.header,
                file: Arc::clone(&active.file),
                at: held(&active.index).before(start),
                end: active.readable(),
            });
        };
        let first_seq = sealed.header.first_seq;
        let open = match self.open.iter().position(|it| it.first_seq == first_seq) {
            Some(place) => self.open.remove(place),
            None => self.open_sealed(sealed.header)?,
        };
        self.open.push(open.clone());
        if self.open.len() > OPEN_MAX {
            self.open.remove(0);
        }
        Ok(Place {
            header: sealed.header,
            at: open.index.before(start),
            file: open.file,
            end: sealed.end.bytes,
        })
    }

    fn open_sealed(&self, header: Header) -> io::Result<Open> {
        let file = self.shared.files.open(&header.name())?;
        // Without its index a segment is read from its beginning.
        let index = read_index(&*self.shared.files, header).map(|(index, _)| index);
        Ok(Open {
            first_seq: header.first_seq,
            file,
            index: Arc::new(index.unwrap_or_default()),
        })
    }

    /// Says that offsets are damaged, to all who share the log.
    fn damaged(&self, from: u64, next: u64) -> StoreFault {
        let fault = StoreFault::Damaged(from, next);
        self.shared.worsen(Health::ReadOnly(fault.to_string()));
        fault
    }

    /// A segment that cannot be read: it may be gone by now.
    fn unread(&self, seen: &View, error: &io::Error) -> StoreFault {
        let start = self.shared.view().start;
        match start > seen.start {
            true => StoreFault::Gone(start),
            false => StoreFault::Failed(format!("reading: {error}")),
        }
    }

    /// Reads all of it, and says what is damaged.
    pub fn verify(&mut self) -> io::Result<Verified> {
        let view = self.shared.view();
        let mut verified = Verified::default();
        let mut known = view.start;
        for number in 0..=view.sealed.len() {
            let place = self.place(&view, number, Start::Offset(0))?;
            verified.bytes += place.end;
            let mut walk = Walk::new(&*place.file, self.shared.log, HEADER_BYTES, place.end);
            let mut seq = place.header.first_seq;
            loop {
                let at = walk.at() + 1;
                let found = match walk.next()? {
                    Step::Batch(_, found) => found,
                    Step::End => break,
                    Step::Bad => {
                        let span = (at, place.end);
                        let Some((at, _)) = find_after(&*place.file, self.shared.log, span, seq)?
                        else {
                            break;
                        };
                        walk = Walk::new(&*place.file, self.shared.log, at, place.end);
                        continue;
                    }
                };
                if found.batch.first_offset > known {
                    verified.damaged.push((known, found.batch.first_offset));
                }
                verified.records += found.batch.records.len() as u64;
                (seq, known) = (found.batch.seq, found.batch.next_offset());
            }
            let next = next_place(&view, number);
            if known < next {
                verified.damaged.push((known, next));
                known = next;
            }
        }
        Ok(verified)
    }
}

/// The index of a sealed segment, and how that ends, where its file is there and right.
pub(super) fn read_index(
    files: &dyn super::Files,
    header: Header,
) -> Option<(Index, super::index::End)> {
    let file = files.open(&index::name(header.first_seq)).ok()?;
    let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
    let got = file.read_at(&mut bytes, 0).ok()?;
    Index::decode(&bytes[..got], header.log, header.first_seq)
}

fn fetched(view: &View, gathered: Gathered) -> Fetched {
    let first = gathered.first.unwrap_or(match gathered.start {
        Start::Offset(wanted) => wanted,
        Start::Time(_) => view.end,
    });
    Fetched {
        first_offset: first,
        start: view.start,
        // What came while it was read may be among it.
        end: view.end.max(first + gathered.records.len() as u64),
        records: gathered.records,
    }
}

/// The number of the segment to begin with; the active one comes after the sealed ones.
fn first_place(view: &View, start: Start) -> usize {
    let headers = |number: usize| match view.sealed.get(number) {
        Some(sealed) => sealed.header,
        None => view.active.header,
    };
    let is_before = |header: Header| match start {
        Start::Offset(wanted) => header.first_offset <= wanted,
        Start::Time(wanted) => header.time_ns < wanted,
    };
    let all = 0..=view.sealed.len();
    let after = all.clone().take_while(|number| is_before(headers(*number)));
    after.last().unwrap_or_default()
}

/// The offset at which the segment after one begins.
fn next_place(view: &View, number: usize) -> u64 {
    match (view.sealed.get(number), view.sealed.get(number + 1)) {
        (None, _) => view.end,
        (Some(_), Some(next)) => next.header.first_offset,
        (Some(_), None) => view.active.header.first_offset,
    }
}
