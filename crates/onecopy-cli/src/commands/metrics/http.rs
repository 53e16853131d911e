//! As much of HTTP/1.1 as a scraper needs: one request at a time, of bounded size and time, and the
//! connection is closed behind the answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::request::{Answer, answer_to};
use crate::failure::Failure;
use crate::signals::{Signals, Woken};

/// How long a request may take to come, and its answer to be taken: nobody else is served meanwhile.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves what `page` gives, until a signal comes.
pub(super) fn serve(
    address: SocketAddr,
    signals: &Signals,
    page: impl Fn() -> Result<String, Failure>,
) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).map_err(Failure::system(format!("listen at {address}")))?;
    listener.set_nonblocking(true).map_err(Failure::system("listen"))?;
    let address = listener.local_addr().map_err(Failure::system("listen"))?;
    eprintln!("onecopy: metrics at http://{address}/metrics");
    loop {
        match signals.wait(&[(listener.as_fd(), PollFlags::IN)], None)? {
            Woken::Signal => return Ok(()),
            Woken::Deadline | Woken::Ready(_) => {}
        }
        match listener.accept() {
            Ok((stream, peer)) => {
                if let Err(error) = answer(stream, &page) {
                    tracing::debug!(%peer, %error, "a request was not answered");
                }
            }
            // It left before it was accepted, or there is no descriptor for it now.
            Err(error) => tracing::debug!(%error, "nobody was accepted"),
        }
    }
}

fn answer(mut stream: TcpStream, page: impl Fn() -> Result<String, Failure>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    let mut head = Vec::new();
    let answer = loop {
        if let Some(answer) = answer_to(&head) {
            break answer;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let mut more = [0; 1024];
        match stream.read(&mut more)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => head.extend_from_slice(&more[..read]),
        }
    };
    let (status, kind, body) = match answer {
        Answer::Page => match page() {
            Ok(body) => ("200 OK", "text/plain; version=0.0.4; charset=utf-8", body),
            Err(failure) => ("503 Service Unavailable", PLAIN, format!("{}\n", failure.explanation())),
        },
        Answer::NotFound => ("404 Not Found", PLAIN, "the metrics are at /metrics\n".to_owned()),
        Answer::MethodNotAllowed => ("405 Method Not Allowed", PLAIN, "only GET is served\n".to_owned()),
        Answer::BadRequest => ("400 Bad Request", PLAIN, "this is no request that can be read\n".to_owned()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nAllow: GET\r\nConnection: close\r\n\r\n"
    );
    write_by(Instant::now() + REQUEST_TIMEOUT, &mut stream, format!("{head}{body}").as_bytes())
}

/// Writes all, unless the other side takes too long to take it.
fn write_by(deadline: Instant, stream: &mut TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        let written = stream.write(bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

const PLAIN: &str = "text/plain; charset=utf-8";
