//! Figures for people.

use std::time::Duration;

/// Bytes: `812 B`, `16.3 KiB`, `1.0 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const KIB: f64 = 1024.0;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let count = bytes as f64;
    if count < KIB {
        format!("{bytes} B")
    } else if count < KIB * KIB {
        format!("{:.1} KiB", count / KIB)
    } else {
        format!("{:.1} MiB", count / KIB / KIB)
    }
}

/// A duration: `840 ns`, `12.3 us`, `4.5 ms`, `1.20 s`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1e-6 {
        format!("{} ns", duration.as_nanos())
    } else if seconds < 1e-3 {
        format!("{:.1} us", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_unit_that_reads_best() {
        assert_eq!([812, 16_700, 1 << 20].map(bytes), ["812 B", "16.3 KiB", "1.0 MiB"]);
        let durations = [840, 12_340, 4_500_000, 1_200_000_000].map(Duration::from_nanos);
        assert_eq!(durations.map(duration), ["840 ns", "12.3 us", "4.5 ms", "1.20 s"]);
    }
}
