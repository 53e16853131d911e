//! The dashboard on a terminal of 80 by 24 characters that is none: what is on the screen after what was seen
//! and pressed.

use std::time::{Duration, Instant};

use onecopy::stuck::{Blocked, StuckNode};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::draw::draw;
use super::snapshot::Snapshot;
use super::state::{Flow, State};
use crate::dataset_json::DatasetSummary;
use crate::inventory_json::{Node, Publisher, Subscriber, TopicDetails};
use crate::region_json::RegionSummary;
use crate::service_json::{Client, Latency, Server, ServiceDetails, ServiceSummary};

fn publisher(id: &str, messages: u64) -> Publisher {
    Publisher {
        id: id.to_owned(),
        node: "camera".to_owned(),
        history: 0,
        depth: Some(1024),
        messages: Some(messages),
        bytes: Some(messages * 1000),
        full: Some(messages / 10),
        exhausted: Some(0),
        waits: Some(3),
        wakes: Some(4),
        memory_bytes: 5 << 20,
        pool_bytes: Some(8 << 20),
        budget_bytes: Some(1 << 30),
        chunks_out: Some(2),
    }
}

fn subscriber(id: &str, node: &str, received: u64, lag: u64) -> Subscriber {
    Subscriber {
        id: id.to_owned(),
        node: node.to_owned(),
        publishers: 1,
        received,
        lost: lag / 10,
        lag,
        lag_of_ring: lag as f64 / 1024.0,
        sleeps: 7,
        asleep: lag == 0,
        held: 1,
    }
}

fn topic(name: &str, publishers: Vec<Publisher>, subscribers: Vec<Subscriber>) -> TopicDetails {
    let delivery = Some("overwrite".to_owned());
    TopicDetails { name: name.to_owned(), payload: None, delivery, publishers, subscribers }
}

fn node(id: &str, name: &str, pid: u32, memory_bytes: u64) -> Node {
    let version = Some("0.1.0".to_owned());
    Node { id: id.to_owned(), name: name.to_owned(), pid, uid: 1000, version, memory_bytes }
}

fn latency() -> Latency {
    Latency { p50_ns: Some(800), p90_ns: Some(900), p99_ns: Some(12_345), p999_ns: Some(5_000_000) }
}

fn service(calls: u64) -> (ServiceSummary, ServiceDetails) {
    let client = Client {
        id: "b/9".to_owned(),
        node: "screen".to_owned(),
        pid: 20,
        calls: Some(calls),
        notifications: Some(0),
        answered: Some(calls),
        failed: Some(0),
        server_lost: Some(0),
        late: Some(0),
        cancelled: Some(0),
        latency: latency(),
    };
    let server = Server { id: "a/8".to_owned(), node: "camera".to_owned(), pid: 10, requests: Some(calls) };
    let name = "planner".to_owned();
    let summary = ServiceSummary {
        name: name.clone(),
        servers: 1,
        clients: 1,
        request: None,
        response: None,
        calls,
        errors: 0,
        latency: latency(),
    };
    let (servers, clients) = (vec![server], vec![client]);
    (summary, ServiceDetails { name, request: None, response: None, servers, clients })
}

fn region(version: u64) -> RegionSummary {
    RegionSummary {
        name: "settings".to_owned(),
        mode: "shared",
        payload: None,
        writer_pid: None,
        readers: 4,
        version: Some(version),
        capacity_bytes: Some(4096),
        kept: false,
        memory_bytes: 8192,
        lock_waits: Some(version / 2),
    }
}

fn dataset() -> DatasetSummary {
    DatasetSummary {
        name: "index/hg38".to_owned(),
        version: Some(3),
        backing: Some("memory"),
        content_bytes: Some(5 << 30),
        sections: Some(4),
        publisher_pid: Some(10),
        viewers: 12,
        kept: true,
    }
}

/// The instance after so many seconds.
fn instance(seconds: u64) -> Snapshot {
    Snapshot {
        broker_pid: Some(10),
        nodes: vec![node("a", "camera", 10, 6 << 20), node("b", "screen", 20, 1 << 20)],
        topics: vec![
            topic(
                "camera/front",
                vec![publisher("a/1", 500 * seconds)],
                vec![
                    subscriber("b/1", "screen", 500 * seconds, 0),
                    subscriber("b/2", "recorder", 100 * seconds, 400 * seconds),
                ],
            ),
            topic("lidar", vec![publisher("a/2", 20_000 * seconds)], vec![]),
        ],
        services: vec![service(1_500 * seconds)],
        regions: vec![region(1 + 20 * seconds)],
        datasets: vec![dataset()],
        stuck: Vec::new(),
    }
}

struct Watched {
    state: State,
    terminal: Terminal<TestBackend>,
    began: Instant,
}

impl Watched {
    /// After two looks, a second apart.
    fn new() -> Self {
        let terminal = Terminal::new(TestBackend::new(80, 24)).expect("it needs no terminal");
        let mut watched = Self { state: State::new("lab"), terminal, began: Instant::now() };
        watched.look(instance(1), 1);
        watched.look(instance(2), 2);
        watched
    }

