//! A server that takes itself for another user's.

use crate::broker::protocol::{NodeId, Refusal};
use crate::broker::server::Server;
use crate::broker::transport::Credentials;
use crate::instance::{Instance, InstanceError};

#[test]
fn another_users_node_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let instance = Instance::in_directory(directory.path().join("run"), "lab").unwrap();
    let own = Credentials::own();
    let broker_uid = own.uid + 1;
    let seat = instance.take_seat_for_test();
    let another = Credentials { uid: broker_uid, ..own };
    let server = Server::for_user(seat.into_place(), another).unwrap().spawn().unwrap();
    // Each attempt meets the server at another moment: before and after it has closed the connection.
    for _ in 0..20 {
        let socket = instance.connect().unwrap().unwrap();
        let error = instance.introduce(&socket, NodeId(1), "n").unwrap_err();
        let expected = Refusal::WrongUser { peer_uid: own.uid, broker_uid };
        assert!(matches!(error, InstanceError::Refused(reason) if reason == expected));
    }
    server.stop().unwrap();
}
