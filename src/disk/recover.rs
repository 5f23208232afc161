//! Opening a log: what is there, what of it is whole, and what must be told of it.
//!
//! Only the last segment may have a torn tail, and it is cut: set aside first, and never below what is
//! known to have been synced. Anything else that is not right is damage: all of it stays as it is, it
//! is read and not written, and the log says so.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::model::limits::store::TORN_BYTES_MAX;
use crate::model::store::Told;

use super::checkpoint;
use super::fault::OpenError;
use super::files::{File, Files};
use super::index::{self, End, Index};
use super::log::{Clock, Log, LogConfig, begin, write_index};
use super::mark::{self, Said, Settled};
use super::reader::read_index;
use super::segment::{self, HEADER_BYTES, Header, HeaderFault, Step, Walk, find_after};
use super::view::{Active, Health, Sealed, Shared, View};

fn system(what: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    move |error| OpenError::System(what, error)
}

/// What a segment was found to be.
struct Scanned {
    index: Index,
    end: End,
    /// What is wrong in it, if anything is.
    damage: Option<String>,
}

/// Opens a log, or makes one, and tells what a role has to know of it.
pub fn open(
    files: Arc<dyn Files>,
    config: LogConfig,
    clock: Clock,
    tell: &mut dyn FnMut(Told),
) -> Result<Log, OpenError> {
    files.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked,
        _ => OpenError::System("locking it", error),
    })?;
    let mut health = Health::Good;
    let headers = headers(&*files, &mut health)?;
    let (mark, said) = Settled::open(&*files);
    let Some((last, sealed)) = headers.split_last() else {
        return fresh(files, config, clock, (mark, health), tell);
    };
    let mut all = Vec::with_capacity(sealed.len());
    for (number, header) in sealed.iter().enumerate() {
        let next = headers[number + 1];
        let scanned = sealed_segment(&*files, *header, next)?;
        worsen(&mut health, scanned.damage);
        all.push(Sealed {
            header: *header,
            end: scanned.end,
        });
    }
    let ahead = said.filter(|said| said.first_seq > last.first_seq);
    worsen(&mut health, ahead.map(missing_after));
    let said = said.filter(|said| said.first_seq == last.first_seq);
    let (active, mut end, damage) = last_segment(&*files, *last, said, &health)?;
    let is_tail_lost = ahead.is_some() || damage.as_ref().is_some_and(|it| it.is_tail_lost);
    worsen(&mut health, damage.map(|it| it.what));
    // No number is used again, though nothing is added to such a log.
    end.seq = end.seq.max(ahead.map_or(0, |said| said.seq));
    let start = headers[0].first_offset;
    let view = View {
        sealed: all.into(),
        active: Arc::clone(&active),
        start,
        end: end.offset,
    };
    let shared = Shared::new(files, last.log, view, health);
    let mut log = Log {
        shared: Arc::new(shared),
        config,
        clock,
        active,
        at: end.bytes,
        next_seq: end.seq,
        next_offset: end.offset,
        last_time_ns: end.time_ns,
        ahead_ns: 0,
        mark,
        through: None,
        checkpoint_bytes: 0,
        since_bytes: 0,
        is_due: false,
        has_rolled: false,
        buffer: Vec::new(),
    };
    log.catch_up();
    if log.health() == Health::Good {
        log.mark.put(last.first_seq, &end);
    }
    let told = log.replay(is_tail_lost, tell);
    told.map_err(system("reading it"))?;
    tell(Told::Recovered {
        start,
        end: end.offset,
    });
    Ok(log)
}

fn worsen(health: &mut Health, damage: Option<String>) {
    if let (Health::Good, Some(why)) = (&*health, damage) {
        *health = Health::ReadOnly(why);
    }
}

/// What the mark says of segments that are not there: it is never ahead of what was synced, and names
/// the last segment, which is never removed.
fn missing_after(said: Said) -> String {
    let name = segment::name(said.first_seq);
    format!("{name} is missing, and was synced: what came after the segments that are left is lost")
}

/// A log where there was none.
fn fresh(
    files: Arc<dyn Files>,
    config: LogConfig,
    clock: Clock,
    (mark, health): (Settled, Health),
    tell: &mut dyn FnMut(Told),
) -> Result<Log, OpenError> {
    let header = Header {
        log: u64::from(fastrand::u32(1..)),
        first_seq: 0,
        first_offset: 0,
        time_ns: 0,
    };
    let active = begin(&*files, header).map_err(system("making its first segment"))?;
    let end = End {
        seq: 0,
        offset: 0,
        time_ns: 0,
        bytes: HEADER_BYTES,
    };
    mark.put(header.first_seq, &end);
    let view = View {
        sealed: [].into(),
        active: Arc::clone(&active),
        start: 0,
        end: 0,
    };
    tell(Told::Recovered { start: 0, end: 0 });
    Ok(Log {
        shared: Arc::new(Shared::new(files, header.log, view, health)),
        config,
        clock,
        active,
        at: HEADER_BYTES,
        next_seq: 0,
        next_offset: 0,
        last_time_ns: 0,
        ahead_ns: 0,
        mark,
        through: None,
        checkpoint_bytes: 0,
        since_bytes: 0,
        is_due: false,
        has_rolled: false,
        buffer: Vec::new(),
    })
}

