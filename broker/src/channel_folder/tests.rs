use std::fs;

use serde_json::{Value, json};

use super::*;

struct Folder {
    folder: tempfile::TempDir,
    channels: ChannelFolder,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = BrokerConfig {
            channels_folder: Some(folder.path().to_owned()),
            ..BrokerConfig::default()
        };
        Self { channels: ChannelFolder::of(&config).unwrap(), folder }
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn channels(&self, name: &str, channels: &Value) {
        self.write(name, &json!({"channels": channels}).to_string());
    }

    /// Names of the channels, their heartbeats, and the report.
    async fn refresh(&mut self) -> (Vec<(String, u64)>, FolderReport) {
        self.channels.refresh().await;
        let (wanted, report) = self.channels.merge(&[]);
        let of =
            |(key, c): (&String, &Arc<ChannelConfig>)| (key.clone(), c.delivery.heartbeat_seconds);
        (wanted.iter().map(of).collect(), report)
    }
}

fn channel(name: &str) -> Value {
    json!({"namespace": "a", "name": name})
}

fn with_heartbeat(name: &str, seconds: u64) -> Value {
    json!({"namespace": "a", "name": name, "delivery": {"heartbeatSeconds": seconds}})
}

fn served(names: &[(&str, u64)]) -> Vec<(String, u64)> {
    names.iter().map(|(name, seconds)| (format!("a/{name}"), *seconds)).collect()
}

#[tokio::test]
async fn an_invalid_channel_keeps_its_last_valid_configuration() {
    let mut folder = Folder::new();
    folder.channels("0.json", &json!([with_heartbeat("x", 5), with_heartbeat("new", 0)]));
    folder.write(".hidden.json", "rubbish");
    folder.write("notes.txt", "rubbish");
    let (channels, report) = folder.refresh().await;
    assert_eq!(channels, served(&[("x", 5)]));
    assert_eq!(report.channels.keys().collect::<Vec<_>>(), ["a/new"]);
    folder.channels("0.json", &json!([with_heartbeat("x", 0), with_heartbeat("new", 6)]));
    let (channels, report) = folder.refresh().await;
    assert_eq!(channels, served(&[("new", 6), ("x", 5)]));
    assert_eq!(report.channels.len(), 1, "{report:?}");
    assert!(report.channels["a/x"].starts_with("delivery.heartbeatSeconds: "), "{report:?}");
    folder.channels("0.json", &json!([with_heartbeat("x", 7)]));
    let (channels, report) = folder.refresh().await;
    assert_eq!(channels, served(&[("x", 7)]), "one was removed");
    assert_eq!(report.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_cannot_be_used_keeps_its_channels() {
    let mut folder = Folder::new();
    folder.channels("0.json", &json!([channel("x")]));
    folder.channels("1.json", &json!([channel("y"), 7]));
    let all = served(&[("x", 15), ("y", 15)]);
    assert_eq!(folder.refresh().await.0, all);
    folder.write("0.json", "{");
    fs::remove_file(folder.folder.path().join("1.json")).unwrap();
    let (channels, report) = folder.refresh().await;
    assert_eq!(channels, all);
    assert!(report.files[0].starts_with("0.json: EOF"), "{report:?}");
    assert_eq!(report.files[1], "1.json: the file is missing");
    // A channel may move from a file that is missing.
    folder.channels("0.json", &json!([channel("x"), with_heartbeat("y", 3)]));
    let (channels, report) = folder.refresh().await;
    assert_eq!(channels, served(&[("x", 15), ("y", 3)]));
    assert!(report.channels.is_empty(), "{report:?}");
    folder.channels("1.json", &json!([]));
    assert_eq!(folder.refresh().await.1.lines(), Vec::<String>::new());
    fs::remove_dir_all(folder.folder.path()).unwrap();
    let (channels, report) = folder.refresh().await;
    assert_eq!((channels.len(), report.files.len()), (2, 1), "{report:?}");
}

#[tokio::test]
async fn a_channel_keeps_its_stream() {
    let mut folder = Folder::new();
    let on = |name: &str, stream: &str| json!({"namespace": "a", "name": name, "stream": stream});
    folder.channels("1.json", &json!([on("y", "one")]));
    folder.refresh().await;
    folder.channels("0.json", &json!([on("x", "one"), channel("y"), channel("z")]));
    folder.channels("2.json", &json!([channel("z")]));
    let (channels, report) = folder.refresh().await;
    assert_eq!(channels, served(&[("x", 15), ("y", 15), ("z", 15)]), "the first entry counts");
    assert_eq!(report.channels.keys().collect::<Vec<_>>(), ["a/y", "a/z"], "listed twice");
    folder.channels("0.json", &json!([on("x", "one")]));
    folder.channels("1.json", &json!([on("y", "one"), on("new", "two")]));
    let (channels, report) = folder.refresh().await;
    assert_eq!(channels, served(&[("new", 15), ("x", 15), ("y", 15), ("z", 15)]));
    assert_eq!(report.channels["a/y"], "stream: one is the stream of another channel");
    let main = [ChannelConfig { stream: Some("two".into()), ..ChannelConfig::new("a", "main") }];
    let (wanted, report) = folder.channels.merge(&main);
    assert!(wanted.contains_key("a/main") && !wanted.contains_key("a/new"), "{report:?}");
}

#[tokio::test]
async fn unchanged_channels_stay_the_same_objects() {
    let mut folder = Folder::new();
    folder.channels("0.json", &json!([channel("x"), channel("y")]));
    folder.channels.changed().await;
    let before = folder.channels.merge(&[]).0;
    folder.channels("0.json", &json!([with_heartbeat("x", 3), channel("y")]));
    folder.channels.changed().await;
    let after = folder.channels.merge(&[]).0;
    assert!(Arc::ptr_eq(&before["a/y"], &after["a/y"]));
    assert!(!Arc::ptr_eq(&before["a/x"], &after["a/x"]));
}

/// As the kubelet does: all files at once, by a symbolic link that it replaces.
#[tokio::test]
async fn no_channel_is_lost_while_files_are_replaced() {
    let mut folder = Folder::new();
    let path = folder.folder.path().to_owned();
    let version = move |number: usize| {
        let data = path.join(format!("..{number}"));
        fs::create_dir(&data).unwrap();
        for file in ["0.json", "1.json"] {
            let channels = json!([with_heartbeat(&format!("c{}", &file[..1]), number as u64)]);
            fs::write(data.join(file), json!({"channels": channels}).to_string()).unwrap();
        }
        std::os::unix::fs::symlink(&data, path.join("..new")).unwrap();
        fs::rename(path.join("..new"), path.join("..data")).unwrap();
        if number > 1 {
            fs::remove_dir_all(path.join(format!("..{}", number - 1))).unwrap();
        }
    };
    version(1);
    for file in ["0.json", "1.json"] {
        std::os::unix::fs::symlink(format!("..data/{file}"), folder.folder.path().join(file))
            .unwrap();
    }
    let writer = std::thread::spawn(move || (2..=200).for_each(version));
    while !writer.is_finished() {
        let (channels, _) = folder.refresh().await;
        assert_eq!(channels.len(), 2, "{channels:?}");
    }
    let (channels, report) = folder.refresh().await;
    assert_eq!(channels, served(&[("c0", 200), ("c1", 200)]));
    assert_eq!(report.lines(), Vec::<String>::new());
}
