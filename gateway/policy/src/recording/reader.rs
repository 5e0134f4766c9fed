//! Reads a recording.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::{Line, MAX_LINE_BYTES, RecordError};

/// Reads a recording line by line. A line that is none is an error and the next one follows it.
#[derive(Debug)]
pub struct RecordReader {
    file: BufReader<File>,
    path: PathBuf,
    line: u64,
    ended: bool,
}

impl RecordReader {
    /// Opens a recording.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let file = File::open(path).map_err(|source| RecordError::Read { path: path.to_owned(), source })?;
        Ok(Self { file: BufReader::new(file), path: path.to_owned(), line: 0, ended: false })
    }

    /// The number of the line that was read last, from 1.
    #[must_use]
    pub const fn line(&self) -> u64 {
        self.line
    }

    fn read(&mut self) -> io::Result<Option<Result<Line, String>>> {
        let mut bytes = Vec::new();
        let read = self.file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        if bytes.pop_if(|last| *last == b'\n').is_none() && read as u64 == MAX_LINE_BYTES {
            self.file.skip_until(b'\n')?;
            return Ok(Some(Err(format!("it is longer than {MAX_LINE_BYTES} bytes"))));
        }
        Ok(Some(serde_json::from_slice(&bytes).map_err(|error| error.to_string())))
    }
}

impl Iterator for RecordReader {
    type Item = Result<Line, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.read() {
            Ok(None) => None,
            Ok(Some(line)) => {
                Some(line.map_err(|reason| RecordError::Line { path: self.path.clone(), line: self.line, reason }))
            }
            Err(source) => {
                self.ended = true;
                Some(Err(RecordError::Read { path: self.path.clone(), source }))
            }
        }
    }
}
