//! Amounts as people read them: three digits and a unit. Programs get the plain numbers, in `--json`.

use crate::inventory_json::unknown;

/// A count that may not be known.
pub(crate) fn count(count: Option<u64>) -> String {
    count.map_or_else(unknown, |count| count.to_string())
}

/// A process that may not be known.
pub(crate) fn process(pid: Option<u32>) -> String {
    pid.map_or_else(unknown, |pid| format!("process {pid}"))
}

/// A time that may not be known, such as `1.23 µs`.
pub(crate) fn duration(nanoseconds: Option<u64>) -> String {
    let Some(nanoseconds) = nanoseconds else { return unknown() };
    scaled(nanoseconds as f64, 1000.0, &["ns", "µs", "ms", "s"])
}

/// Memory, such as `1.50 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// A number of things, or of things a second, such as `12.3 k`.
pub(crate) fn amount(amount: f64) -> String {
    scaled(amount, 1000.0, &["", "k", "M", "G"]).trim_end().to_owned()
}

fn scaled(amount: f64, step: f64, units: &[&str]) -> String {
    let (mut amount, mut unit) = (amount, 0);
    // From where it would be shown with four digits, the next unit is meant.
    while amount >= step - 0.5 && unit + 1 < units.len() {
        amount /= step;
        unit += 1;
    }
    let is_whole = unit == 0 && amount.fract() == 0.0;
    let digits = match amount {
        _ if is_whole => 0,
        amount if amount < 9.995 => 2,
        amount if amount < 99.95 => 1,
        _ => 0,
    };
    format!("{amount:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        let times = [0, 999, 1000, 12_345, 999_499, 999_600, 1_500_000_000];
        let shown = times.map(|time| duration(Some(time)));
        assert_eq!(shown, ["0 ns", "999 ns", "1.00 µs", "12.3 µs", "999 µs", "1.00 ms", "1.50 s"]);
        assert_eq!(duration(None), "-");
        assert_eq!([0.0, 0.25, 10.0, 1234.0, 9.9e12].map(amount), ["0", "0.25", "10", "1.23 k", "9900 G"]);
        assert_eq!(
            [0, 1023, 1024, 1 << 20, 5 << 40].map(bytes),
            ["0 B", "1023 B", "1.00 KiB", "1.00 MiB", "5.00 TiB"]
        );
    }
}
