//! `call` and `service …` as people use them: filters as servers, pipes as clients.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Running, World, json, text};
use onecopy::service::{CallError, CallOptions};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(20);

impl World {
    /// A server that can be called.
    fn serve(&self, name: &str, options: &[&str], command: &[&str]) -> Running {
        let run = ["--log", "info", "service", "run", name];
        self.start(&[&run, options, &["--"], command].concat(), "serving")
    }

    /// A call that is under way, with something to read.
    fn call(&self, arguments: &[&str], request: &[u8]) -> std::process::Child {
        let mut command = self.command(&[&["call"], arguments].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(request).unwrap();
        child
    }

    /// A pipe with a name, for commands of servers to meet their test.
    fn pipe(&self, name: &str) -> String {
        let path = self.path().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path.into_os_string().into_string().unwrap()
    }
}

/// Waits until somebody opens the pipe for writing and writes a line, or closes it without.
fn line_of(pipe: &str) -> String {
    let mut line = String::new();
    BufReader::new(std::fs::File::open(pipe).unwrap()).read_line(&mut line).unwrap();
    line
}

#[test]
fn a_filter_is_a_service() {
    let world = World::new();
    let _upper = world.serve("upper", &[], &["tr", "a-z", "A-Z"]);
    for _ in 0..3 {
        let answer = world.run_with_input(&["call", "upper"], b"hello");
        assert_eq!(
            (answer.status.code(), text(&answer.stdout), text(&answer.stderr)),
            (Some(0), "HELLO", "")
        );
    }
    let hexadecimal = world.run_with_input(&["call", "upper", "--hex"], b"a\n");
    assert_eq!(text(&hexadecimal.stdout), "410a\n");
    let json = world.run_with_input(&["call", "upper", "--json"], b"a\n");
    assert_eq!(text(&json.stdout), "{\"payload\":\"A\\n\"}\n");
    let empty = world.run(&["call", "upper"]);
    assert_eq!((empty.status.code(), empty.stdout.len()), (Some(0), 0));
}

#[test]
fn large_requests_and_responses_come_out_unchanged() {
    let world = World::new();
    let _echo = world.serve("echo", &[], &["cat"]);
    let content: Vec<u8> = (0..10_u32 << 20).map(|index| (index.wrapping_mul(index) >> 9) as u8).collect();
    let path = world.file("large", &content);
    let mut call = world.command(&["call", "echo"]);
    let answer = call.stdin(std::fs::File::open(path).unwrap()).output().unwrap();
    assert_eq!((answer.status.code(), text(&answer.stderr)), (Some(0), ""));
    assert!(answer.stdout == content, "{} bytes of {}", answer.stdout.len(), content.len());
}

#[test]
fn a_command_need_not_read_its_request() {
    let world = World::new();
    let _deaf = world.serve("deaf", &[], &["sh", "-c", "exec 0<&-; echo done"]);
    let answer = world.call(&["deaf"], &vec![b'x'; 1 << 20]).wait_with_output().unwrap();
    assert_eq!((answer.status.code(), text(&answer.stdout)), (Some(0), "done\n"));
}

#[test]
fn a_failing_command_is_an_error_response() {
    let world = World::new();
    let script = "echo started; seq 1000 >&2; echo 'no such plan: é' >&2; exit 3";
    let fails = world.serve("fails", &[], &["sh", "-c", script]);
    let answer = world.run(&["call", "fails"]);
    assert_eq!((answer.status.code(), text(&answer.stdout)), (Some(5), ""));
    let said = text(&answer.stderr);
    assert!(said.contains("exit code 3: …") && said.ends_with("1000\nno such plan: é\n"), "{said}");
    assert!((1024..3072).contains(&said.len()), "{said}");

    let _killed = world.serve("killed", &[], &["sh", "-c", "kill -9 $$"]);
    let answer = world.run(&["call", "killed"]);
    assert_eq!(answer.status.code(), Some(5));
    assert!(text(&answer.stderr).contains("killed by signal 9"), "{answer:?}");

    let _absent = world.serve("absent", &[], &["/nonexistent/program"]);
    let answer = world.run(&["call", "absent"]);
    assert_eq!(answer.status.code(), Some(5));
    assert!(
        text(&answer.stderr).contains("exit code 127: onecopy: cannot start /nonexistent/program: "),
        "{answer:?}"
    );

    // What commands say, the server passes on.
    fails.signal(Signal::TERM);
    let (code, _, said) = fails.finish();
    assert_eq!(code, Some(0));
    assert!(said.contains("\n999\n1000\nno such plan: é\n"), "{said}");
}

#[test]
fn a_response_beyond_the_budget_is_an_error_response() {
    let world = World::new();
    let _echo = world.serve("zeros", &["--budget", "1"], &["sh", "-c", "head -c $(cat) /dev/zero"]);
    for bytes in ["1048577", "1048576", "99999999"] {
        let answer = world.run_with_input(&["call", "zeros"], bytes.as_bytes());
        assert_eq!((answer.status.code(), answer.stdout.len()), (Some(5), 0), "{bytes}");
        assert!(text(&answer.stderr).contains("the response"), "{answer:?}");
    }
    // It has not been harmed.
    let answer = world.run_with_input(&["call", "zeros"], b"500000");
    assert_eq!((answer.status.code(), answer.stdout.len()), (Some(0), 500_000));
}

#[test]
fn without_a_server_there_is_an_error_with_a_hint() {
    let world = World::new();
    let alone = world.run_with_input(&["call", "nobody"], b"");
    assert_eq!(alone.status.code(), Some(3));
    assert!(text(&alone.stderr).contains("not running"), "{alone:?}");
    assert!(!world.runtime_directory().exists(), "asking nobody makes nothing");

    let _node = world.node();
    let unserved = world.run(&["call", "nobody"]);
    assert_eq!(unserved.status.code(), Some(3));
    let said = text(&unserved.stderr);
    assert!(said.contains("nobody serves \"nobody\"; --timeout waits"), "{said}");
    assert!(said.contains("onecopy service run nobody -- COMMAND"), "{said}");
    let timed_out = world.run(&["call", "nobody", "--timeout", "0.01"]);
    assert_eq!(timed_out.status.code(), Some(3));
    assert!(text(&timed_out.stderr).contains("nobody came within 0.01 s"), "{timed_out:?}");
}

#[test]
fn a_server_that_comes_later_is_waited_for() {
    let world = World::new();
    let node = world.node();
    let call = world.call(&["late", "--timeout", "20"], b"request");
    // It waits: its client is there.
    while node.service_entry("late").unwrap().is_none() {
        std::thread::yield_now();
    }
    let _late = world.serve("late", &[], &["cat"]);
    let answer = call.wait_with_output().unwrap();
    assert_eq!((answer.status.code(), text(&answer.stdout)), (Some(0), "request"));
}

#[test]
fn jobs_run_side_by_side() {
    let world = World::new();
    let (first, second) = (world.pipe("first"), world.pipe("second"));
    // Each waits for the other one's word, so neither ends unless both run.
    let script = format!(
        "if [ $(cat) = 1 ]; then echo ping >{first}; cat {second}; else cat {first}; echo pong >{second}; fi"
    );
    let _server = world.serve("meet", &["--jobs", "2"], &["sh", "-c", &script]);
    let one = world.call(&["meet"], b"1");
    let two = world.call(&["meet"], b"2");
    assert_eq!(text(&one.wait_with_output().unwrap().stdout), "pong\n");
    assert_eq!(text(&two.wait_with_output().unwrap().stdout), "ping\n");
}

#[test]
fn one_job_at_a_time_is_the_default() {
    let world = World::new();
    let begun = world.pipe("begun");
    let script = format!("echo begun >{begun}; cat; exec sleep 1000");
    let server = world.serve("one", &["--timeout", "1000"], &["sh", "-c", &script]);
    let mut calls = vec![world.call(&["one"], b"1")];
    assert_eq!(line_of(&begun), "begun\n");
    // It waits for its turn, and once it is gone, nobody has to begin it.
    let waiting = world.call(&["one", "--timeout", "0.01"], b"2").wait_with_output().unwrap();
    assert_eq!(waiting.status.code(), Some(4));
    assert!(text(&waiting.stderr).contains("no answer came within 0.01 s"), "{waiting:?}");
    calls[0].kill().unwrap();
    calls[0].wait().unwrap();
    // Its command was killed for want of a client, or this one would not begin.
    calls.push(world.call(&["one"], b"3"));
    assert_eq!(line_of(&begun), "begun\n");
    server.signal(Signal::KILL);
    server.finish();
    let answer = calls.pop().unwrap().wait_with_output().unwrap();
    assert_eq!((answer.status.code(), text(&answer.stdout)), (Some(6), ""));
    assert!(text(&answer.stderr).contains("ended before it answered"), "{answer:?}");
}

#[test]
fn a_killed_server_takes_its_commands_along() {
    let world = World::new();
    let ends = world.pipe("ends");
    let script = format!("exec 3>{ends}; echo begun >&3; exec sleep 1000");
    let server = world.serve("slow", &[], &["sh", "-c", &script]);
    let call = world.call(&["slow"], b"");
    let mut pipe = BufReader::new(std::fs::File::open(&ends).unwrap());
    let mut said = String::new();
    pipe.read_line(&mut said).unwrap();
    server.signal(Signal::KILL);
    pipe.read_to_string(&mut said).unwrap();
    assert_eq!(said, "begun\n");
    let answer = call.wait_with_output().unwrap();
    assert_eq!(answer.status.code(), Some(6), "{answer:?}");
}

#[test]
fn the_call_of_a_killed_server_goes_to_another() {
    let world = World::new();
    // Runs the broker, so that either server may be killed.
    let _node = world.node();
    let (begun, marker) = (world.pipe("begun"), world.path().join("marker"));
    // The first that begins says whose command it is, and never ends. The second answers.
    let marker = marker.to_str().unwrap();
    let script = format!("if mkdir {marker}; then echo $PPID >{begun}; exec sleep 1000; else cat; fi");
    let servers = [0, 1].map(|_| world.serve("twice", &[], &["sh", "-c", &script]));
    let call = world.call(&["twice", "--retries", "1"], b"request");
    let pid: u32 = line_of(&begun).trim_end().parse().unwrap();
    servers.iter().find(|server| server.id() == pid).unwrap().signal(Signal::KILL);
    let answer = call.wait_with_output().unwrap();
    assert_eq!((answer.status.code(), text(&answer.stdout)), (Some(0), "request"), "{answer:?}");
}

#[test]
fn deadlines_and_timeouts_kill_the_command() {
    let world = World::new();
    let (late, slow) = (world.pipe("late"), world.pipe("slow"));
    // The pipe is closed by the end of all that the command has started.
    let sleeper = |pipe: &str| format!("exec 3>{pipe}; cat; sleep 1000 | sleep 1000");
    let _late = world.serve("late", &[], &["sh", "-c", &sleeper(&late)]);
    let late = watch(&late);
    let answer = world.run(&["call", "late", "--deadline", "0.2"]);
    assert_eq!(answer.status.code(), Some(4), "{answer:?}");
    assert!(text(&answer.stderr).contains("deadline has passed"), "{answer:?}");
    until_closed(&late);

    let _slow = world.serve("slow", &["--timeout", "0.2"], &["sh", "-c", &sleeper(&slow)]);
    let slow = watch(&slow);
    let answer = world.run(&["call", "slow"]);
    assert_eq!(answer.status.code(), Some(5));
    assert!(text(&answer.stderr).contains("within the server's 0.2 s"), "{answer:?}");
    until_closed(&slow);
}

/// A pipe's reading end, whether or not somebody writes already.
fn watch(pipe: &str) -> std::fs::File {
    // With a writer there, opening does not wait for one.
    let _writer = std::fs::OpenOptions::new().read(true).write(true).open(pipe).unwrap();
    std::fs::File::open(pipe).unwrap()
}

/// Waits until nobody has the pipe open for writing any more, if anybody had.
fn until_closed(pipe: &std::fs::File) {
    let mut polled = [PollFd::new(pipe, PollFlags::empty())];
    poll(&mut polled, None).unwrap();
    assert!(polled[0].revents().contains(PollFlags::HUP));
}

#[test]
fn cancelled_calls_kill_the_command() {
    let world = World::new();
    let ends = world.pipe("ends");
    let script = format!("exec 3>{ends}; echo begun >&3; exec sleep 1000");
    let _server = world.serve("slow", &[], &["sh", "-c", &script]);
    // The client's process lives on, and cancels; the next client that comes makes the server look.
    let node = world.node();
    let service = node.service::<[u8], [u8]>("slow").unwrap();
    let client = service.client().open().unwrap();
    let pending = client.call(b"").unwrap();
    let mut pipe = BufReader::new(std::fs::File::open(&ends).unwrap());
    let mut said = String::new();
    pipe.read_line(&mut said).unwrap();
    pending.cancel();
    let _another = service.client().open().unwrap();
    pipe.read_to_string(&mut said).unwrap();
    assert_eq!(said, "begun\n");
    // What wants no answer is not cancelled by its sender's end.
    client.notify(b"").unwrap();
    drop(pending);
    drop(client);
    assert_eq!(line_of(&ends), "begun\n");
}

#[test]
fn a_caller_that_is_interrupted_leaves_nothing_behind() {
    let world = World::new();
    let ends = world.pipe("ends");
    let server =
        world.serve("slow", &[], &["sh", "-c", &format!("exec 3>{ends}; echo begun >&3; exec sleep 1000")]);
    let call = world.call(&["slow"], b"");
    let mut pipe = BufReader::new(std::fs::File::open(&ends).unwrap());
    let mut said = String::new();
    pipe.read_line(&mut said).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&call), Signal::INT).unwrap();
    let answer = call.wait_with_output().unwrap();
    assert_eq!((answer.status.code(), text(&answer.stderr)), (Some(130), ""));
    pipe.read_to_string(&mut said).unwrap();
    drop(server);
}

