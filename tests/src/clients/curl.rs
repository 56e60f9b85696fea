//! curl as a client. It only reads; the strict [`Parser`] turns its output into events, and the test passes the cursor when it
//! restarts it.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use super::{Delivered, Line, Source};
use crate::{
    process::{Process, find_on_path},
    sse::{Item, Parser},
};

/// Between two starts.
const RETRY_INTERVAL: Duration = Duration::from_millis(300);
/// How curl ends: 0 after a clean end; otherwise with what became of the connection.
const ENDS: [i32; 8] = [
    0,  // the end
    7,  // no connection
    16, // HTTP/2 ended without a word
    18, // less than announced
    52, // no answer
    55, // failed to send
    56, // failed to receive
    92, // an HTTP/2 stream that was not closed cleanly
];

/// `curl -sN URL`, over and over.
#[derive(Debug)]
pub struct Curl {
    flags: Vec<String>,
    url: String,
    cursor: String,
    folder: PathBuf,
    run: Option<Run>,
    next: Instant,
    /// How each run ended.
    ends: Vec<i32>,
}

#[derive(Debug)]
struct Run {
    process: Process,
    output: File,
    parser: Parser,
}

impl Curl {
    /// Curl with `flags`, beginning after `cursor`.
    ///
    /// # Errors
    /// When there is no curl.
    pub fn start(flags: &[&str], url: &str, cursor: &str, folder: &Path) -> Result<Self> {
        ensure!(find_on_path("curl").is_some(), "no curl: run tests/tools/install.sh browsers");
        Ok(Self {
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            url: url.to_owned(),
            cursor: cursor.to_owned(),
            folder: folder.join(format!("curl{}", flags.concat())),
            run: None,
            next: Instant::now(),
            ends: Vec::new(),
        })
    }

    fn run(&mut self) -> Result<Run> {
        let folder = self.folder.join(self.ends.len().to_string());
        fs::create_dir_all(&folder)?;
        let header = format!("Last-Event-ID: {}", self.cursor);
        let mut arguments = vec!["-sN", "--noproxy", "*", "-H", &header];
        arguments.extend(self.flags.iter().map(String::as_str));
        arguments.push(&self.url);
        let curl = find_on_path("curl").context("no curl")?;
        let process = Process::spawn("curl", &curl, &arguments, &folder)?;
        let output = File::open(folder.join("curl.out"))?;
        Ok(Run { process, output, parser: Parser::default() })
    }
}

impl Source for Curl {
    fn lines(&mut self) -> Result<Vec<Line>> {
        let mut run = match self.run.take() {
            Some(run) => run,
            None if Instant::now() < self.next => return Ok(Vec::new()),
            None => self.run()?,
        };
        let ended = run.process.exited()?;
        let mut bytes = Vec::new();
        run.output.read_to_end(&mut bytes)?;
        let mut lines = Vec::new();
        for item in run.parser.feed(&bytes).context("what curl reads")? {
            let Item::Event(event) = item else { continue };
            if let Some(id) = &event.id {
                self.cursor.clone_from(id);
            }
            lines.push(Line::Event(Delivered {
                id: event.id.unwrap_or_default(),
                event_type: event.event_type,
                data: event.data,
            }));
        }
        match ended {
            None => self.run = Some(run),
            Some(status) => {
                let code = status.code().context("curl was killed")?;
                ensure!(ENDS.contains(&code), "curl {:?} ended with {code}", self.flags);
                self.ends.push(code);
                self.next = Instant::now() + RETRY_INTERVAL;
                lines.push(Line::Error { error: format!("ended with {code}") });
            }
        }
        Ok(lines)
    }
}