    fn look(&mut self, snapshot: Snapshot, seconds: u64) {
        self.state.update(snapshot, self.began + Duration::from_secs(seconds));
    }

    fn press(&mut self, keys: &str) {
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                '\t' => KeyCode::Tab,
                'v' => KeyCode::Down,
                key => KeyCode::Char(key),
            };
            assert_eq!(self.state.press(KeyEvent::new(code, KeyModifiers::NONE)), Flow::GoOn);
        }
    }

    fn lines(&mut self) -> Vec<String> {
        self.terminal.draw(|frame| draw(frame, &mut self.state)).expect("it is drawn in memory");
        let buffer = self.terminal.backend().buffer();
        let line = |row: u16| (0..80).map(|column| buffer[(column, row)].symbol()).collect::<String>();
        (0..24).map(|row| line(row).trim_end().to_owned()).collect()
    }

    /// The words of the line that contains `word`.
    #[track_caller]
    fn words(&mut self, word: &str) -> Vec<String> {
        let lines = self.lines();
        let line = lines.iter().find(|line| line.contains(word));
        let line = line.unwrap_or_else(|| panic!("no {word:?} on {lines:#?}"));
        line.split_whitespace().map(str::to_owned).collect()
    }
}

#[test]
fn topics_show_what_went_on_between_two_looks() {
    let mut watched = Watched::new();
    let lines = watched.lines();
    assert!(lines[0].contains("lab") && lines[0].contains("broker camera (10)"), "{}", lines[0]);
    assert!(lines[0].contains("2 nodes") && lines[0].contains("7.01 MiB"), "{}", lines[0]);
    assert_eq!(
        watched.words("camera/front"),
        ["camera/front", "1", "2", "500", "488", "KiB", "█", "78", "%", "40"]
    );
    assert_eq!(watched.words("lidar")[3..5], ["20.0", "k"]);
    assert!(lines[23].contains("q end"));
    watched.look(instance(2), 3);
    assert_eq!(watched.words("lidar")[3], "0");
    // The course keeps what was.
    assert!(watched.words("lidar").contains(&"█".to_owned()));
}

#[test]
fn slow_readers_are_on_top_of_the_subscribers() {
    let mut watched = Watched::new();
    watched.press("2");
    let lines = watched.lines();
    assert!(lines[4].contains("recorder") && lines[5].contains("screen"), "{lines:#?}");
    assert_eq!(
        watched.words("recorder"),
        ["camera/front", "recorder", "20", "800", "78", "%", "100", "40", "1"]
    );
    watched.press("r");
    let lines = watched.lines();
    assert!(lines[4].contains("screen") && lines[5].contains("recorder"), "{lines:#?}");
}

#[test]
fn services_regions_and_nodes_have_their_views() {
    let mut watched = Watched::new();
    watched.press("3");
    let planner = watched.words("planner");
    assert_eq!(planner, ["planner", "1", "1", "1.50", "k", "0", "800", "ns", "12.3", "µs", "5.00", "ms"]);
    watched.press("4");
    let settings = watched.words("settings");
    assert_eq!(settings, ["settings", "shared", "41", "20", "4", "10", "8.00", "KiB"]);
    watched.press("\t");
    let lines = watched.lines();
    assert!(
        lines[4].starts_with("camera") && lines[5].starts_with("screen"),
        "most memory first: {lines:#?}"
    );
    assert_eq!(
        watched.words("6.00 MiB"),
        ["camera", "6.00", "MiB", "10", "1000", "0.1.0", "2", "0", "1", "0"]
    );
}

#[test]
fn sorting_goes_through_the_columns_and_says_which() {
    let mut watched = Watched::new();
    assert!(watched.lines()[3].contains("TOPIC▴"));
    watched.press("sss");
    let lines = watched.lines();
    assert!(lines[3].contains("MSG/S▾") && lines[4].starts_with("lidar"), "{lines:#?}");
    watched.press("SSSS");
    assert!(watched.lines()[3].contains("LOST/S▾"));
    assert!(watched.lines()[4].starts_with("camera/front"));
}

#[test]
fn a_filter_keeps_the_rows_that_contain_it() {
    let mut watched = Watched::new();
    // While it is typed, keys are text.
    watched.press("/LIDq\x7f");
    assert!(watched.lines()[3].starts_with("no topics with"));
    watched.press("\x1b/LID\n");
    let lines = watched.lines();
    assert!(lines[4].starts_with("lidar") && lines[5].is_empty(), "{lines:#?}");
    assert!(lines[1].contains("/LID"));
    watched.press("\x1b");
    assert!(watched.lines()[5].starts_with("lidar"));
}

