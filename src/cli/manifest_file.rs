//! Which manifest a command is about, and its bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Global;
use super::environment::Environment;
use super::exit::{Exit, Failure};
use crate::manifest::peers;
use crate::model::limits::source::FILE_BYTES_MAX;

/// Where a manifest is looked for when nothing names one, in this order.
const PLACES: [&str; 5] = [
    "topology.yaml",
    "topology.yml",
    "topology.json",
    "zmqnet.yaml",
    "peers.json",
];

/// The file that stands for standard input.
const STDIN: &str = "-";

/// The manifest a command is about: its argument, `-f`, `-p`, `$ZMQNET_FILE`, `$PEERS_PATH`, or the
/// first of the usual places that is there.
pub fn find(
    argument: Option<&Path>,
    global: &Global,
    environment: &Environment,
) -> Result<PathBuf, Failure> {
    let written = argument
        .or(global.file.as_deref())
        .or(global.peers.as_deref());
    if let Some(path) = written {
        return Ok(path.to_owned());
    }
    let named = ["ZMQNET_FILE", "PEERS_PATH"];
    if let Some(path) = named.iter().find_map(|name| environment.get(name)) {
        return Ok(path.into());
    }
    let here = PLACES.iter().map(PathBuf::from).find(|path| path.exists());
    here.ok_or_else(|| {
        let places: Vec<String> = PLACES.iter().map(|place| format!("./{place}")).collect();
        let tried = format!(
            "no manifest found: tried -f, -p, $ZMQNET_FILE and $PEERS_PATH (not given), {}",
            places.join(", ")
        );
        Failure::new(Exit::File, tried)
            .help("name one: `zmqnet check FILE`, or write one: `zmqnet init`")
    })
}

/// The bytes of a file, at most one more than a manifest may have; `-` is standard input.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        let shown = shown(path);
        Failure::new(Exit::File, format!("cannot read `{shown}`: {why}"))
    };
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    if path.as_os_str() == STDIN {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    }
    .map_err(failed)?;
    Ok(bytes)
}

/// A manifest's name in messages.
pub fn shown(path: &Path) -> String {
    if path.as_os_str() == STDIN {
        return "<stdin>".to_owned();
    }
    path.display().to_string()
}

/// What a network is called whose manifest does not say it: the file's stem, as a name.
pub fn stem(path: &Path) -> String {
    if path.as_os_str() == STDIN {
        return "stdin".to_owned();
    }
    let stem = path.file_stem().unwrap_or_default();
    peers::name_of(&stem.to_string_lossy())
}
