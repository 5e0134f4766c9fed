//! Faults that every hook can have.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicU32, Ordering},
};

use tidegate_policy_sdk::{ErrorCode, PolicyError, log};

/// Bytes of an absurdly long text. Less than an instance's memory, so that the answer is made.
const HUGE_BYTES: usize = 4 << 20;

/// Does what the fault's name says. Some faults return.
pub fn common(fault: &str) -> Result<(), PolicyError> {
    match fault {
        "trap" => core::arch::wasm32::unreachable(),
        "loop" => loop {
            std::hint::black_box(fault);
        },
        "worn" => {
            // Fine on the first call of an instance only.
            static CALLS: AtomicU32 = AtomicU32::new(0);
            if CALLS.fetch_add(1, Ordering::Relaxed) > 0 { common("loop") } else { Ok(()) }
        }
        "hoard" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        "stack" => {
            std::hint::black_box(descend(std::hint::black_box(1)));
            Ok(())
        }
        "chatter" => {
            for _ in 0..100_000 {
                log::info(&"x".repeat(2000));
            }
            Ok(())
        }
        "novel" => Err(PolicyError::new(ErrorCode::Other, huge())),
        _ => Err(PolicyError::new(ErrorCode::BadInput, format!("refused as asked: {fault}"))),
    }
}

/// Recurses without end.
#[expect(unconditional_recursion, reason = "that is the fault")]
fn descend(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 64]);
    descend(frame[0] + 1) + frame[63]
}

/// A long text.
pub fn huge() -> String {
    "x".repeat(HUGE_BYTES)
}

/// Bytes that are no text.
pub fn not_utf8() -> String {
    // SAFETY: not sound, on purpose: nothing here looks at the text, and the gateway must notice.
    unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xfe, b'z']) }
}

/// What this instance was told before; it remembers what it is told now.
pub fn before(now: Option<&str>) -> Option<String> {
    thread_local! {
        static BEFORE: RefCell<Option<String>> = const { RefCell::new(None) };
    }
    BEFORE.with(|before| before.replace(now.map(str::to_owned)))
}

/// Whether this is the third, sixth, ... call of this instance.
pub fn third_call() -> bool {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed) % 3 == 2
}
