//! Messages of a type known at run time only: published as bytes and received as values, and the other way round.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use common::{LONG, directory, node_in};
use onecopy::payload_type::{PayloadType, TypeDescription};
use onecopy::{Delivery, Error, LoanError, OpenError};

#[test]
fn bytes_are_received_as_values_with_their_headers() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<[u32; 3]>("small").unwrap().header::<u64>();
    let mut subscriber = topic.subscriber().open().unwrap();
    let payload = PayloadType::value::<[u32; 3]>().with_header::<u64>();
    let mut publisher = node.any_topic("small").unwrap().publisher(payload).open().unwrap();
    for number in 0..3_u32 {
        let bytes: Vec<u8> = [number; 3].iter().flat_map(|number| number.to_ne_bytes()).collect();
        publisher.publish(&bytes, &u64::from(number).to_ne_bytes()).unwrap();
    }
    for number in 0..3 {
        let message = subscriber.wait(LONG).unwrap();
        assert_eq!((*message, *message.header()), ([number; 3], u64::from(number)));
    }
}

#[test]
fn slices_of_any_size_travel_in_slots_and_in_chunks() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut typed = node.topic::<[u16]>("slices").unwrap().header::<u32>().subscriber().open().unwrap();
    let any = node.any_topic("slices").unwrap();
    let mut bytes = any.subscriber().open().unwrap();
    let payload = PayloadType::slice::<u16>().with_header::<u32>();
    let mut publisher = any.publisher(payload).history(4).open().unwrap();
    for length in [0, 1, 50, 53, 60, 5_000] {
        let numbers: Vec<u16> = (0..length).collect();
        let payload: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        let header = u32::from(length).to_ne_bytes();
        publisher.publish(&payload, &header).unwrap();
        let message = typed.wait(LONG).unwrap();
        assert_eq!((&*message, *message.header()), (&*numbers, u32::from(length)));
        assert_eq!(bytes.wait(LONG).unwrap().as_bytes(), payload);
        assert_eq!(bytes.header_bytes(), header);
    }
}

#[test]
fn headers_of_typed_publishers_reach_those_who_take_bytes_also_from_batches() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("numbers").unwrap().header::<u16>();
    let mut bytes = node.any_topic("numbers").unwrap().subscriber().open().unwrap();
    let mut one = topic.publisher().open().unwrap();
    let mut other = topic.publisher().open().unwrap();
    for round in 0..100_u16 {
        for publisher in [&mut one, &mut other] {
            let mut loan = publisher.loan().unwrap();
            *loan = u64::from(round);
            *loan.header_mut() = round;
            loan.publish().unwrap();
        }
    }
    for _ in 0..200 {
        let number = u64::from_ne_bytes(bytes.wait(LONG).unwrap().as_bytes().try_into().unwrap());
        assert_eq!(u64::from(u16::from_ne_bytes(bytes.header_bytes().try_into().unwrap())), number);
    }
    one.publish_batch(&[1, 2, 3]).unwrap();
    for number in 1..=3_u64 {
        assert_eq!(bytes.wait(LONG).unwrap().as_bytes(), number.to_ne_bytes());
        assert_eq!(bytes.header_bytes(), 99_u16.to_ne_bytes(), "a batch has its publisher's last header");
    }
}

#[test]
fn what_is_no_message_of_the_type_is_refused() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.any_topic("numbers").unwrap();
    let payload = PayloadType::value::<u64>();
    let mut publisher = topic.publisher(payload.clone()).open().unwrap();
    for (payload, header) in [(&[0; 7][..], &[][..]), (&[0; 8], &[1]), (&[], &[])] {
        assert!(matches!(publisher.publish(payload, header), Err(Error::Misfit { .. })));
    }
    assert!(matches!(topic.publisher(PayloadType::value::<u32>()).open(), Err(OpenError::Refused(_))));
    let element = TypeDescription { name: "odd".to_owned(), size_bytes: 7, align_bytes: 2 };
    let odd = PayloadType { element, ..payload };
    assert!(matches!(topic.publisher(odd).open(), Err(OpenError::NoSuchType(_))));
}

#[test]
fn a_reliable_one_waits_for_its_subscribers() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.any_topic("numbers").unwrap();
    let publisher = topic.publisher(PayloadType::value::<u64>()).delivery(Delivery::Reliable).depth(2);
    let mut publisher = publisher.open().unwrap();
    let mut subscriber = node.topic::<u64>("numbers").unwrap().subscriber().open().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..100_u64 {
                publisher.publish_within(&number.to_ne_bytes(), &[], LONG).unwrap();
            }
        });
        for number in 0..100 {
            assert_eq!(*subscriber.wait(LONG).unwrap(), number);
        }
    });
    for number in 0..2_u64 {
        publisher.publish(&number.to_ne_bytes(), &[]).unwrap();
    }
    assert!(matches!(publisher.publish(&[0; 8], &[]), Err(Error::Loan(LoanError::Full))));
}