#[test]
fn looking_into_a_row_shows_its_parts_until_it_is_gone() {
    let mut watched = Watched::new();
    watched.press("\n");
    let lines = watched.lines();
    assert!(lines[3].contains("topic camera/front") && lines[3].contains("overwrite"), "{lines:#?}");
    assert_eq!(
        watched.words("camera  "),
        ["camera", "500", "488", "KiB", "1000", "50", "3", "2", "5.00", "MiB"]
    );
    assert_eq!(watched.words("recorder").last().map(String::as_str), Some("no"));
    watched.press("\x1bv\n");
    assert!(watched.lines()[3].contains("topic lidar"));
    watched.look(Snapshot { topics: Vec::new(), ..instance(3) }, 3);
    assert!(watched.lines()[3].contains("it is gone"));
    watched.press("\x1b");
    assert!(watched.lines()[3].contains("no topics"));
    watched.press("3\n");
    assert!(watched.lines().iter().any(|line| line.contains("screen") && line.contains("12.3 µs")));
    watched.press("4\n");
    assert!(watched.lines().iter().any(|line| line.contains("lock waits") && line.contains("30")));
    watched.look(instance(4), 4);
    watched.press("5\n");
    let lines = watched.lines();
    assert!(lines.iter().any(|line| line.starts_with("lidar")), "what the node publishes: {lines:#?}");
    assert!(lines.iter().any(|line| line.contains("serves planner")), "{lines:#?}");
}

#[test]
fn the_selection_stays_with_its_row_when_others_come() {
    let mut watched = Watched::new();
    watched.press("v");
    let mut more = instance(3);
    more.topics.insert(0, topic("aaa", vec![], vec![]));
    watched.look(more, 3);
    watched.press("\n");
    assert!(watched.lines()[3].contains("topic lidar"));
}

#[test]
fn long_details_scroll() {
    let mut watched = Watched::new();
    let mut crowd = instance(3);
    crowd.topics[0].subscribers = (0..40)
        .map(|number| subscriber(&format!("c/{number}"), &format!("node-{number:02}"), 0, 0))
        .collect();
    watched.look(crowd, 3);
    watched.press("\n");
    let shown = |watched: &mut Watched, name: &str| watched.lines().iter().any(|line| line.starts_with(name));
    assert!(shown(&mut watched, "node-00") && !shown(&mut watched, "node-39"));
    let end = KeyEvent::new(KeyCode::End, KeyModifiers::NONE);
    assert_eq!(watched.state.press(end), Flow::GoOn);
    assert!(!shown(&mut watched, "node-00") && shown(&mut watched, "node-39"));
    watched.press("\x1b");
    assert!(watched.lines()[4].starts_with("camera/front"));
}

#[test]
fn an_instance_that_does_not_run_is_waited_for() {
    let mut watched = Watched::new();
    watched.look(Snapshot::default(), 3);
    let lines = watched.lines();
    assert!(lines[0].contains("no broker runs this instance") && lines[3].contains("no topics"));
    watched.look(instance(4), 4);
    assert!(watched.lines()[4].starts_with("camera/front"));
}

#[test]
fn any_size_can_be_drawn_on() {
    let mut watched = Watched::new();
    for (width, height) in [(1, 1), (10, 3), (20, 5), (300, 100)] {
        for keys in ["1", "\n", "5", "\n"] {
            watched.press(keys);
            let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it needs no terminal");
            terminal.draw(|frame| draw(frame, &mut watched.state)).expect("it is drawn in memory");
        }
        watched.press("\x1b\x1b");
    }
}

#[test]
fn two_keys_end_it() {
    for (code, modifiers) in
        [(KeyCode::Char('q'), KeyModifiers::NONE), (KeyCode::Char('c'), KeyModifiers::CONTROL)]
    {
        let mut watched = Watched::new();
        assert_eq!(watched.state.press(KeyEvent::new(code, modifiers)), Flow::End);
    }
}

#[test]
fn datasets_have_their_view() {
    let mut watched = Watched::new();
    watched.press("6");
    let screen = watched.lines().join("\n");
    assert!(
        screen.contains("index/hg38") && screen.contains("5.00 GiB") && screen.contains("12"),
        "{screen}"
    );
    watched.press("\n");
    let screen = watched.lines().join("\n");
    assert!(screen.contains("dataset index/hg38: version 3, publisher process 10, 12 viewers"), "{screen}");
}

#[test]
fn who_is_stuck_is_told_in_every_view() {
    let mut watched = Watched::new();
    let blocked = Blocked::Lock { region: "settings".to_owned() };
    let stuck = StuckNode {
        id: "b".to_owned(),
        name: "screen".to_owned(),
        pid: 20,
        is_stopped: true,
        seen_for: Duration::from_secs(2),
        blocks: vec![blocked],
    };
    watched.look(Snapshot { stuck: vec![stuck], ..instance(3) }, 3);
    for view in ["1", "5"] {
        watched.press(view);
        let screen = watched.lines().join("\n");
        let told = "node screen (process 20) is stopped; region settings: it has the lock";
        assert!(screen.contains(told), "{screen}");
    }
}
