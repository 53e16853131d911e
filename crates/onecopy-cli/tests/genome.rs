//! `onecopy genome`, as its users have it: files and processes.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
#[path = "../../onecopy-genome/tests/common/mod.rs"]
mod files;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use common::{World, json, text};
use files::simulation::Simulation;
use files::{Blocks, Folder, Line, Random, header, write_bam};
use rustix::process::Signal;

fn reads(folder: &Folder, name: &str, count: usize) -> PathBuf {
    let mut random = Random(99);
    let lines: Vec<Line> = (0..count)
        .flat_map(|number| {
            let name = format!("read:{number}");
            [0x4d, 0x8d].map(|flags| Line { flags, ..Line::unmapped(&name, &random.bases(50)) })
        })
        .collect();
    let path = folder.path(name);
    write_bam(&path, &header(&[("one", 1000)], false), &lines, Blocks::Full);
    path
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Exit code, output and what was said.
fn run(world: &World, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = world.run(&[&["genome"], arguments].concat());
    (output.status.code(), text(&output.stdout).to_owned(), text(&output.stderr).to_owned())
}

#[test]
fn reads_are_printed_by_name_from_an_index_that_is_made_first() {
    let (world, folder) = (World::new(), Folder::new());
    let bam = reads(&folder, "reads.bam", 500);
    let (code, lines, said) = run(&world, &["get", path(&bam), "read:7", "read:450"]);
    assert_eq!((code, lines.lines().count()), (Some(0), 4), "{said}");
    assert!(said.contains("makes the index") && said.contains("reads.bam.bri"), "{said}");
    let fields: Vec<&str> = lines.lines().next().unwrap().split('\t').collect();
    assert_eq!(
        (fields[0], fields[1], fields[9].len(), fields[10]),
        ("read:7", "77", 50, "?".repeat(50).as_str())
    );

    let names = folder.write("names", "read:1\nread:2\n\n");
    let (code, lines, said) = run(&world, &["get", path(&bam), "--header", "-f", path(&names)]);
    assert_eq!((code, lines.lines().filter(|line| !line.starts_with('@')).count()), (Some(0), 4));
    assert!(lines.starts_with("@HD") && said.contains("uses the index"), "{said}");

    let output = world.run_with_input(&["genome", "get", path(&bam), "-"], b"read:3\nabsent\n");
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(9), 2));
    assert!(text(&output.stderr).contains("no read absent"));
}

