//! Reading every byte of a log, and saying what is wrong with it; whoever writes it goes on meanwhile.
//!
//! Nothing is opened for writing here, nothing locked, and nothing mended: that is a start's. What a
//! writer has under way at the end is no damage, and what it removes meanwhile has it read once more.

use std::fmt;
use std::io;

use super::checkpoint;
use super::files::{File, Files};
use super::index::{End, Index, name as index_name};
use super::mark::{self, Said};
use super::segment::{self, Header, Step, Walk, find_after};

/// How often a log is read again that changed under the reader's hands.
const TRIES: usize = 5;

/// What was found in a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Its segments.
    pub segments: usize,
    /// Batches that are whole.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// The offset of the last of them; nothing where there are none.
    pub last_offset: Option<u64>,
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes at the end that are no whole batch, and were never synced as far as is known.
    pub unfinished_bytes: u64,
    /// What is wrong, in the order of the files.
    pub faults: Vec<Fault>,
    /// Files went while they were read.
    is_stale: bool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
    /// The first offset whose record is damaged or missing, and the first after it that is not, where
    /// records are.
    pub offsets: Option<(u64, u64)>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)?;
        match self.offsets {
            Some((from, next)) if from < next => write!(f, ", records {from} to {}", next - 1),
            Some(_) | None => Ok(()),
        }
    }
}

impl Audit {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, file: &str, what: impl Into<String>, offsets: Option<(u64, u64)>) {
        self.faults.push(Fault {
            file: file.to_owned(),
            what: what.into(),
            offsets,
        });
    }
}

/// Reads a log. One that is written meanwhile is read again where it seems wrong: only what is wrong
/// twice is.
pub(super) fn audit(files: &dyn Files) -> io::Result<Audit> {
    let mut last = once(files)?;
    for _ in 0..TRIES {
        if last.is_good() {
            break;
        }
        let again = once(files)?;
        let is_same = again.faults == last.faults && !again.is_stale;
        last = again;
        if is_same {
            break;
        }
    }
    Ok(last)
}

fn once(files: &dyn Files) -> io::Result<Audit> {
    let mut audit = Audit::default();
    // What these say of the segments is never ahead of them, as long as they are read first.
    let said = match mark::read(files)? {
        mark::Found::Right(said) => Some(said),
        mark::Found::Nothing => None,
        mark::Found::Bad => {
            audit.fault(mark::NAME, "it is damaged", None);
            None
        }
    };
    let known = whole(files, checkpoint::NAME)?;
    let listed = files.list()?;
    audit.bytes += known.as_ref().map_or(0, |it| it.len() as u64);
    let index = listed
        .iter()
        .map(|(name, _)| name)
        .find(|name| super::index::is_name(name))
        .cloned();
    let mut names: Vec<(u64, String)> = listed
        .into_iter()
        .filter_map(|(name, _)| Some((segment::first_seq(&name)?, name)))
        .collect();
    names.sort_unstable();
    audit.segments = names.len();
    if names.is_empty() {
        if known.is_some() {
            audit.fault(checkpoint::NAME, "it is there, and no segment", None);
        }
        if said.is_some() {
            audit.fault(mark::NAME, "it is there, and no segment", None);
        }
        if let Some(index) = index {
            audit.fault(&index, "it is there, and no segment", None);
        }
        return Ok(audit);
    }
    let mut chain = Chain::default();
    let last = names.len() - 1;
    for (number, (first_seq, name)) in names.iter().enumerate() {
        let file = match files.open(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                audit.is_stale = true;
                audit.fault(name, "it went while it was read", None);
                continue;
            }
            Err(error) => return Err(error),
        };
        let said = said.filter(|said| said.first_seq == *first_seq && number == last);
        let place = Place {
            name,
            first_seq: *first_seq,
            is_last: number == last,
            said,
        };
        chain.segment(&*file, &place, &mut audit)?;
        chain.index(files, &place, &mut audit)?;
    }
    if let Some(said) = said.filter(|said| said.first_seq > names[last].0) {
        let what = format!("it is missing, and {} bytes of it were synced", said.bytes);
        audit.fault(&segment::name(said.first_seq), what, None);
    }
    chain.checkpoint(known, &mut audit);
    Ok(audit)
}

/// All of a file; nothing where there is none.
fn whole(files: &dyn Files, name: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match files.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; usize::try_from(file.length()?).unwrap_or(usize::MAX)];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(Some(bytes))
}

/// A segment that is looked at.
struct Place<'a> {
    name: &'a str,
    first_seq: u64,
    is_last: bool,
    said: Option<Said>,
}

/// What the segments so far came to.
#[derive(Default)]
struct Chain {
    log: Option<u64>,
    first_seq: Option<u64>,
    /// How the last segment ends.
    end: Option<End>,
}

