//! The parameter `source`: exact sources and patterns, for history and for statistics.

use anyhow::{Context as _, Result};
use eventcast_tests::{
    http::{Publish, Version},
    wire::{BrokerWithNats, EVENTS},
};
use serde_json::Value;

#[tokio::test]
async fn sources_are_asked_for_by_pattern_and_exactly() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for source in ["/devices/1", "/devices/2/door", "/users/1", "com.example.shop", "/a*b", r"C:\x"]
    {
        let answer = broker.send(&Publish::new("x").query("source", source)).await?;
        assert_eq!(answer.status, 201, "{source}: {answer:?}");
    }
    broker.publish("without a source").await?;
    let json = [("Accept", "application/json")];
    let ask = async |path: &str, pattern: &str| -> Result<Value> {
        let pattern: String = pattern.bytes().map(|b| format!("%{b:02X}")).collect();
        let target = format!("/channels/default/demo/{path}?source={pattern}");
        broker.request(Version::Http1, "GET", &target, &json).await?.json().await
    };
    for (pattern, expected) in [
        ("/devices/*", &["/devices/1", "/devices/2/door"][..]),
        ("/devices/*/door", &["/devices/2/door"]),
        ("*/1", &["/devices/1", "/users/1"]),
        ("com.example.*", &["com.example.shop"]),
        ("/devices/1", &["/devices/1"]),
        ("/a*b", &["/a*b"]),
        (r"/a\*b", &["/a*b"]),
        (r"C:\x", &[r"C:\x"]),
        (r"C:\\x", &[r"C:\x"]),
        ("*", &["/devices/1", "/devices/2/door", "/users/1", "com.example.shop", "/a*b", r"C:\x"]),
        ("/device", &[]),
    ] {
        let page = ask("events", pattern).await?;
        let events = page["events"].as_array().with_context(|| page.to_string())?;
        let found: Vec<_> = events.iter().filter_map(|e| e["source"].as_str()).collect();
        assert_eq!(found, expected, "{pattern}");
        assert_eq!(ask("stats", pattern).await?["events"], expected.len(), "{pattern}");
    }
    for bad in ["", &"x".repeat(2049)] {
        let target = format!("{EVENTS}?source={bad}");
        broker.request(Version::Http1, "GET", &target, &json).await?.expect_problem(400).await?;
    }
    Ok(())
}