#[test]
fn the_first_signal_lets_running_commands_end_and_the_second_does_not() {
    let world = World::new();
    let (begun, go) = (world.pipe("begun"), world.pipe("go"));
    let script = format!("echo begun >{begun}; cat {go}");
    let start = || {
        let server = world.serve("patient", &[], &["sh", "-c", &script]);
        let call = world.call(&["patient"], b"");
        assert_eq!(line_of(&begun), "begun\n");
        server.signal(Signal::INT);
        // It has taken note of the signal once it refuses what is new.
        let refused = world.run(&["call", "patient"]);
        assert_eq!(refused.status.code(), Some(5));
        assert!(text(&refused.stderr).contains("this server is ending"), "{refused:?}");
        (server, call)
    };
    let (server, call) = start();
    std::fs::write(&go, "the end\n").unwrap();
    let answer = call.wait_with_output().unwrap();
    assert_eq!((answer.status.code(), text(&answer.stdout)), (Some(0), "the end\n"));
    assert_eq!(server.finish().0, Some(0));
    assert!(!world.runtime_directory().join("default.sock").exists());

    let (server, call) = start();
    server.signal(Signal::INT);
    assert_eq!(server.finish().0, Some(130));
    assert_eq!(call.wait_with_output().unwrap().status.code(), Some(6));
    assert!(!world.runtime_directory().join("default.sock").exists());
}