impl Chain {
    /// The header of a segment; what it must have said, where it is damaged.
    fn header(
        &mut self,
        file: &dyn File,
        place: &Place<'_>,
        audit: &mut Audit,
    ) -> io::Result<Option<Header>> {
        match Header::read(file)? {
            Ok(header) if header.first_seq == place.first_seq => {
                if self.log.is_some_and(|log| log != header.log) {
                    audit.fault(place.name, "it is of another log", None);
                    return Ok(None);
                }
                Ok(Some(header))
            }
            Ok(_) | Err(_) => {
                audit.fault(
                    place.name,
                    "its header is damaged, or of another version",
                    None,
                );
                super::recover::header_again(file, place.first_seq, self.log)
            }
        }
    }

    fn segment(&mut self, file: &dyn File, place: &Place<'_>, audit: &mut Audit) -> io::Result<()> {
        let Some(header) = self.header(file, place, audit)? else {
            self.end = None;
            return Ok(());
        };
        self.log = Some(header.log);
        self.first_seq.get_or_insert(header.first_seq);
        if let Some(end) = self.end
            && (end.seq, end.offset) != (header.first_seq, header.first_offset)
        {
            let gone = (end.offset, header.first_offset);
            audit.fault(place.name, "what came before it is missing", Some(gone));
        }
        let length = file.length()?;
        audit.bytes += length;
        let begin = End {
            seq: header.first_seq,
            offset: header.first_offset,
            time_ns: header.time_ns,
            bytes: segment::HEADER_BYTES,
        };
        let end = batches(file, (header.log, length), (place, begin), audit)?;
        self.end = Some(end);
        Ok(())
    }

    /// The index of a segment, where there is one: it can be made again, and should be right.
    fn index(&self, files: &dyn Files, place: &Place<'_>, audit: &mut Audit) -> io::Result<()> {
        let name = index_name(place.first_seq);
        let (Some(bytes), Some(log)) = (whole(files, &name)?, self.log) else {
            return Ok(());
        };
        audit.bytes += bytes.len() as u64;
        let is_right = match Index::decode(&bytes, log, place.first_seq) {
            Some((_, end)) => self.end.is_none_or(|is| is.seq <= end.seq),
            None => false,
        };
        if !is_right {
            let what = "it is damaged; the next start makes it again";
            audit.fault(&name, what, None);
        }
        Ok(())
    }

    fn checkpoint(&self, known: Option<Vec<u8>>, audit: &mut Audit) {
        let first = self.first_seq.unwrap_or_default();
        let Some(bytes) = known else {
            if first > 0 {
                audit.fault(checkpoint::NAME, "it is missing", None);
            }
            return;
        };
        let through = self.log.and_then(|log| checkpoint::decode(&bytes, log));
        match (through, self.end) {
            (None, _) => audit.fault(checkpoint::NAME, "it is damaged", None),
            (Some(through), Some(end)) if through >= end.seq || through + 1 < first => {
                audit.fault(checkpoint::NAME, "it does not fit the segments", None);
            }
            (Some(_), _) => {}
        }
    }
}

/// Walks through all batches of a segment, around what is damaged. Gives how it ends.
fn batches(
    file: &dyn File,
    (log, length): (u64, u64),
    (place, mut end): (&Place<'_>, End),
    audit: &mut Audit,
) -> io::Result<End> {
    let mut walk = Walk::new(file, log, end.bytes, length);
    let mut from = None;
    loop {
        match walk.next()? {
            Step::Batch(at, found) => {
                let batch = found.batch;
                if (batch.seq, batch.first_offset) != (end.seq, end.offset) {
                    let bytes = from.unwrap_or(at);
                    let what = format!("damaged from byte {bytes} to {at}");
                    audit.fault(place.name, what, Some((end.offset, batch.first_offset)));
                }
                from = None;
                audit.batches += 1;
                audit.records += batch.records.len() as u64;
                if !batch.records.is_empty() {
                    audit.last_offset = Some(batch.next_offset() - 1);
                }
                end = End {
                    seq: batch.seq + 1,
                    offset: batch.next_offset(),
                    time_ns: batch.time_ns,
                    bytes: walk.at(),
                };
            }
            Step::End => {
                let missing = place.said.filter(|said| said.bytes > end.bytes);
                if missing.is_some() {
                    audit.fault(place.name, "it is shorter than it was", None);
                }
                return Ok(end);
            }
            Step::Bad => {
                let begin = walk.at();
                let span = (begin + 1, length);
                if let Some((at, _)) = find_after(file, log, span, end.seq.saturating_sub(1))? {
                    from = Some(begin);
                    walk = Walk::new(file, log, at, length);
                    continue;
                }
                let is_synced = place.said.is_some_and(|said| said.bytes > begin);
                if place.is_last && !is_synced {
                    audit.unfinished_bytes = length - begin;
                } else {
                    let what = format!("damaged from byte {begin} to its end");
                    audit.fault(place.name, what, None);
                }
                return Ok(end);
            }
        }
    }
}