/// The headers of all segments, oldest first. What is no segment, and what was never begun whole, is
/// left out.
fn headers(files: &dyn Files, health: &mut Health) -> Result<Vec<Header>, OpenError> {
    let listed = files.list().map_err(system("listing it"))?;
    for (name, _) in listed.iter().filter(|(name, _)| name.ends_with(".tmp")) {
        files.remove(name).ok();
    }
    // None of these is there before the first segment is, and the last segment never goes.
    let is_known = listed.iter().any(|(name, length)| {
        let is_mark = name == mark::NAME && *length > 0;
        checkpoint::is_name(name) || is_mark || index::is_name(name)
    });
    let mut found: Vec<(u64, String)> = listed
        .into_iter()
        .filter_map(|(name, _)| Some((segment::first_seq(&name)?, name)))
        .collect();
    found.sort_unstable();
    let is_any = !found.is_empty() || is_known;
    let mut headers: Vec<Header> = Vec::with_capacity(found.len());
    for (first_seq, name) in found {
        let file = files.open(&name).map_err(system("opening a segment"))?;
        let header = Header::read(&*file).map_err(system("reading a segment"))?;
        match header {
            Ok(header) if header.first_seq == first_seq => {
                if headers.first().is_some_and(|other| other.log != header.log) {
                    return Err(OpenError::Mixed);
                }
                headers.push(header);
            }
            Err(HeaderFault::Version(version)) => return Err(OpenError::Version(version)),
            // No crash leaves one behind: it has its name only since its header is synced.
            Ok(_) | Err(HeaderFault::Bad) => {
                worsen(health, Some(format!("the header of {name} is damaged")));
                let log = headers.first().map(|it| it.log);
                let again = header_again(&*file, first_seq, log);
                headers.extend(again.map_err(system("reading a segment"))?);
            }
        }
    }
    match headers.is_empty() && is_any {
        true => Err(OpenError::Unreadable),
        false => Ok(headers),
    }
}

/// What a damaged header must have said, where the first batch is whole.
pub(super) fn header_again(
    file: &dyn File,
    first_seq: u64,
    log: Option<u64>,
) -> io::Result<Option<Header>> {
    let mut short = [0; 4];
    file.read_at(&mut short, HEADER_BYTES + 52)?;
    let log = log.unwrap_or(u64::from(u32::from_le_bytes(short)));
    let step = Walk::new(file, log, HEADER_BYTES, file.length()?).next()?;
    Ok(match step {
        Step::Batch(_, found) if found.batch.seq == first_seq => Some(Header {
            log,
            first_seq,
            first_offset: found.batch.first_offset,
            time_ns: found.batch.time_ns,
        }),
        Step::Batch(..) | Step::End | Step::Bad => None,
    })
}

/// Looks at a segment that another follows: by its index, else batch by batch.
fn sealed_segment(files: &dyn Files, header: Header, next: Header) -> Result<Scanned, OpenError> {
    let name = header.name();
    let file = files.open(&name).map_err(system("opening a segment"))?;
    let length = file.length().map_err(system("measuring a segment"))?;
    let is_joined = |end: &End| end.seq == next.first_seq && end.offset == next.first_offset;
    if let Some((index, end)) = read_index(files, header)
        && is_joined(&end)
    {
        let damage = (length < end.bytes).then(|| format!("{name} is shorter than it was"));
        return Ok(Scanned { index, end, damage });
    }
    let mut scanned = scan(&*file, header, length).map_err(system("reading a segment"))?;
    if scanned.damage.is_none() && !is_joined(&scanned.end) {
        scanned.damage = Some(format!("what follows {name} is missing"));
    }
    if let Some(what) = &mut scanned.damage {
        *what = format!("{name}: {what}");
        // Readers are to look for what comes after the damage, to the end.
        scanned.end.bytes = length;
        (scanned.end.seq, scanned.end.offset) = (next.first_seq, next.first_offset);
    }
    let Scanned { index, end, damage } = scanned;
    if damage.is_none() {
        write_index(files, &index, &Sealed { header, end });
    }
    Ok(Scanned { index, end, damage })
}