#[test]
fn typed_services_are_called_with_bytes() {
    let world = World::new();
    let node = world.node();
    let server = node.service::<u64, [u32; 2]>("halves").unwrap().server().open().unwrap();
    let serving = std::thread::spawn(move || {
        let request = server.wait(SOON).unwrap().expect("a request is on its way");
        request.respond(&[*request as u32, (*request >> 32) as u32]).unwrap();
        server
    });
    let wrong = world.run_with_input(&["call", "halves"], b"1234567");
    assert_eq!(wrong.status.code(), Some(1));
    let said = text(&wrong.stderr);
    assert!(said.contains("has 7 bytes") && said.contains("is u64 (8 bytes"), "{said}");
    let answer = world.run_with_input(&["call", "halves", "--hex"], &0x0000_0002_0000_0001_u64.to_le_bytes());
    assert_eq!((answer.status.code(), text(&answer.stdout)), (Some(0), "0100000002000000\n"), "{answer:?}");
    drop(serving.join().unwrap());
}

#[test]
fn all_answers_of_a_stream_are_printed_and_those_before_an_error() {
    let world = World::new();
    let node = world.node();
    let server = node.service::<[u8], [u8]>("stream").unwrap().server().open().unwrap();
    let serving = std::thread::spawn(move || {
        let request = server.wait(SOON).unwrap().expect("a request is on its way");
        request.send(b"one\n").unwrap();
        request.send(b"two\n").unwrap();
        request.respond(b"three\n").unwrap();
        let request = server.wait(SOON).unwrap().expect("a request is on its way");
        request.send(b"one\n").unwrap();
        request.fail("no more").unwrap();
        drop(server.wait(SOON).unwrap().expect("a request is on its way"));
        server
    });
    let answers = world.run(&["call", "stream"]);
    assert_eq!((answers.status.code(), text(&answers.stdout)), (Some(0), "one\ntwo\nthree\n"));
    let failed = world.run(&["call", "stream"]);
    assert_eq!((failed.status.code(), text(&failed.stdout)), (Some(5), "one\n"));
    assert!(text(&failed.stderr).contains("the server says: no more"), "{failed:?}");
    let dropped = world.run(&["call", "stream"]);
    assert_eq!((dropped.status.code(), text(&dropped.stdout)), (Some(6), ""));
    drop(serving.join().unwrap());
}