#[test]
fn an_index_tells_what_it_is() {
    let (world, folder) = (World::new(), Folder::new());
    let bam = reads(&folder, "reads.bam", 300);
    let index = folder.path("other.bri");
    let (code, json, said) = run(&world, &["index", path(&bam), "-o", path(&index), "--json", "-t", "2"]);
    assert_eq!(code, Some(0), "{said}");
    let made: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((made["records"].as_u64(), made["spills"].as_u64()), (Some(600), Some(0)));
    assert_eq!(made["bytes"].as_u64(), Some(fs::metadata(&index).unwrap().len()));

    let other = reads(&folder, "other.bam", 301);
    let (code, _, said) = run(&world, &["get", path(&other), "-i", path(&index), "read:1"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("is not of") && said.contains("onecopy genome index"), "{said}");
    let cut = folder.write("cut.bam", &fs::read(&bam).unwrap()[..2000]);
    let (code, _, said) = run(&world, &["index", path(&cut)]);
    assert_eq!(code, Some(1));
    assert!(said.contains("truncated"), "{said}");
}

#[test]
fn what_is_wrong_with_an_index_is_said_once_and_before_what_to_do() {
    let (world, folder) = (World::new(), Folder::new());
    let bam = reads(&folder, "reads.bam", 300);
    let index = folder.path("reads.bam.bri");
    assert_eq!(run(&world, &["index", path(&bam)]).0, Some(0));
    let whole = fs::read(&index).unwrap();
    for (bytes, reason) in [(&whole[..10], "less than a header"), (&whole[..1000], "its header promises")] {
        fs::write(&index, bytes).unwrap();
        let (code, _, said) = run(&world, &["get", path(&bam), "read:1"]);
        assert_eq!((code, said.matches(reason).count()), (Some(1), 1), "{said}");
        assert!(said.ends_with("; make it again with `onecopy genome index`\n"), "{said}");
    }
}

#[test]
fn a_list_of_names_that_is_none_is_an_error_that_names_the_line() {
    let (world, folder) = (World::new(), Folder::new());
    let bam = reads(&folder, "reads.bam", 3);
    let names = folder.write("names", [&b"read:1\n"[..], &[b'x'; 1 << 20]].concat());
    let (code, lines, said) = run(&world, &["get", path(&bam), "-f", path(&names)]);
    assert_eq!((code, lines.lines().count()), (Some(1), 2), "{said}");
    assert!(said.contains("names, line 2: it is longer than"), "{said}");
}

#[test]
fn a_shared_index_is_used_wherever_the_file_lies_and_survives_its_sharer() {
    let (world, folder) = (World::new(), Folder::new());
    let bam = reads(&folder, "reads.bam", 400);
    let sharer = world.start(&["genome", "share", path(&bam)], "is shared");
    let copy = folder.path("copy.bam");
    fs::copy(&bam, &copy).unwrap();
    let (code, lines, said) = run(&world, &["get", path(&copy), "--use-server", "read:9"]);
    assert_eq!((code, lines.lines().count()), (Some(0), 2), "{said}");
    assert!(said.contains("uses the shared index"), "{said}");
    assert!(!folder.names().contains(&"copy.bam.bri".to_owned()));

    // A job that is under way when the sharer is killed has what it needs.
    let mut job = world.command(&["genome", "get", path(&copy), "-"]);
    let mut job = job.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = job.stdin.take().unwrap();
    let stderr = wait_for(&mut job, "uses the shared index");
    sharer.signal(Signal::KILL);
    assert_eq!(sharer.finish().0, None);
    std::io::Write::write_all(&mut stdin, b"read:399\nread:0\n").unwrap();
    drop(stdin);
    let output = job.wait_with_output().unwrap();
    drop(stderr);
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(0), 4));

    let (code, _, said) = run(&world, &["get", path(&copy), "--use-server", "read:9"]);
    assert_eq!(code, Some(3));
    assert!(said.contains("onecopy genome share"), "{said}");
}

fn wait_for(child: &mut Child, words: &str) -> std::io::BufReader<std::process::ChildStderr> {
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(words) {
        assert_ne!(std::io::BufRead::read_line(&mut stderr, &mut said).unwrap(), 0, "{said:?}");
    }
    stderr
}

#[test]
fn killing_sharers_and_jobs_leaves_every_survivor_right() {
    let (world, folder) = (World::new(), Folder::new());
    let bam = reads(&folder, "reads.bam", 300);
    let names: String = (0..300).step_by(7).map(|number| format!("read:{number}\n")).collect();
    let names_file = folder.write("names", &names);
    let (_, expected, _) = run(&world, &["get", path(&bam), "-f", path(&names_file)]);
    assert_eq!(expected.lines().count(), 86);
    let mut random = Random(1234);
    for round in 0..20 {
        let sharer = world.start(&["genome", "share", path(&bam)], "is shared");
        let mut jobs: Vec<Child> = (0..3)
            .map(|_| {
                let mut job = world.command(&["genome", "get", path(&bam), "-"]);
                job.stdin(std::process::Stdio::piped()).spawn().unwrap()
            })
            .collect();
        // Some are killed before they have found the index, some when they have, some never.
        let victim = random.below(jobs.len() + 1);
        if random.below(2) == 0 {
            jobs.iter_mut().for_each(|job| drop(wait_for(job, "uses the shared index")));
        }
        if let Some(job) = jobs.get_mut(victim) {
            job.kill().unwrap();
        }
        if random.below(3) > 0 {
            sharer.signal(Signal::KILL);
        }
        for (number, mut job) in jobs.into_iter().enumerate() {
            let mut stdin = job.stdin.take().unwrap();
            // Whoever was killed does not read it.
            let _ = std::io::Write::write_all(&mut stdin, names.as_bytes());
            drop(stdin);
            let output = job.wait_with_output().unwrap();
            if number != victim {
                assert_eq!(output.status.code(), Some(0), "round {round}: {}", text(&output.stderr));
                assert!(text(&output.stdout) == expected, "round {round}");
            }
        }
    }
    // What the last one left behind is in nobody's way.
    let _sharer = world.start(&["genome", "share", path(&bam)], "is shared");
    let (code, lines, said) = run(&world, &["get", path(&bam), "--use-server", "-f", path(&names_file)]);
    assert_eq!((code, lines), (Some(0), expected), "{said}");
}

