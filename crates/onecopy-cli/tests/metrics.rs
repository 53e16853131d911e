//! `onecopy metrics`, printed and over HTTP, and the counters of `onecopy status --json`.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Running, World, json, text};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(20);

/// Asks as it stands, and gives the whole answer.
fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The value of the sample whose name and labels begin and go on like this.
fn sample(page: &str, name: &str, labels: &[&str]) -> f64 {
    let is_meant = |line: &&str| {
        line.split_once('{').is_some_and(|(found, _)| found == name)
            && labels.iter().all(|label| line.contains(label))
    };
    let line = page.lines().find(is_meant).unwrap_or_else(|| panic!("no {name} {labels:?} in {page}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn counters_are_printed_and_in_the_status() {
    let world = World::new();
    let node = world.node();
    let topic = node.topic::<u64>("lab/\"numbers\"").unwrap();
    let mut publisher = topic.publisher().depth(4).open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    let service = node.service::<u64, u64>("half").unwrap();
    let server = service.server().open().unwrap();
    let client = service.client().open().unwrap();
    let region = node.region::<u64>("gain").unwrap().open_or_create(&1).unwrap();
    for number in 0..10 {
        publisher.publish(&number).unwrap();
    }
    while subscriber.receive().unwrap().is_some() {}
    publisher.publish(&10).unwrap();
    let call = client.call(&4).unwrap();
    let request = server.wait(SOON).unwrap().unwrap();
    request.respond(&2).unwrap();
    assert_eq!(*call.wait(SOON).unwrap(), 2);
    region.write(&2).unwrap();

    let output = world.run(&["metrics"]);
    assert_eq!(output.status.code(), Some(0));
    let page = text(&output.stdout);
    let numbers = "topic=\"lab/\\\"numbers\\\"\"";
    assert_eq!(sample(page, "onecopy_up", &["instance=\"default\""]), 1.0);
    assert_eq!(sample(page, "onecopy_publisher_messages_total", &[numbers]), 11.0);
    assert_eq!(sample(page, "onecopy_subscriber_lost_total", &[numbers]), subscriber.lost() as f64);
    assert_eq!(sample(page, "onecopy_subscriber_lag_messages", &[numbers]), 1.0);
    assert_eq!(sample(page, "onecopy_subscriber_lag_ratio", &[numbers]), 0.25);
    assert_eq!(sample(page, "onecopy_client_calls_total", &["service=\"half\""]), 1.0);
    assert_eq!(sample(page, "onecopy_client_latency_seconds_count", &["service=\"half\""]), 1.0);
    assert_eq!(sample(page, "onecopy_region_version", &["region=\"gain\""]), 2.0);
    assert!(sample(page, "onecopy_node_memory_bytes", &["node=\"test\""]) >= 4096.0);
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        assert!(
            line.starts_with("onecopy_") && line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(),
            "{line}"
        );
    }

    let status = json(&world.run(&["status", "--json"]));
    assert_eq!(status["nodes"][0]["version"], env!("CARGO_PKG_VERSION"));
    let row = &status["subscribers"][0];
    assert_eq!(
        (&row["topic"], &row["lag"], &row["publishers"]),
        (&"lab/\"numbers\"".into(), &1.into(), &1.into())
    );
    assert_eq!(row["received"].as_u64().unwrap() + row["lost"].as_u64().unwrap(), 10);
    assert_eq!(status["publishers"][0]["messages"], 11);
    assert_eq!(status["clients"][0]["answered"], 1);
    assert!(status["clients"][0]["latency"]["p99_ns"].as_u64().unwrap() > 0);
    assert_eq!(status["services"][0]["calls"], 1);
    assert!(status["regions"][0]["memory_bytes"].as_u64().unwrap() >= 4096);
}

#[test]
fn without_a_broker_there_is_nothing_to_print() {
    let world = World::new();
    let output = world.run(&["metrics"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), ""));
    assert!(!world.runtime_directory().exists());
}

#[test]
fn a_scraper_is_served_whoever_else_asks() {
    let world = World::new();
    let mut command = world.command(&["metrics", "--listen", "127.0.0.1:0"]);
    let (server, said) = Running::with_word(command.spawn().unwrap(), "/metrics");
    let address = said.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let get = |path: &str| ask(&address, &format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n"));
    let page = get("/metrics");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert_eq!(sample(&page, "onecopy_up", &[]), 0.0);

    // One that says nothing, one that goes away, one that never ends its head.
    let _silent = TcpStream::connect(&address).unwrap();
    drop(TcpStream::connect(&address).unwrap());
    let node = world.node();
    assert_eq!(sample(&get("/metrics?x=1"), "onecopy_up", &[]), 1.0);
    assert!(get("/").starts_with("HTTP/1.1 404"));
    assert!(ask(&address, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(ask(&address, "\0\u{1}nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    let endless = "GET / HTTP/1.1\r\n".to_owned() + &"x".repeat(8 << 10);
    assert!(ask(&address, &endless[..8 << 10]).starts_with("HTTP/1.1 400"));
    let body = page.split_once("\r\n\r\n").unwrap().1;
    assert!(page.contains(&format!("Content-Length: {}\r\n", body.len())));
    drop(node);
    server.signal(Signal::TERM);
    assert_eq!(server.finish().0, Some(0));
}
