//! What a process finds, and what it does before it takes records: judge the end of the log, make it durable, take the next epoch.

use std::{collections::VecDeque, sync::Arc};

use tidegate_types::mutation::Sequence;

use crate::{
    disk::{Disk, DiskError, read_full, write_all},
    error::{Damage, OpenError},
    format::{FileName, Seed, segment_name},
    identity::{Exists, IDENTITY, Identity, JournalId},
    reader::{Found, KeptRecord, Next, Remainder, SegmentReader, judge_remainder, open_segment},
};

/// Bytes written at a time.
const CHUNK: usize = 1 << 20;

/// A log that may be continued.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Of this opening.
    pub(crate) identity: Identity,
    /// The last record; 0 without any.
    pub(crate) last: Sequence,
    /// Oldest first.
    pub(crate) segments: VecDeque<Kept>,
    /// The last segment, open, to be continued.
    pub(crate) current: Option<Found>,
    pub(crate) torn: Option<Torn>,
}

/// A segment of the log.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) name: String,
    pub(crate) first: Sequence,
    /// Of the whole file.
    pub(crate) bytes: u64,
    /// Where its records end; of segments that are not the last, no more than an upper bound until they are read.
    pub(crate) end: u64,
}

/// A write that was under way when the process or the power went, and was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The file's name in the journal's directory.
    pub file: String,
    /// Where the log ends, in bytes.
    pub offset: u64,
    /// How many bytes behind it were cleared.
    pub cleared: u64,
}

/// Makes a directory ready: the log in it ends where records can be added, all of it durable.
///
/// # Errors
/// [`OpenError`]: nothing was changed, but for what was torn.
pub(crate) fn open(disk: &dyn Disk) -> Result<Opened, OpenError> {
    let found = Identity::read(disk)?;
    let firsts = survey(disk)?;
    let Some(before) = found else {
        if let Some(first) = firsts.first() {
            return Err(OpenError::damaged(&segment_name(*first), 0, Damage::NoIdentity));
        }
        let identity = Identity { epoch: 1, ..Identity::new() };
        identity.write(disk, Exists::No)?;
        return Ok(Opened { identity, last: Sequence(0), segments: VecDeque::new(), current: None, torn: None });
    };
    let mut segments = VecDeque::new();
    let mut current = None;
    for first in firsts {
        let found = open_segment(disk, before.journal, first)?;
        segments.push_back(Kept { name: found.name.clone(), first, bytes: found.bytes, end: found.bytes });
        current = Some(found);
    }
    let (current, end) = match current {
        Some(segment) => {
            let end = finish(disk, segment, &before)?;
            (Some(end.0), end.1)
        }
        None => (None, End { last: Sequence(0), offset: 0, torn: None }),
    };
    if end.last < before.reached {
        return Err(OpenError::damaged(
            segments.back().map_or(IDENTITY, |kept| &kept.name),
            end.offset,
            Damage::Cut { reached: before.reached, last: end.last },
        ));
    }
    if let Some(kept) = segments.back_mut() {
        kept.end = end.offset;
    }
    // A name that the process before gave may not be durable, where only the process ended.
    disk.sync_directory().map_err(DiskError::of("sync the directory of", IDENTITY))?;
    let identity = Identity { epoch: before.epoch + 1, reached: end.last, ..before };
    identity.write(disk, Exists::Yes)?;
    Ok(Opened { identity, last: end.last, segments, current, torn: end.torn })
}

