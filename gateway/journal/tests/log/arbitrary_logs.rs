//! Opening a log that nobody wrote: it ends in records that follow one another or in a refusal, never in a panic, and the
//! same both times. The fuzz target asks the same with coverage.

use proptest::prelude::*;
use tidegate_journal::{simulated::SimulatedDisk, simulated::sketch};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_sketch_of_a_log_is_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        // Refusals are as good as records here.
        let _ = sketch::recover(&data);
    }

    #[test]
    fn any_bytes_in_any_file_are_read_or_refused(
        noise in proptest::collection::vec(any::<u8>(), 0..600),
        at in 0..5000_usize,
        of in 0..3_usize,
    ) {
        let disk = crate::support::log_of(15);
        let names = crate::support::segments(&disk);
        let name = names.get(of).map_or("identity", String::as_str);
        crate::support::change(&disk, name, |bytes| {
            let at = at.min(bytes.len());
            let end = (at + noise.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&noise[..end - at]);
        });
        let _ = crate::support::read_all(&disk);
    }
}

#[test]
fn sketches_are_read_and_refused() {
    let (mut read, mut refused) = (0, 0);
    for seed in 0..500 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let data: Vec<u8> = (0..rng.usize(0..100)).map(|_| rng.u8(..)).collect();
        match sketch::recover(&data) {
            Ok(records) => read += records,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 100 && refused > 100, "{read} records read, {refused} logs refused");
}

#[test]
fn an_empty_disk_is_a_new_journal() {
    let (journal, _, recovered) = crate::support::open(&SimulatedDisk::new(1)).unwrap();
    assert_eq!((journal.epoch(), recovered.count()), (1, 0));
}
