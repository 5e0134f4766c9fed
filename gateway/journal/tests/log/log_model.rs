//! Anything that can be done to a journal, in any order, beside a model of what it must not forget.

use proptest::prelude::*;
use tidegate_journal::{
    matrix::{Deed, Loss, SEGMENT_BYTES, World},
    simulated::{Fault, Operation},
};

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        Just(Operation::Create),
        Just(Operation::Write),
        Just(Operation::Sync),
        Just(Operation::SyncDirectory),
        Just(Operation::Rename),
        Just(Operation::Remove),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::CrashBefore),
        Just(Fault::CrashDuring),
        Just(Fault::CrashAfter),
        Just(Fault::DeviceFails),
        Just(Fault::NoSpace),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let loss = prop_oneof![Just(Loss::Kill), Just(Loss::Power)];
    prop_oneof![
        20 => (0..500_usize).prop_map(|bytes| Deed::Append { bytes }),
        2 => (500..2000_usize).prop_map(|bytes| Deed::Append { bytes }),
        10 => Just(Deed::Step),
        3 => (0..20_u64).prop_map(|keep| Deed::Release { keep }),
        1 => (operation(), 1..5_u64, fault()).prop_map(|(operation, nth, fault)| Deed::Fail { operation, nth, fault }),
        1 => (1..30_u64).prop_map(|nth| Deed::CrashAt { nth }),
        1 => (0..3 * SEGMENT_BYTES).prop_map(|bytes| Deed::Room { bytes }),
        2 => Just(Deed::Mend),
        2 => (loss, proptest::option::of(1..12_u64)).prop_map(|(loss, again)| Deed::Restart { loss, again }),
    ]
}

/// The model took the process's end at that order for a journal that stopped on a disk that works.
#[test]
fn a_process_that_ends_while_it_gives_a_half_made_segment_back_has_ended() {
    let mut world = World::new(1).unwrap();
    let end = Deed::Fail { operation: Operation::Remove, nth: 1, fault: Fault::CrashDuring };
    let append = Deed::Append { bytes: 100 };
    for deed in [Deed::Room { bytes: 0 }, append, Deed::Step, end, Deed::Step] {
        world.act(deed).unwrap();
    }
    assert!(world.is_over(), "no segment was given back");
    for deed in [Deed::Mend, Deed::Step, Deed::Restart { loss: Loss::Power, again: None }, append, Deed::Step] {
        world.act(deed).unwrap();
    }
    assert_eq!(world.seen().opened, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_the_log_keeps_what_it_acknowledged(
        seed in any::<u64>(),
        deeds in proptest::collection::vec(deed(), 1..150),
    ) {
        let mut world = World::new(seed).unwrap();
        for (at, deed) in deeds.iter().enumerate() {
            if let Err(wrong) = world.act(*deed) {
                return Err(TestCaseError::fail(format!("seed {seed}, deed {at}, {deed:?}: {wrong}")));
            }
        }
        for loss in [Loss::Power, Loss::Kill, Loss::Power] {
            if let Err(wrong) = world.act(Deed::Restart { loss, again: None }) {
                return Err(TestCaseError::fail(format!("seed {seed}, at the end, {loss:?}: {wrong}")));
            }
        }
    }
}
