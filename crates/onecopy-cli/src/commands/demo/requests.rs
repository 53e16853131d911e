//! A service between two processes: the coordinator asks, another answers, and every answer is checked. Once
//! over onecopy and once over a Unix socket, one request at a time.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use onecopy::Node;
use zerocopy::{FromZeros, IntoBytes};

use super::plan::{CALLS, INSTANCE, Plan, SERVICE};
use super::publisher::PATIENCE;
use super::report::{Report, wait_for_dismissal};
use super::socket::with_patience;
use super::transport::now_nanoseconds;
use crate::failure::Failure;

/// What a request and its answer consist of: a cache line.
type Words = [u64; 8];

/// The answering process, over onecopy.
pub(super) fn serve(plan: &Plan) -> Result<(), Failure> {
    let node = Node::builder().directory(&plan.directory).instance(INSTANCE).name("server").open()?;
    let server = node.service::<Words, Words>(SERVICE)?.server().open()?;
    Report::Ready.send()?;
    for number in 0..CALLS {
        let request = server.wait(PATIENCE)?;
        let request = request.ok_or_else(|| Failure::Demo(format!("request {number} did not come")))?;
        let responded = request.respond(&answer(*request));
        responded.map_err(|error| Failure::Demo(format!("request {number} was not answered: {error}")))?;
    }
    Report::Finished.send()?;
    wait_for_dismissal()
}

/// Asks it, and gives the time of each call, in nanoseconds.
pub(super) fn call(node: &Node) -> Result<Vec<u64>, Failure> {
    let client = node.service::<Words, Words>(SERVICE)?.client().open()?;
    client.wait_for_server(PATIENCE)?;
    measure(|request| Ok(*client.call(request)?.wait(PATIENCE)?))
}

/// The answering process, over a Unix socket.
pub(super) fn serve_socket(plan: &Plan) -> Result<(), Failure> {
    let path = plan.socket();
    let listener = UnixListener::bind(&path).map_err(Failure::system("listen on a Unix socket"))?;
    Report::Ready.send()?;
    let connection = listener.accept().and_then(|(connection, _)| with_patience(connection));
    let mut connection = connection.map_err(Failure::system("accept a client"))?;
    std::fs::remove_file(&path).map_err(Failure::system("remove a Unix socket"))?;
    let mut request = Words::new_zeroed();
    for _ in 0..CALLS {
        connection.read_exact(request.as_mut_bytes()).map_err(Failure::system("read a request"))?;
        connection.write_all(answer(request).as_bytes()).map_err(Failure::system("answer a request"))?;
    }
    Report::Finished.send()?;
    wait_for_dismissal()
}

/// Asks it, and gives the time of each call, in nanoseconds.
pub(super) fn call_socket(path: &Path) -> Result<Vec<u64>, Failure> {
    let connection = UnixStream::connect(path).and_then(with_patience);
    let mut connection = connection.map_err(Failure::system("connect to a Unix socket"))?;
    measure(|request| {
        let mut answer = Words::new_zeroed();
        connection.write_all(request.as_bytes()).map_err(Failure::system("send a request"))?;
        connection.read_exact(answer.as_mut_bytes()).map_err(Failure::system("read an answer"))?;
        Ok(answer)
    })
}

fn measure(mut call: impl FnMut(&Words) -> Result<Words, Failure>) -> Result<Vec<u64>, Failure> {
    let mut nanoseconds = Vec::with_capacity(usize::try_from(CALLS).unwrap_or(0));
    for number in 0..CALLS {
        let request = request(number);
        let asked = now_nanoseconds();
        let answered = call(&request)?;
        nanoseconds.push(now_nanoseconds().saturating_sub(asked));
        if answered != answer(request) {
            return Err(Failure::Demo(format!("request {number} got the wrong answer")));
        }
    }
    Ok(nanoseconds)
}

/// No two are alike, so that an answer tells which request it is of.
fn request(number: u64) -> Words {
    std::array::from_fn(|index| number * 8 + index as u64)
}

fn answer(request: Words) -> Words {
    request.map(|word| word.wrapping_mul(3).wrapping_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_answer_is_noticed() {
        assert_eq!(measure(|request| Ok(answer(*request))).unwrap().len() as u64, CALLS);
        let stale = answer(request(0));
        assert!(matches!(measure(|_| Ok(stale)), Err(Failure::Demo(what)) if what.contains("request 1 ")));
    }
}