#[test]
fn a_sharer_in_the_background_is_ended_by_its_name() {
    let (world, folder) = (World::new(), Folder::new());
    let bam = reads(&folder, "reads.bam", 200);
    // By the names that the scripts of others use.
    let (code, _, said) = run(&world, &["server", path(&bam), "-d"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("shares it"), "{said}");
    let (code, lines, said) = run(&world, &["get", path(&bam), "--use-server", "read:1"]);
    assert_eq!((code, lines.lines().count()), (Some(0), 2), "{said}");
    // Once is enough.
    let (code, _, said) = run(&world, &["share", path(&bam), "--detach"]);
    assert_eq!(
        (code, said.contains("shares the index of") && said.contains("already")),
        (Some(0), true),
        "{said}"
    );
    assert_eq!(json(&world.run(&["dataset", "list", "--json"]))[0]["version"], 1);
    let (code, _, said) = run(&world, &["stop-server", path(&bam)]);
    assert_eq!((code, said.contains("has ended, which shared")), (Some(0), true), "{said}");
    // When the command returns, it is so.
    assert_eq!(run(&world, &["get", path(&bam), "--use-server", "read:1"]).0, Some(3));
    // It takes the instance along, which was its own.
    let socket = world.runtime_directory().join("default.sock");
    while socket.exists() {
        std::thread::yield_now();
    }
    let (code, _, said) = run(&world, &["unshare", path(&bam)]);
    assert_eq!(code, Some(3));
    assert!(said.contains("nobody shares the index of"), "{said}");
}

#[test]
fn only_sharers_in_the_background_are_ended_by_others() {
    let (world, folder) = (World::new(), Folder::new());
    let bam = reads(&folder, "reads.bam", 200);
    let sharer = world.start(&["genome", "share", path(&bam)], "is shared until this command ends");
    let (code, _, said) = run(&world, &["unshare", path(&bam)]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("process {} shares the index", sharer.id())), "{said}");
    assert!(said.contains("--detach"), "{said}");

    // A second one, in the background, has the same memory open, and outlives the first.
    let (code, _, said) = run(&world, &["share", path(&bam), "-d"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("is shared already by process {}", sharer.id())), "{said}");
    let list = json(&world.run(&["dataset", "list", "--json"]));
    assert_eq!((&list[0]["version"], &list[0]["viewers"]), (&1.into(), &1.into()));
    sharer.signal(Signal::TERM);
    assert_eq!(sharer.finish().0, Some(0));
    // The first was the broker as well; the second takes its place.
    while run(&world, &["get", path(&bam), "--use-server", "read:1"]).0 != Some(0) {
        std::thread::yield_now();
    }

    // A job keeps what it has, and is told of.
    let mut job = world.command(&["genome", "get", path(&bam), "--use-server", "-"]);
    let mut job =
        job.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = job.stdin.take().unwrap();
    let stderr = wait_for(&mut job, "uses the shared index");
    let (code, _, said) = run(&world, &["unshare", path(&bam)]);
    assert_eq!(
        (code, said.contains("still open in 1 other place, until closed there")),
        (Some(0), true),
        "{said}"
    );
    let (code, _, said) = run(&world, &["unshare", path(&bam)]);
    assert_eq!((code, said.contains("nobody shares the index of")), (Some(3), true), "{said}");
    std::io::Write::write_all(&mut stdin, b"read:199\n").unwrap();
    drop(stdin);
    let output = job.wait_with_output().unwrap();
    drop(stderr);
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(0), 2));
}

