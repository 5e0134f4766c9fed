//! Misbehaves on demand. The fault is named by the operator's configuration or else by the shard
//! key, as `fault:NAME`; any other key is hashed.
//!
//! - `{"route":"NAME"}`: every `route` call has this fault
//! - `{"configure":"NAME"}`, `{"self-test":"NAME"}`: so has the load

use std::sync::atomic::{AtomicU32, Ordering};

use tidegate_policy_sdk::{
    ErrorCode, Input, Policy, PolicyError, Request, Router, Targets, export_router, log, topology,
};

struct Faulty {
    config: String,
}

impl Policy for Faulty {
    fn configure(config: &str) -> Result<Self, PolicyError> {
        if let Some(fault) = setting(config, "configure") {
            commit(fault)?;
        }
        Ok(Self { config: config.to_owned() })
    }

    fn self_test(&self) -> Result<u32, PolicyError> {
        match setting(&self.config, "self-test") {
            Some(fault) => commit(fault).map(|_| 1),
            None => Ok(0),
        }
    }
}

impl Router for Faulty {
    fn inputs() -> Vec<Input> {
        vec![Input::ShardKey, Input::Header("X-Fault".into())]
    }

    fn route(&self, request: &Request) -> Result<Targets, PolicyError> {
        let key = request.input(0);
        let fault = setting(&self.config, "route").or(request.input(1)).or(key.and_then(|k| k.strip_prefix("fault:")));
        match (fault, key) {
            (Some(fault), _) => commit(fault),
            (None, Some(key)) => Ok(Targets::Hash(topology::hash_key(key))),
            (None, None) => Ok(Targets::AllOfTenant),
        }
    }
}

/// The text value of a key of a flat JSON object. Enough for a guest that tests write.
fn setting<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = config.split_once(&format!("\"{name}\""))?;
    rest.split('"').nth(1)
}

/// Does what the fault's name says.
fn commit(fault: &str) -> Result<Targets, PolicyError> {
    match fault {
        "trap" => core::arch::wasm32::unreachable(),
        "loop" => loop {
            std::hint::black_box(fault);
        },
        "worn" => {
            // Fine on the first call of an instance only.
            static CALLS: AtomicU32 = AtomicU32::new(0);
            if CALLS.fetch_add(1, Ordering::Relaxed) > 0 {
                return commit("loop");
            }
            Ok(Targets::AllOfTenant)
        }
        "hoard" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        "stack" => Ok(Targets::Hash(descend(std::hint::black_box(1)))),
        "stray" => Ok(Targets::Shards(vec![u32::MAX])),
        "empty" => Ok(Targets::Shards(Vec::new())),
        "flood" => Ok(Targets::Shards(vec![0; 1 << 20])),
        "chatter" => {
            for _ in 0..100_000 {
                log::info(&"x".repeat(2000));
            }
            Ok(Targets::AllOfTenant)
        }
        _ => Err(PolicyError::new(ErrorCode::BadInput, format!("refused as asked: {fault}"))),
    }
}

/// Recurses without end.
#[expect(unconditional_recursion, reason = "that is the fault")]
fn descend(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 64]);
    descend(frame[0] + 1) + frame[63]
}

export_router!(Faulty);