#[test]
fn programs_call_commands() {
    let world = World::new();
    let node = world.node();
    let _upper = world.serve("upper", &["--jobs", "4"], &["tr", "a-z", "A-Z"]);
    let client = node.service::<[u8], [u8]>("upper").unwrap().client().open().unwrap();
    let requests: Vec<String> = (0..20).map(|number| format!("request {number}")).collect();
    let calls: Vec<_> = requests.iter().map(|request| client.call(request.as_bytes()).unwrap()).collect();
    for (request, call) in requests.iter().zip(&calls) {
        assert_eq!(text(&call.wait(SOON).unwrap()), request.to_uppercase());
    }
    let late = client.call_with(b"", CallOptions::new().deadline(Duration::ZERO)).unwrap();
    assert!(matches!(late.wait(SOON), Err(CallError::DeadlinePassed)));
}

#[test]
fn a_reader_that_leaves_ends_the_call_quietly() {
    let world = World::new();
    let ends = world.pipe("ends");
    let _server =
        world.serve("slow", &[], &["sh", "-c", &format!("exec 3>{ends}; echo begun >&3; exec sleep 1000")]);
    let mut call = world.call(&["slow"], b"");
    let mut pipe = BufReader::new(std::fs::File::open(&ends).unwrap());
    let mut said = String::new();
    pipe.read_line(&mut said).unwrap();
    drop(call.stdout.take());
    let answer = call.wait_with_output().unwrap();
    assert_eq!((answer.status.code(), text(&answer.stderr)), (Some(0), ""));
    pipe.read_to_string(&mut said).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let _echo = world.serve("echo", &[], &["echo", "answer"]);
    let output = world.command(&["call", "echo"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn who_serves_and_who_asks_can_be_looked_at() {
    let world = World::new();
    let node = world.node();
    let service = node.service::<u64, [f32]>("lab/curve").unwrap();
    let _server = service.server().open().unwrap();
    let _client = service.client().open().unwrap();
    let pid = std::process::id();
    let list = json(&world.run(&["service", "list", "--json"]));
    let request = "u64 (8 bytes, aligned to 8)";
    let response = "[f32] (slices of 4-byte elements, aligned to 4)";
    let latency = serde_json::json!({"p50_ns": null, "p90_ns": null, "p99_ns": null, "p999_ns": null});
    let expected = serde_json::json!([{
        "name": "lab/curve", "servers": 1, "clients": 1, "request": request, "response": response,
        "calls": 0, "errors": 0, "latency": latency,
    }]);
    assert_eq!(list, expected);
    let status = json(&world.run(&["status", "--json"]));
    assert_eq!((&status["services"], &status["regions"]), (&expected, &serde_json::json!([])));
    let info = json(&world.run(&["service", "info", "lab/curve", "--json"]));
    assert_eq!([&info["request"]["kind"], &info["response"]["kind"]], ["value", "slice"]);
    assert_eq!(info["response"]["element"]["name"], "f32");
    assert!(info["request"]["header"].is_null());
    for port in [&info["servers"][0], &info["clients"][0]] {
        assert_eq!((&port["node"], &port["pid"]), (&"test".into(), &pid.into()));
    }
    for (arguments, expected) in [
        (&["service", "list"][..], &["SERVICE", "lab/curve", request][..]),
        (&["service", "info", "lab/curve"], &["request   u64", "CLIENT", "test", &pid.to_string()]),
        (&["status"], &["lab/curve", "no regions"]),
    ] {
        let output = world.run(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(expected.iter().all(|word| text(&output.stdout).contains(word)), "{output:?}");
    }
    let absent = world.run(&["service", "info", "nobody/home"]);
    assert_eq!(absent.status.code(), Some(3));
    assert!(text(&absent.stderr).contains("nobody has \"nobody/home\" open"), "{absent:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let world = World::new();
    for arguments in [
        &["call"][..],
        &["call", "/x"],
        &["call", "x", "--hex", "--json"],
        &["call", "x", "--timeout", "-1"],
        &["service", "run", "x"],
        &["service", "run", "x", "--"],
        &["service", "run", "x", "--jobs", "0", "--", "cat"],
        &["service", "run", "x", "--budget", "0", "--", "cat"],
        &["service", "info", ""],
    ] {
        assert_eq!(world.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert!(!world.runtime_directory().exists());
    let node = world.node();
    let _typed = node.service::<u64, u64>("typed").unwrap().server().open().unwrap();
    let refused = world.run(&["service", "run", "typed", "--", "cat"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("u64"), "{refused:?}");
}
