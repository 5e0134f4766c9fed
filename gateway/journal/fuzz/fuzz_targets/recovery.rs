//! Opening a log that nobody wrote: it ends in records that follow one another or in a refusal, never in a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_journal::simulated::sketch;

fuzz_target!(|data: &[u8]| {
    let _ = sketch::recover(data);
});
