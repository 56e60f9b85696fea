//! Merges the channels of the configuration file and of the folder: which channels the broker serves. Pure.

use std::{
    collections::{BTreeMap, HashMap, btree_map},
    sync::Arc,
};

use eventcast_crds::config::{ChannelConfig, channel_file::Entry};

use super::{ChannelConfigs, File, FolderReport};

/// Characters of the problem of one channel: `/state` has those of all channels.
const MAX_PROBLEM_CHARS: usize = 200;

/// Merges `main`, the channels of the configuration file, with those of `files`. `served` is the last result: if the newest configuration
/// of a channel cannot be used, its last one stays.
pub(super) fn merge(
    main: &[ChannelConfig],
    files: &BTreeMap<String, File>,
    served: &ChannelConfigs,
) -> (ChannelConfigs, FolderReport) {
    let mut report = FolderReport::default();
    let mut channels = ChannelConfigs::new();
    let mut streams = Streams::default();
    for config in main {
        // `main` is valid. An equal object is kept, so that unchanged channels are compared quickly.
        let key = config.key();
        let kept = served.get(&key).filter(|served| ***served == *config).cloned();
        streams.take(&key, &config.stream_name());
        channels.insert(key, kept.unwrap_or_else(|| Arc::new(config.clone())));
    }
    let newest = newest(files, &mut report);
    let (same_stream, other_stream): (Vec<_>, Vec<_>) =
        newest.into_iter().partition(|(key, newest)| {
            let last = served.get(*key).map(|last| last.stream_name());
            last.is_some() && newest.config.as_ref().map(|config| config.stream_name()) == last
        });
    // First the channels that keep their stream, so that no other channel gets it.
    for (key, Newest { file, config }) in same_stream.into_iter().chain(other_stream) {
        if channels.contains_key(key) {
            report.problem(key, format!("{file}: the configuration file has the channel too"));
            continue;
        }
        let last = || served.get(key).cloned();
        let usable = config.cloned().or_else(last).into_iter().chain(last()).find(|config| {
            let stream = config.stream_name();
            let is_free = streams.take(key, &stream);
            if !is_free {
                report.problem(key, format!("stream: {stream} is the stream of another channel"));
            }
            is_free
        });
        channels.extend(usable.map(|config| (key.clone(), config)));
    }
    (channels, report)
}

/// The newest configuration of a channel, if it is valid.
struct Newest<'a> {
    file: &'a str,
    config: Option<&'a Arc<ChannelConfig>>,
}

/// The newest configuration of each channel of `files`. Adds to `report` what is wrong with files and channels.
fn newest<'a>(
    files: &'a BTreeMap<String, File>,
    report: &mut FolderReport,
) -> BTreeMap<&'a String, Newest<'a>> {
    let mut newest = BTreeMap::new();
    // Files that can be read first: a channel may have moved from one that cannot.
    for is_readable in [true, false] {
        for (name, file) in files.iter().filter(|(_, file)| file.problem.is_none() == is_readable) {
            let problems = file.problem.iter().chain(&file.content.unnamed);
            report.files.extend(problems.map(|problem| format!("{name}: {problem}")));
            for Entry { channel, config, unknown } in &file.content.entries {
                report
                    .unknown
                    .extend(unknown.iter().map(|key| format!("{name}: {channel}: {key}")));
                match newest.entry(channel) {
                    btree_map::Entry::Occupied(_) if !is_readable => {}
                    btree_map::Entry::Occupied(_) => {
                        report.problem(channel, format!("{name}: the channel is listed twice"));
                    }
                    btree_map::Entry::Vacant(vacant) => {
                        if let Err(problems) = config {
                            report.problem(channel, problems.join("; "));
                        }
                        vacant.insert(Newest { file: name, config: config.as_ref().ok() });
                    }
                }
            }
        }
    }
    newest
}

/// Which channel has which stream.
#[derive(Default)]
struct Streams(HashMap<String, String>);

impl Streams {
    /// Whether `stream` is that of `channel` now.
    fn take(&mut self, channel: &str, stream: &str) -> bool {
        self.0.entry(stream.to_owned()).or_insert_with(|| channel.to_owned()) == channel
    }
}

impl FolderReport {
    /// Notes the first problem of `channel`.
    fn problem(&mut self, channel: &str, mut problem: String) {
        if let Some((end, _)) = problem.char_indices().nth(MAX_PROBLEM_CHARS) {
            problem.truncate(end);
            problem.push('…');
        }
        self.channels.entry(channel.to_owned()).or_insert(problem);
    }
}
