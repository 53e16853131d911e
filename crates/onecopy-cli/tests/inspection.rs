//! Commands that look: `status`, `topic list`, `topic info`, `topic hz`.

mod common;

use common::{World, json, text};

#[test]
fn looking_at_nothing_makes_nothing() {
    let world = World::new();
    for arguments in [
        &["status"][..],
        &["topic", "list"],
        &["topic", "info", "t"],
        &["topic", "hz", "t"],
        &["service", "list"],
        &["service", "info", "s"],
    ] {
        let output = world.run(arguments);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), ""), "{arguments:?}");
        assert!(text(&output.stderr).contains("instance \"default\" is not running"), "{output:?}");
    }
    let status = world.run(&["--instance", "lab", "status", "--json"]);
    assert_eq!(status.status.code(), Some(3));
    let status = json(&status);
    assert_eq!((&status["instance"], &status["running"]), (&"lab".into(), &false.into()));
    assert!(status["broker_pid"].is_null());
    assert!(!world.runtime_directory().exists());
}

#[test]
fn json_says_who_is_there() {
    let world = World::new();
    let node = world.node();
    let topic = node.topic::<[f32]>("lab/samples").unwrap().header::<u64>();
    let mut publisher = topic.publisher().reliable().history(3).depth(64).open().unwrap();
    let _subscriber = topic.subscriber().open().unwrap();
    publisher.publish(&[1.0, 2.0]).unwrap();
    publisher.publish(&[3.0]).unwrap();

    let status = json(&world.run(&["status", "--json"]));
    assert_eq!(status["running"], true);
    assert_eq!(status["broker_pid"], std::process::id());
    assert_eq!(status["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(status["nodes"][0]["name"], "test");
    assert_eq!(status["nodes"][0]["pid"], std::process::id());
    assert_eq!(status["socket"], world.runtime_directory().join("default.sock").to_str().unwrap());

    let list = json(&world.run(&["topic", "list", "--json"]));
    assert_eq!(list, status["topics"]);
    let topic = &list[0];
    assert_eq!(topic["name"], "lab/samples");
    assert_eq!(topic["delivery"], "reliable");
    assert_eq!(
        [&topic["publishers"], &topic["subscribers"], &topic["messages"], &topic["bytes"]],
        [1, 1, 2, 12]
    );

    let info = json(&world.run(&["topic", "info", "lab/samples", "--json"]));
    assert_eq!(info["payload"]["kind"], "slice");
    assert_eq!(
        info["payload"]["element"],
        serde_json::json!({"name": "f32", "size_bytes": 4, "align_bytes": 4})
    );
    assert_eq!(info["payload"]["header"]["name"], "u64");
    let publisher = &info["publishers"][0];
    assert_eq!([&publisher["history"], &publisher["depth"], &publisher["messages"]], [3, 64, 2]);
    assert_eq!(publisher["node"], "test");
    assert_eq!(info["subscribers"][0]["node"], "test");
}

#[test]
fn people_read_the_same() {
    let world = World::new();
    let node = world.node();
    let _publisher = node.topic::<u64>("counter").unwrap().publisher().open().unwrap();
    let pid = std::process::id().to_string();
    for (arguments, expected) in [
        (&["status"][..], &["instance  default", &pid, "inside node \"test\"", "counter", "overwrite"][..]),
        (&["topic", "list"], &["TOPIC", "counter", "u64"]),
        (&["topic", "info", "counter"], &["payload   u64", "no subscribers", "DEPTH"]),
    ] {
        let output = world.run(arguments);
        assert_eq!(output.status.code(), Some(0));
        let said = text(&output.stdout);
        assert!(expected.iter().all(|word| said.contains(word)), "{said}");
        assert!(!said.contains('\x1b'), "no colour in a pipe");
    }
}

#[test]
fn a_topic_that_nobody_has_open_is_said_to_be_absent() {
    let world = World::new();
    let _node = world.node();
    for command in ["info", "hz"] {
        let output = world.run(&["topic", command, "nobody/home"]);
        assert_eq!(output.status.code(), Some(3));
        assert!(text(&output.stderr).contains("nobody has \"nobody/home\" open"));
    }
    let list = world.run(&["topic", "list", "--json"]);
    assert_eq!((list.status.code(), json(&list)), (Some(0), serde_json::json!([])));
}

#[test]
fn rates_come_from_the_publishers_counters() {
    let world = World::new();
    let node = world.node();
    let topic = node.topic::<u64>("counter").unwrap();
    let mut publisher = topic.publisher().open().unwrap();
    let mut command = world.command(&["topic", "hz", "counter", "--count", "1", "--json"]);
    let mut child = command.spawn().unwrap();
    let mut published = 0_u64;
    // However late it looks for the first time: some of these are published afterwards.
    while child.try_wait().unwrap().is_none() {
        publisher.publish(&published).unwrap();
        published += 1;
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let rate = json(&output);
    let number = |field: &str| rate[field].as_f64().unwrap();
    assert!((1.0..=published as f64).contains(&number("messages")), "{rate}");
    assert!((number("messages") / number("seconds") - number("messages_per_second")).abs() < 1e-3, "{rate}");
    // The two counters are not read at the same moment, so they differ by what is published between.
    let bytes = number("bytes_per_second") * number("seconds");
    assert!((8.0..=8.5 * published as f64).contains(&bytes), "{rate}");
    assert_eq!(rate["publishers"], 1);
}
