//! Models of a reader that falls asleep while messages come: if a wake-up were lost, loom would find the deadlock.
#![cfg(loom)]

mod model;

use loom::thread;
use onecopy_memory::ring::RingReader;
use onecopy_memory::sync::{Arc, full_barrier};

/// Receives `messages` messages and sleeps between them, as the library's subscribers do.
fn sleep_and_receive(reader: &mut RingReader, messages: u64) {
    while reader.cursor() < messages {
        if model::receive(reader).is_some() {
            continue;
        }
        let value = reader.prepare_sleep(false);
        full_barrier();
        if !reader.is_ready() {
            reader.wake_word().wait(value);
        }
        reader.cancel_sleep();
    }
}

#[test]
fn a_message_that_comes_while_its_reader_falls_asleep() {
    model::check(3, || {
        let mut writer = model::writer(0, true);
        let mut reader = model::attached(&mut writer, 0);
        writer.readers().may_sleep(model::key(0), None);
        let publishing = thread::spawn(move || {
            model::publish(&mut writer);
            model::publish(&mut writer);
        });
        sleep_and_receive(&mut reader, 2);
        publishing.join().expect("the writer ends");
    });
}

#[test]
fn a_message_that_comes_while_its_reader_announces_that_it_may_sleep() {
    model::check(2, || {
        let mut writer = model::writer(0, true);
        let mut reader = model::attached(&mut writer, 0);
        let readers = Arc::clone(writer.readers());
        let publishing = thread::spawn(move || {
            model::publish(&mut writer);
            // Keep the futex word until everybody is done with it.
            writer
        });
        let announcing = thread::spawn(move || readers.may_sleep(model::key(0), None));
        sleep_and_receive(&mut reader, 1);
        announcing.join().expect("the announcement ends");
        publishing.join().expect("the writer ends");
    });
}

#[test]
fn two_readers_on_one_word() {
    model::check(2, || {
        let mut writer = model::writer(0, true);
        let mut readers = [0, 1].map(|number| model::attached(&mut writer, number));
        for number in [0, 1] {
            writer.readers().may_sleep(model::key(number), None);
        }
        let publishing = thread::spawn(move || model::publish(&mut writer));
        let [first, second] = &mut readers;
        sleep_and_receive(first, 1);
        sleep_and_receive(second, 1);
        publishing.join().expect("the writer ends");
    });
}
