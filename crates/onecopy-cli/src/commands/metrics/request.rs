//! What a scraper asks for. Its bytes are parsed by a library.

/// Largest head of a request.
pub(crate) const HEAD_BYTES_MAX: usize = 8 << 10;
/// Most headers in it.
const HEADERS_MAX: usize = 64;

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Page,
    NotFound,
    MethodNotAllowed,
    BadRequest,
}

/// The answer to a request of which so much has come; `None` while more of it is needed.
pub(crate) fn answer_to(head: &[u8]) -> Option<Answer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) if head.len() >= HEAD_BYTES_MAX => Some(Answer::BadRequest),
        Ok(httparse::Status::Partial) => None,
        Err(_) => Some(Answer::BadRequest),
        Ok(httparse::Status::Complete(_)) => {
            let path = request.path.map(|path| path.split_once('?').map_or(path, |(path, _)| path));
            Some(match (request.method, path) {
                (Some("GET"), Some("/metrics")) => Answer::Page,
                (Some("GET"), _) => Answer::NotFound,
                _ => Answer::MethodNotAllowed,
            })
        }
    }
}
