//! The same measurements over Unix stream sockets, one connection a subscriber, as programs without shared
//! memory do it.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use zerocopy::{FromZeros, IntoBytes};

use super::plan::{MESSAGE_BYTES, Plan, SURVIVORS};
use super::publisher::PATIENCE;
use super::report::{Report, wait_for_dismissal};
use super::source::Source;
use super::transport::{Header, Inlet, Outlet, Sample, receive_stages, send_stages};
use crate::failure::Failure;
use onecopy::counted;

/// Small messages are read many at once; large ones go past the buffer.
const READ_BYTES: usize = 64 << 10;

pub(super) fn publish(plan: &Plan) -> Result<(), Failure> {
    let source = Source::open(&plan.file, plan.file_bytes)?;
    let sample = Sample::new(&source)?;
    let path = plan.socket();
    let listener = UnixListener::bind(&path).map_err(Failure::system("listen on a Unix socket"))?;
    Report::Ready.send()?;
    let connections: Result<Vec<_>, _> =
        (0..SURVIVORS).map(|_| listener.accept().and_then(|(stream, _)| with_patience(stream))).collect();
    let mut outlet = SocketOutlet {
        connections: connections.map_err(Failure::system("accept a subscriber"))?,
        packet: Vec::with_capacity(size_of::<Header>() + MESSAGE_BYTES),
    };
    std::fs::remove_file(&path).map_err(Failure::system("remove a Unix socket"))?;
    send_stages(plan, &sample, &mut outlet)?;
    Report::Finished.send()?;
    wait_for_dismissal()
}

pub(super) fn subscribe(plan: &Plan) -> Result<(), Failure> {
    let connection = UnixStream::connect(plan.socket()).and_then(with_patience);
    let connection = connection.map_err(Failure::system("connect to a Unix socket"))?;
    let connection = BufReader::with_capacity(READ_BYTES, connection);
    let mut inlet = SocketInlet { connection, buffer: vec![0; MESSAGE_BYTES] };
    Report::Ready.send()?;
    receive_stages(plan, &mut inlet)?;
    Report::Finished.send()?;
    wait_for_dismissal()
}

pub(super) fn with_patience(stream: UnixStream) -> std::io::Result<UnixStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

struct SocketOutlet {
    connections: Vec<UnixStream>,
    packet: Vec<u8>,
}

impl Outlet for SocketOutlet {
    fn send(&mut self, header: Header, payload: &[u8]) -> Result<(), Failure> {
        // One write a message, as a program that cares would do it: header and payload lie together. This stands for
        // writing the message, which over onecopy happens in shared memory.
        self.packet.clear();
        self.packet.extend_from_slice(header.as_bytes());
        self.packet.extend_from_slice(payload);
        for connection in &mut self.connections {
            connection.write_all(&self.packet).map_err(Failure::system("write to a subscriber"))?;
        }
        Ok(())
    }

    fn await_acknowledgements(&mut self) -> Result<(), Failure> {
        for connection in &mut self.connections {
            connection.read_exact(&mut [0]).map_err(Failure::system("read from a subscriber"))?;
        }
        Ok(())
    }
}

struct SocketInlet {
    connection: BufReader<UnixStream>,
    buffer: Vec<u8>,
}

impl Inlet for SocketInlet {
    fn receive(&mut self, read: &mut dyn FnMut(&Header, &[u8])) -> Result<(), Failure> {
        let mut header = Header::new_zeroed();
        self.connection.read_exact(header.as_mut_bytes()).map_err(unreadable)?;
        let length = usize::try_from(header.bytes).unwrap_or(usize::MAX);
        let payload = self.buffer.get_mut(..length);
        let payload =
            payload.ok_or_else(|| Failure::Demo(format!("a message claims {}", counted(length, "byte"))))?;
        self.connection.read_exact(payload).map_err(unreadable)?;
        read(&header, payload);
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<(), Failure> {
        self.connection.get_mut().write_all(&[1]).map_err(Failure::system("write to the publisher"))
    }
}

/// A publisher that has gone is missed by whoever started both, and need not be told of twice.
fn unreadable(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Failure::Interrupted,
        _ => Failure::system("read from the publisher")(error),
    }
}
