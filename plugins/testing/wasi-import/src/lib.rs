//! A hash router that asks WASI for randomness: a policy must not, and the gateway says so.

use tidegate_policy_sdk::{Input, Policy, PolicyError, Request, Router, Targets, export_router};

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(buffer: *mut u8, length: usize) -> i32;
}

struct Random;

impl Policy for Random {
    fn configure(_: &str) -> Result<Self, PolicyError> {
        Ok(Self)
    }
}

impl Router for Random {
    fn inputs() -> Vec<Input> {
        vec![Input::ShardKey]
    }

    fn route(&self, _: &Request) -> Result<Targets, PolicyError> {
        let mut hash = [0_u8; 8];
        // SAFETY: the buffer lives across the call and has the length given.
        unsafe { random_get(hash.as_mut_ptr(), hash.len()) };
        Ok(Targets::Hash(u64::from_le_bytes(hash)))
    }
}

export_router!(Random);