/// Walks through a segment, to where it is no longer whole.
fn scan(file: &dyn File, header: Header, length: u64) -> io::Result<Scanned> {
    let mut index = Index::default();
    let mut end = End {
        seq: header.first_seq,
        offset: header.first_offset,
        time_ns: header.time_ns,
        bytes: HEADER_BYTES,
    };
    let mut walk = Walk::new(file, header.log, HEADER_BYTES, length);
    loop {
        match walk.next()? {
            Step::Batch(at, found) => {
                let batch = found.batch;
                if (batch.seq, batch.first_offset) != (end.seq, end.offset) {
                    let damage = Some(format!("records from {} are missing", end.offset));
                    return Ok(Scanned { index, end, damage });
                }
                index.note(&batch, at);
                end = End {
                    seq: batch.seq + 1,
                    offset: batch.next_offset(),
                    time_ns: batch.time_ns,
                    bytes: walk.at(),
                };
            }
            Step::End => {
                return Ok(Scanned {
                    index,
                    end,
                    damage: None,
                });
            }
            Step::Bad => {
                let damage = Some(format!("records from {} are damaged", end.offset));
                return Ok(Scanned { index, end, damage });
            }
        }
    }
}

/// What comes in a segment after a place where it is damaged.
#[derive(Default)]
struct After {
    /// Up to where all was synced when the last of it was written.
    settled: u64,
    /// How the last whole batch ends.
    end: Option<End>,
}

fn after(file: &dyn File, header: Header, end: &End, length: u64) -> io::Result<After> {
    let mut after = After::default();
    let (mut at, mut seq) = (end.bytes + 1, end.seq);
    while let Some((begin, found)) = find_after(file, header.log, (at, length), seq)? {
        at = begin + found.bytes as u64;
        seq = found.batch.seq;
        after.settled = after.settled.max(found.settled);
        after.end = Some(End {
            seq: seq + 1,
            offset: found.batch.next_offset(),
            time_ns: found.batch.time_ns,
            bytes: at,
        });
    }
    Ok(after)
}

/// What is wrong with the last segment.
struct Damage {
    what: String,
    /// Batches may be missing at its end of which nobody knows how many they were.
    is_tail_lost: bool,
}

/// Looks at the last segment, and cuts a torn tail.
fn last_segment(
    files: &dyn Files,
    header: Header,
    said: Option<Said>,
    health: &Health,
) -> Result<(Arc<Active>, End, Option<Damage>), OpenError> {
    let file = files.open(&header.name());
    let file = file.map_err(system("opening the last segment"))?;
    let reading = system("reading the last segment");
    let looked = look(&*file, header, said).map_err(reading)?;
    let Looked {
        scanned: Scanned { index, mut end, .. },
        damage,
        length,
        shown,
    } = looked;
    if damage.is_none() && *health == Health::Good {
        cut(files, &*file, end.bytes, length).map_err(system("cutting a torn tail"))?;
        // What is read from now on must not be lost by a power cut that comes later.
        file.sync().map_err(system("syncing the last segment"))?;
        files.sync_dir().map_err(system("syncing the directory"))?;
    }
    if let Some(shown) = shown {
        end = shown;
    }
    let active = Arc::new(Active {
        header,
        file,
        index: Mutex::new(index),
        readable: AtomicU64::new(end.bytes),
    });
    Ok((active, end, damage))
}

struct Looked {
    scanned: Scanned,
    damage: Option<Damage>,
    length: u64,
    /// How the segment ends, where what is damaged is followed by what is not.
    shown: Option<End>,
}

/// Tells a torn tail from damage.
fn look(file: &dyn File, header: Header, said: Option<Said>) -> io::Result<Looked> {
    let length = file.length()?;
    let scanned = scan(file, header, length)?;
    let after = match scanned.damage {
        Some(_) => after(file, header, &scanned.end, length)?,
        None => After::default(),
    };
    let settled = said.map_or(0, |said| said.bytes).max(after.settled);
    let is_damage = settled > scanned.end.bytes;
    let damage = is_damage.then(|| Damage {
        what: match &scanned.damage {
            Some(what) => format!("{}: {what}", header.name()),
            None => format!("{} is shorter than it was", header.name()),
        },
        // The mark may be old: it says how many there were only where it speaks of the whole file.
        is_tail_lost: after.end.is_none() && said.is_none_or(|said| said.bytes != length),
    });
    let mut shown = after.end.filter(|_| is_damage);
    if let (true, Some(said)) = (is_damage, said) {
        // How many records were lost at the end nobody knows; no number is used again.
        let end = shown.get_or_insert(scanned.end);
        end.seq = end.seq.max(said.seq);
    }
    Ok(Looked {
        scanned,
        damage,
        length,
        shown,
    })
}

/// The name of what was cut last.
const TORN: &str = "torn";

/// Cuts a tail that was never whole, and keeps it in a file of its own: a person may look at it.
fn cut(files: &dyn Files, file: &dyn File, at: u64, length: u64) -> io::Result<()> {
    if at >= length {
        return Ok(());
    }
    let bytes = usize::try_from((length - at).min(TORN_BYTES_MAX)).unwrap_or_default();
    let mut tail = vec![0; bytes];
    let got = file.read_at(&mut tail, at)?;
    // Only a help: where there is no space for it, there is none.
    if let Ok(torn) = files.create(TORN) {
        torn.write_at(&tail[..got], 0).ok();
    }
    file.truncate(at)
}
