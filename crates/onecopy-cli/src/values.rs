//! What people write on the command line for names, times and sizes, refused before anything is opened if it makes no
//! sense.

use std::time::Duration;

/// The name of a topic or a service.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    onecopy::topic_name::check(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// A time in seconds.
pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds, such as 2.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// An amount of memory in MiB, as bytes.
pub(crate) fn parse_mebibytes(text: &str) -> Result<usize, String> {
    let mebibytes: usize = text.parse().map_err(|_| "not a number of mebibytes, such as 64".to_owned())?;
    match mebibytes.checked_mul(1 << 20) {
        Some(0) => Err("nothing fits into 0 MiB: write 1 or more".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("more bytes than memory has addresses".to_owned()),
    }
}

/// The library's budget for messages under way, as [`parse_mebibytes`] reads it.
pub(crate) const BUDGET_MEBIBYTES_DEFAULT: &str = "1024";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_memory_can_have() {
        assert_eq!(parse_mebibytes("3"), Ok(3 << 20));
        assert_eq!(parse_mebibytes(BUDGET_MEBIBYTES_DEFAULT), Ok(onecopy::limits::BUDGET_BYTES_DEFAULT));
        for bad in ["", "0", "-1", "1.5", "17592186044416"] {
            assert!(parse_mebibytes(bad).is_err(), "{bad}");
        }
    }
}