#[test]
fn what_is_published_in_the_place_of_an_index_and_is_none_is_replaced() {
    let (world, folder) = (World::new(), Folder::new());
    let bam = reads(&folder, "reads.bam", 200);
    let node = world.node();
    let name = onecopy_genome::dataset_name(&onecopy_genome::FileIdentity::of(&bam).unwrap());
    let _broken = node.dataset(&name).unwrap().publish_bytes(b"no index").unwrap();
    // Who need not have it goes without.
    let (code, lines, said) = run(&world, &["get", path(&bam), "read:1"]);
    assert_eq!((code, lines.lines().count()), (Some(0), 2), "{said}");
    assert!(said.contains("no shared index"), "{said}");
    assert_eq!(run(&world, &["get", path(&bam), "--use-server", "read:1"]).0, Some(1));
    let _sharer = world.start(&["genome", "share", path(&bam)], "is shared until this command ends");
    let (code, lines, said) = run(&world, &["get", path(&bam), "--use-server", "read:1"]);
    assert_eq!((code, lines.lines().count()), (Some(0), 2), "{said}");
}

#[test]
fn a_broker_that_stays_keeps_an_index() {
    let (world, folder) = (World::new(), Folder::new());
    let bam = reads(&folder, "reads.bam", 200);
    let server = world.start(&["serve"], "serves");
    let (code, _, said) = run(&world, &["share", path(&bam), "--detach"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("onecopy serve"), "{said}");
    let (code, lines, _) = run(&world, &["get", path(&bam), "--use-server", "read:1"]);
    assert_eq!((code, lines.lines().count()), (Some(0), 2));
    let (code, _, said) = run(&world, &["share", path(&bam), "--detach"]);
    assert_eq!(
        (code, said.contains("is shared already, and `onecopy serve` keeps it")),
        (Some(0), true),
        "{said}"
    );
    let (code, _, said) = run(&world, &["unshare", path(&bam)]);
    assert_eq!((code, said.contains("`onecopy serve` keeps the index")), (Some(0), true), "{said}");
    assert_eq!(run(&world, &["get", path(&bam), "--use-server", "read:1"]).0, Some(3));
    server.signal(Signal::TERM);
    assert_eq!(server.finish().0, Some(0));
}

#[test]
fn an_index_that_cannot_be_shared_is_an_error_of_the_command_that_was_typed() {
    let (world, folder) = (World::new(), Folder::new());
    let bam = reads(&folder, "reads.bam", 20);
    let index = folder.write("wrong.bri", "no index");
    let (code, _, said) = run(&world, &["share", path(&bam), "-i", path(&index), "-d"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("wrong.bri"), "{said}");
}

#[test]
fn positions_are_converted_with_a_shared_index_as_with_a_file() {
    let (world, folder) = (World::new(), Folder::new());
    let simulation = Simulation::new(5);
    let files = simulation.write(&folder);
    let positions: String = (1..=2000).map(|number| format!("one:{}\n", number * 10)).collect();
    let positions = folder.write("positions", positions);
    let convert = |prefix: &str, more: &[&str]| {
        let prefix = folder.path(prefix);
        let arguments = [
            ("-b", &files.first),
            ("-B", &files.second),
            ("-r", &files.first_reference),
            ("-R", &files.second_reference),
            ("-s", &positions),
            ("-o", &prefix),
        ];
        let mut all = vec!["convert"];
        all.extend(arguments.iter().flat_map(|(option, file)| [*option, path(file)]));
        all.extend(more);
        run(&world, &all)
    };
    let (code, json, said) = convert("by-file", &["--json", "-t", "1"]);
    assert_eq!(code, Some(0), "{said}");
    let done: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(done["converted"].as_u64().unwrap() + done["unmapped"].as_u64().unwrap(), 2000);
    assert!(done["converted"].as_u64() > Some(1900), "{done}");

    let _sharer = world.start(&["genome", "share", path(&files.second)], "is shared");
    let (code, _, said) = convert("by-share", &["--use-server"]);
    assert_eq!(code, Some(0), "{said}");
    for ending in [".txt", ".unmapped.txt"] {
        let read = |prefix: &str| fs::read(folder.path(&format!("{prefix}{ending}"))).unwrap();
        assert!(read("by-file") == read("by-share"), "{ending}");
    }
}