/// The first sequences of all segments, in order. What was made in advance and never used is removed.
fn survey(disk: &dyn Disk) -> Result<Vec<Sequence>, OpenError> {
    let mut firsts = Vec::new();
    for name in disk.list().map_err(DiskError::of("list the directory of", IDENTITY))? {
        match FileName::parse(&name) {
            FileName::Segment(first) => firsts.push(first),
            FileName::Scratch => disk.remove(&name).map_err(DiskError::of("remove", &name))?,
            FileName::Other => {}
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Where a log ends.
struct End {
    last: Sequence,
    offset: u64,
    torn: Option<Torn>,
}

/// Finds the end of the last segment, clears what is torn, and makes it durable.
fn finish(disk: &dyn Disk, segment: Found, before: &Identity) -> Result<(Found, End), OpenError> {
    let seed = Seed::of(before.journal, segment.first);
    let limit = segment.bytes;
    let mut reader = SegmentReader::new(segment, before, 0, limit);
    let damage = loop {
        match reader.next()? {
            Next::Record(_) => {}
            Next::End => break None,
            Next::Bad(damage) => break Some(damage),
        }
    };
    let (offset, batch_offset, missing) = (reader.offset(), reader.batch_offset(), reader.expected());
    let segment = reader.into_segment();
    let refuse = |offset, damage| Err(OpenError::damaged(&segment.name, offset, damage));
    match damage {
        // A write that is torn leaves no checksum that is right over a head that is wrong.
        Some(damage @ (Damage::Gap { .. } | Damage::Epoch(_) | Damage::Length)) => return refuse(offset, damage),
        // A segment has its name when its first records are durable.
        _ if missing == segment.first => return refuse(offset, damage.unwrap_or(Damage::RecordHead)),
        _ => {}
    }
    let torn = match judge_remainder(&segment, seed, offset, missing)? {
        Remainder::Proof { .. } => return refuse(offset, damage.unwrap_or(Damage::RecordHead)),
        Remainder::Clean => None,
        Remainder::Torn { until } => {
            // What is left here would read as a record again once a new one fills the hole before it.
            clear(&segment, offset, until)?;
            Some(Torn { file: segment.name.clone(), offset, cleared: until - offset })
        }
    };
    // What can be read may be in the page cache only: the process before ended before its sync, or because of it, and then
    // the pages count as clean though the disk never took them. Written again, they are synced by ours.
    rewrite(&segment, batch_offset, offset)?;
    segment.file.sync_data().map_err(DiskError::of("sync", &segment.name))?;
    disk.sync_directory().map_err(DiskError::of("sync the directory of", &segment.name))?;
    Ok((segment, End { last: Sequence(missing.0 - 1), offset, torn }))
}

fn clear(segment: &Found, from: u64, until: u64) -> Result<(), DiskError> {
    let zeros = vec![0; CHUNK];
    pieces(from, until, |at, bytes| write_all(&*segment.file, at, &zeros[..bytes]))
        .map_err(DiskError::of("clear the end of", &segment.name))
}

fn rewrite(segment: &Found, from: u64, until: u64) -> Result<(), DiskError> {
    let mut chunk = vec![0; CHUNK];
    pieces(from, until, |at, bytes| {
        let read = read_full(&*segment.file, at, &mut chunk[..bytes])?;
        write_all(&*segment.file, at, &chunk[..read])
    })
    .map_err(DiskError::of("write the last records again to", &segment.name))
}

/// Does something with every piece of a range that is not larger than a chunk.
fn pieces(from: u64, until: u64, mut with: impl FnMut(u64, usize) -> std::io::Result<()>) -> std::io::Result<()> {
    let mut at = from;
    while at < until {
        let bytes = usize::try_from(until - at).unwrap_or(CHUNK).min(CHUNK);
        with(at, bytes)?;
        at += bytes as u64;
    }
    Ok(())
}

/// What a journal kept, oldest first, read from the disk as it is asked for.
///
/// Whoever opens a journal must read it to its end before releasing anything: only then has all of it been looked at,
/// and an error here is a reason not to start, as one of the opening is.
#[derive(Debug)]
#[must_use = "a journal that was not read to its end was not looked at for damage"]
pub struct Recovered {
    disk: Arc<dyn Disk>,
    identity: Identity,
    first: Sequence,
    last: Sequence,
    torn: Option<Torn>,
    /// Segments that were not begun.
    ahead: VecDeque<Kept>,
    reader: Option<SegmentReader>,
    epoch: u64,
    ended: bool,
}

impl Recovered {
    pub(crate) fn new(disk: Arc<dyn Disk>, opened: &Opened) -> Self {
        Self {
            disk,
            identity: opened.identity,
            first: opened.segments.front().map_or(Sequence(opened.last.0 + 1), |kept| kept.first),
            last: opened.last,
            torn: opened.torn.clone(),
            ahead: opened.segments.clone(),
            reader: None,
            epoch: 0,
            ended: false,
        }
    }

    /// Which journal this is.
    #[must_use]
    pub fn journal(&self) -> JournalId {
        self.identity.journal
    }

    /// The number of this opening, larger than that of every one before.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.identity.epoch
    }

    /// The oldest record that is kept, if any is; else the next to be.
    #[must_use]
    pub fn oldest(&self) -> Sequence {
        self.first
    }

    /// The newest record; 0 if there never was one.
    #[must_use]
    pub fn newest(&self) -> Sequence {
        self.last
    }

    /// A write that was cut off, if one was.
    #[must_use]
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    fn read(&mut self) -> Result<Option<KeptRecord>, OpenError> {
        loop {
            if self.reader.is_none() {
                let Some(kept) = self.ahead.pop_front() else { return Ok(None) };
                let segment = open_segment(&*self.disk, self.identity.journal, kept.first)?;
                self.reader = Some(SegmentReader::new(segment, &self.identity, self.epoch, kept.end));
            }
            let Some(reader) = &mut self.reader else { return Ok(None) };
            match reader.next()? {
                Next::Record(record) => return Ok(Some(record)),
                Next::Bad(damage) => {
                    return Err(OpenError::damaged(&reader.segment().name, reader.offset(), damage));
                }
                Next::End => {
                    let found = self.ahead.front().map_or(Sequence(self.last.0 + 1), |next| next.first);
                    let expected = reader.expected();
                    if expected != found {
                        let damage = Damage::Gap { expected, found };
                        return Err(OpenError::damaged(&reader.segment().name, reader.offset(), damage));
                    }
                    self.epoch = reader.epoch();
                    self.reader = None;
                }
            }
        }
    }
}

impl Iterator for Recovered {
    type Item = Result<KeptRecord, OpenError>;

    /// The next record; after an error nothing.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read().transpose();
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}
