//! `zmqnet init`: a first manifest that works.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use super::exit::{Exit, Failure, Outcome};
use super::ui;

/// Write a small topology.yaml that works, to begin with.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where. Default: here.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

const TEMPLATE: &str = include_str!("init.yaml");

impl Args {
    /// Writes the file, unless there is one.
    pub fn run(self) -> Outcome {
        let path = self.dir.join("topology.yaml");
        let shown = path.display().to_string();
        let written = fs::create_dir_all(&self.dir)
            .and_then(|()| File::create_new(&path))
            .and_then(|mut file| file.write_all(TEMPLATE.as_bytes()));
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.exists() => {
                let message = format!("`{shown}` is there already and was left as it is");
                return Err(Failure::new(Exit::Failed, message)
                    .help("name another directory: `zmqnet init DIR`"));
            }
            Err(error) => {
                let message = format!("cannot write `{shown}`: {error}");
                return Err(
                    Failure::new(Exit::File, message).help("name a directory: `zmqnet init DIR`")
                );
            }
        }
        ui::data(&shown);
        ui::talk(format_args!("next: zmqnet apply {shown}"));
        Ok(Exit::Done)
    }
}
