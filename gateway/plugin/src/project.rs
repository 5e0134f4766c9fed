//! A policy's folder: `policy.toml` says how it is built and what comes out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::error::PluginError;

/// The file that makes a folder a policy's.
pub const FILE: &str = "policy.toml";
/// The golden vectors of a policy's folder.
pub const VECTORS: &str = "vectors.json";

/// `policy.toml`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The language it is written in, for messages.
    pub language: String,
    /// The program and its arguments, run in the folder.
    pub build: Vec<String>,
    /// What the build makes, relative to the folder.
    pub output: PathBuf,
}

/// A policy's folder.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder.
    pub dir: PathBuf,
    /// Its `policy.toml`.
    pub manifest: Manifest,
}

impl Project {
    /// The policy in this folder.
    ///
    /// # Errors
    /// It has no `policy.toml`, or one that cannot be used.
    pub fn open(dir: &Path) -> Result<Self, PluginError> {
        let file = dir.join(FILE);
        if !file.is_file() {
            return Err(PluginError::NoProject { dir: dir.to_owned() });
        }
        let text = fs::read_to_string(&file).map_err(PluginError::reading(&file))?;
        let wrong = |detail: String| PluginError::Manifest { file: file.clone(), detail };
        let manifest: Manifest =
            toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        if manifest.build.first().is_none_or(String::is_empty) {
            return Err(wrong("build is empty: it takes the program and its arguments, as a list".into()));
        }
        Ok(Self { dir: dir.to_owned(), manifest })
    }

    /// What the build makes.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.dir.join(&self.manifest.output)
    }

    /// The folder around a file that has a `policy.toml`.
    #[must_use]
    pub fn around(file: &Path) -> Option<PathBuf> {
        let file = file.canonicalize().ok()?;
        file.ancestors().skip(1).find(|dir| dir.join(FILE).is_file()).map(Path::to_owned)
    }
}

/// The policy that a path names: the file itself, or what the build of that folder makes.
///
/// # Errors
/// It is a folder that has no policy, or one that was not built.
pub fn artifact(path: &Path) -> Result<PathBuf, PluginError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let output = Project::open(path)?.output();
    if output.is_file() { Ok(output) } else { Err(PluginError::NotBuilt { dir: path.to_owned(), output }) }
}

/// The vectors of a policy: those named, else `vectors.json` beside it, else that of its folder.
///
/// # Errors
/// There are none.
pub fn vectors(named: &[PathBuf], policy: &Path) -> Result<Vec<PathBuf>, PluginError> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let beside = policy.with_file_name(VECTORS);
    let around = || Project::around(policy).map(|dir| dir.join(VECTORS));
    Some(beside)
        .filter(|file| file.is_file())
        .or_else(|| around().filter(|file| file.is_file()))
        .map(|file| vec![file])
        .ok_or_else(|| PluginError::NoVectors { policy: policy.to_owned() })
}
