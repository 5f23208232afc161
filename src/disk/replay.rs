//! What a role is told when its log is opened: its checkpoint, and every batch after it. And what could
//! not be told, since it is neither there nor whole: a role that folds batches into a state has none
//! without them.

use std::io;
use std::sync::Arc;

use crate::model::store::{Batch, Told};

use super::checkpoint;
use super::log::Log;
use super::reader::read_index;
use super::segment::{HEADER_BYTES, Header, Step, Walk, find_after};
use super::view::Health;

/// Places that are named; of more it is said how many they are.
const NAMED_MAX: usize = 8;

/// What is told, in the order of its numbers, and what is missing of it.
#[derive(Debug)]
struct Missing {
    /// The batch that is to come next.
    next: u64,
    /// The offset that it has, as far as is known.
    offset: Option<u64>,
    /// From which offset to before which.
    places: Vec<(u64, u64)>,
}

impl Missing {
    /// All batches before one are known.
    fn before(next: u64) -> Self {
        Self {
            next,
            offset: None,
            places: Vec::new(),
        }
    }

    /// A segment begins with an offset.
    fn begin(&mut self, first_offset: u64) {
        // What is missing before the first of them began nobody knows where.
        self.offset
            .get_or_insert(if self.next == 0 { 0 } else { first_offset });
    }

    /// A whole batch was met; it may be one that is known already.
    fn told(&mut self, batch: &Batch) {
        if batch.seq > self.next {
            let from = self.offset.unwrap_or_default();
            self.places.push((from, batch.first_offset));
        }
        self.next = self.next.max(batch.seq + 1);
        self.offset = Some(batch.next_offset());
    }

    /// All was met. What is missing in words, where anything is: up to the batch that the next one
    /// has, and more, where the tail was lost.
    fn end(mut self, next: u64, offset: u64, is_tail_lost: bool) -> Option<String> {
        let from = self.offset.unwrap_or_default();
        let is_open = is_tail_lost || self.next > next;
        if !is_open && self.next < next {
            self.places.push((from, offset));
        }
        let range = |(from, to): &(u64, u64)| match to.checked_sub(*from) {
            None | Some(0) => format!("what was stored at {from}"),
            Some(1) => format!("record {from}"),
            Some(_) => format!("records {from} to {}", to - 1),
        };
        let mut words: Vec<String> = self.places.iter().take(NAMED_MAX).map(range).collect();
        if self.places.len() > NAMED_MAX {
            words.push(format!("{} places more", self.places.len() - NAMED_MAX));
        }
        if is_open {
            words.push(format!("all from record {from} on"));
        }
        (!words.is_empty()).then(|| format!("{}: damaged or missing", words.join(", ")))
    }
}

impl Log {
    /// Tells what a role has to know: its checkpoint, and every batch after it.
    /// And which records it could not tell, where there are such.
    pub(super) fn replay(
        &mut self,
        is_tail_lost: bool,
        tell: &mut dyn FnMut(Told),
    ) -> io::Result<()> {
        let view = self.shared.view();
        let files = Arc::clone(&self.shared.files);
        let first = view
            .sealed
            .first()
            .map_or(view.active.header, |it| it.header);
        let mut from = first.first_seq;
        // Without a checkpoint all there ever was is to be told.
        let mut missing = Missing::before(0);
        match checkpoint::read(&*files, self.shared.log)? {
            checkpoint::Found::Whole(through, data) => {
                if through >= self.next_seq || through + 1 < first.first_seq {
                    let why = "the checkpoint and the segments do not fit together";
                    self.shared.worsen(Health::ReadOnly(why.to_owned()));
                }
                from = through + 1;
                missing = Missing::before(from);
                self.through = Some(through);
                self.checkpoint_bytes = data.len() as u64;
                tell(Told::Restored(data));
            }
            checkpoint::Found::Nothing if first.first_seq == 0 => {}
            checkpoint::Found::Nothing | checkpoint::Found::Bad => {
                let why = "the checkpoint is missing or damaged";
                self.shared.worsen(Health::ReadOnly(why.to_owned()));
            }
        }
        let sealed = view.sealed.iter().filter(|it| it.end.seq > from);
        let spans = sealed.map(|it| (it.header, it.end.bytes));
        for (header, end) in spans.chain([(view.active.header, self.at)]) {
            missing.begin(header.first_offset);
            self.replay_segment((header, end), (from, &mut missing), tell)?;
        }
        if let Some(what) = missing.end(self.next_seq, self.next_offset, is_tail_lost) {
            tell(Told::Incomplete(what));
        }
        Ok(())
    }

    fn replay_segment(
        &mut self,
        (header, end): (Header, u64),
        (from, missing): (u64, &mut Missing),
        tell: &mut dyn FnMut(Told),
    ) -> io::Result<()> {
        let file = self.shared.files.open(&header.name())?;
        let index = read_index(&*self.shared.files, header);
        let begin = index.map_or(HEADER_BYTES, |(index, _)| index.before_seq(from));
        let mut walk = Walk::new(&*file, header.log, begin, end);
        let mut seq = header.first_seq;
        loop {
            match walk.next()? {
                Step::Batch(_, found) => {
                    seq = found.batch.seq;
                    missing.told(&found.batch);
                    if seq >= from {
                        self.since_bytes += found.bytes as u64;
                        tell(Told::Replayed(found.batch));
                    }
                }
                Step::End => return Ok(()),
                Step::Bad => {
                    let why = format!("{}: a batch after {seq} is damaged", header.name());
                    self.shared.worsen(Health::ReadOnly(why));
                    let span = (walk.at() + 1, end);
                    let Some((at, _)) = find_after(&*file, header.log, span, seq)? else {
                        return Ok(());
                    };
                    walk = Walk::new(&*file, header.log, at, end);
                }
            }
        }
    }
}
