//! Decisions written to a file, for `tidegate plugin replay`: JSON lines, a header and then one line per
//! decision. A restarted gateway appends another header, since its shards may be others.
//!
//! Recording never delays a request: what the disk does not take in time is dropped and counted.

mod reader;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::JoinHandle,
};

use serde::{Deserialize, Serialize};
use tidegate_types::settings::RecordSettings;

pub use self::reader::RecordReader;

/// Decisions that wait for the disk.
const WAITING: usize = 4096;
/// Bytes of one line.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Where decisions were taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The shards by name, in the order of their numbers.
    pub shards: Vec<String>,
    /// The region of each shard that has one.
    #[serde(default)]
    pub regions: BTreeMap<String, String>,
    /// The copies of the directories.
    #[serde(default)]
    pub directories: BTreeMap<String, BTreeMap<String, String>>,
    /// The shards of each tenant that may not be on all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, Vec<String>>,
    /// When the gateway started, RFC 3339.
    pub at: String,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The hook asked.
    pub hook: String,
    /// The plugin's name in the configuration.
    pub plugin: String,
    /// The digest of the version asked.
    pub digest: String,
    /// The generation it was part of.
    pub generation: u64,
    /// What it was asked. Whoever records it has redacted secret inputs.
    pub question: serde_json::Value,
    /// What it answered.
    pub answer: serde_json::Value,
}

/// One line of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// What follows was decided here.
    Header(Header),
    /// A decision.
    Record(Box<Record>),
}

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be written to.
    #[error("cannot record to {}: {source}; change `[policies.record] file`, or its folder", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line is not of a recording.
    #[error("{}:{line}: not a line of a recording: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// What became of the decisions so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Written.
    pub recorded: u64,
    /// Not written: the disk was too slow, or the line too long.
    pub dropped: u64,
}

/// Takes decisions and writes them in a thread of its own.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    sender: Option<SyncSender<Record>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    recorded: AtomicU64,
    dropped: AtomicU64,
    stopped: AtomicBool,
}

impl Recorder {
    /// Opens the file for appending, readable by its owner alone, and writes the header.
    ///
    /// # Errors
    /// The file cannot be written to.
    pub fn open(settings: &RecordSettings, header: Header) -> Result<Self, RecordError> {
        let failed = |source| RecordError::Write { path: settings.file.clone(), source };
        let shared = Arc::new(Shared::default());
        let out = Out::open(settings, &header).map_err(failed)?;
        let (sender, receiver) = sync_channel(WAITING);
        let counts = Arc::clone(&shared);
        let writer = std::thread::Builder::new().name("policy-record".to_owned()).spawn(move || {
            write_all(out, &receiver, &counts);
        });
        Ok(Self { shared, sender: Some(sender), writer: Some(writer.map_err(failed)?) })
    }

    /// Whether decisions are still taken: ask before putting one together.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        !self.shared.stopped.load(Ordering::Relaxed)
    }

    /// Takes a decision. Never blocks; drops and counts it where too many wait.
    pub fn record(&self, record: Record) {
        if !self.is_recording() {
            return;
        }
        let taken = self.sender.as_ref().is_some_and(|sender| sender.try_send(record).is_ok());
        if !taken {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What became of the decisions so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            recorded: self.shared.recorded.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Recorder {
    /// Waits until what was taken is written.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has written what it could.
            let _ = writer.join();
        }
    }
}

/// The file, and how much more may be in it.
struct Out {
    file: BufWriter<File>,
    path: PathBuf,
    left: u64,
}

/// What became of a line.
enum Put {
    Written,
    TooLong,
    Full,
}

impl Out {
    fn open(settings: &RecordSettings, header: &Header) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).append(true).read(true).mode(0o600).open(&settings.file)?;
        let size = file.seek(SeekFrom::End(0))?;
        let left = settings.max_bytes.saturating_sub(size);
        let mut out = Self { file: BufWriter::new(file), path: settings.file.clone(), left };
        if size > 0 && !out.ends_with_line_end()? {
            // A crash left half a line: the header must not become its other half.
            out.write(b"\n")?;
        }
        out.put(&Line::Header(header.clone()))?;
        out.file.flush()?;
        Ok(out)
    }

    fn ends_with_line_end(&mut self) -> io::Result<bool> {
        let file = self.file.get_mut();
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }

    fn put(&mut self, line: &Line) -> io::Result<Put> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let size = text.len() as u64;
        if size > MAX_LINE_BYTES {
            return Ok(Put::TooLong);
        }
        if size > self.left {
            self.left = 0;
            return Ok(Put::Full);
        }
        self.write(&text).map(|()| Put::Written)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.left = self.left.saturating_sub(bytes.len() as u64);
        Ok(())
    }
}

/// Writes what comes until nothing can come any more, or the file is full or broken.
fn write_all(mut out: Out, records: &Receiver<Record>, shared: &Shared) {
    let outcome = write_until_full(&mut out, records, shared);
    shared.stopped.store(true, Ordering::Relaxed);
    let Counts { recorded, dropped } =
        Counts { recorded: shared.recorded.load(Ordering::Relaxed), dropped: shared.dropped.load(Ordering::Relaxed) };
    let file = out.path.display();
    match outcome.and_then(|put| out.file.flush().map(|()| put)) {
        Ok(Put::Full) => tracing::warn!(%file, recorded, dropped, "recording of decisions stopped: the file is full"),
        Ok(_) => tracing::info!(%file, recorded, dropped, "recording of decisions ended"),
        Err(error) => tracing::error!(%file, recorded, dropped, %error, "recording of decisions stopped"),
    }
}

fn write_until_full(out: &mut Out, records: &Receiver<Record>, shared: &Shared) -> io::Result<Put> {
    loop {
        let record = match records.try_recv() {
            Ok(record) => record,
            Err(TryRecvError::Disconnected) => return Ok(Put::Written),
            Err(TryRecvError::Empty) => {
                // Nothing to do: let readers of the file see what there is.
                out.file.flush()?;
                match records.recv() {
                    Ok(record) => record,
                    Err(_) => return Ok(Put::Written),
                }
            }
        };
        match out.put(&Line::Record(Box::new(record)))? {
            Put::Written => shared.recorded.fetch_add(1, Ordering::Relaxed),
            Put::TooLong => shared.dropped.fetch_add(1, Ordering::Relaxed),
            Put::Full => return Ok(Put::Full),
        };
    }
}

#[cfg(test)]
mod tests;
