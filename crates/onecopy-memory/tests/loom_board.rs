//! Models of the word by which a server sees whether anybody still waits for the answer to a request. The
//! client sets it to the call's number before it publishes the request, and to something else when it gives
//! the call up.
#![cfg(loom)]

mod model;

use loom::thread;
use onecopy_memory::board::{Board, PeerWords};
use onecopy_memory::ring::RingReader;
use onecopy_memory::sync::{Arc, AtomicBool, Ordering};

/// The number of the call whose request is the message at `position`.
fn call(position: u64) -> u64 {
    100 + position
}

/// Receives a request, if there is one, and says whether somebody waits for it.
fn receive(reader: &mut RingReader, word: &PeerWords) -> Option<(u64, bool)> {
    let position = model::receive(reader)?;
    Some((position, word.load(0) == call(position)))
}

#[test]
fn a_request_that_somebody_waits_for_is_handed_out() {
    model::check(3, || {
        let mut writer = model::writer(0, true);
        let mut reader = model::attached(&mut writer, 0);
        let ((first, first_word), (second, second_word)) = (Board::heap(), Board::heap());
        let calling = thread::spawn(move || {
            for (position, board) in [&first, &second].into_iter().enumerate() {
                board.set(0, call(position as u64));
                model::publish(&mut writer);
            }
            (writer, first, second)
        });
        for word in [first_word, second_word] {
            let Some((position, is_wanted)) = receive(&mut reader, &word) else { break };
            assert!(is_wanted, "request {position} was there before the client's interest in it");
        }
        let _kept = calling.join().expect("the client ends");
    });
}

#[test]
fn a_call_in_the_place_of_another_is_not_taken_for_it() {
    model::check(3, || {
        let mut writer = model::writer(0, true);
        let mut reader = model::attached(&mut writer, 0);
        let (board, word) = Board::heap();
        let calling = thread::spawn(move || {
            board.set(0, call(0));
            model::publish(&mut writer);
            board.set(0, 0);
            board.set(0, call(1));
            model::publish(&mut writer);
            (writer, board)
        });
        let first = receive(&mut reader, &word);
        let second = receive(&mut reader, &word);
        if let (Some((0, _)), Some((position, is_wanted))) = (first, second) {
            assert_eq!((position, is_wanted), (1, true), "the second call was never given up");
            // Whoever knows of the second call knows that the first is over.
            assert_ne!(word.load(0), call(0));
        }
        let _kept = calling.join().expect("the client ends");
    });
}

#[test]
fn a_request_that_comes_after_the_call_was_given_up_is_passed_over() {
    model::check(3, || {
        let mut writer = model::writer(0, true);
        let mut reader = model::attached(&mut writer, 0);
        let (board, word) = Board::heap();
        let is_given_up = Arc::new(AtomicBool::new(false));
        let calling = {
            let is_given_up = Arc::clone(&is_given_up);
            thread::spawn(move || {
                board.set(0, call(0));
                model::publish(&mut writer);
                board.set(0, 0);
                // However the server gets to know: a later message, say.
                is_given_up.store(true, Ordering::Release);
                (writer, board)
            })
        };
        let knows = is_given_up.load(Ordering::Acquire);
        if let Some((position, is_wanted)) = receive(&mut reader, &word) {
            assert_eq!(position, 0);
            assert!(!(knows && is_wanted), "it was handed out after it had been given up");
        } else {
            assert!(!knows, "the request was published before the call was given up");
        }
        let _kept = calling.join().expect("the client ends");
    });
}

#[test]
fn once_given_up_a_call_stays_so() {
    model::check(3, || {
        let (board, word) = Board::heap();
        board.set(0, call(0));
        let giving_up = thread::spawn(move || {
            board.set(0, 0);
            board
        });
        let looks = [word.load(0), word.load(0), word.load(0)];
        let given_up = looks.iter().position(|value| *value == 0).unwrap_or(looks.len());
        assert!(looks[given_up..].iter().all(|value| *value == 0), "{looks:?}");
        let _kept = giving_up.join().expect("the client ends");
        assert_eq!(word.load(0), 0);
    });
}

/// A word may tell of something else that was written before it.
#[test]
fn whoever_sees_a_word_sees_what_was_done_before_it_was_set() {
    model::check(3, || {
        let (board, word) = Board::heap();
        let done = Arc::new(AtomicBool::new(false));
        let setting = {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                done.store(true, Ordering::Relaxed);
                board.set(0, 1);
                board
            })
        };
        if word.load(0) == 1 {
            assert!(done.load(Ordering::Relaxed));
        }
        let _kept = setting.join().expect("the client ends");
    });
}
