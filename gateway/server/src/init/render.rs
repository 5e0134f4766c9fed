//! The plan as a commented `tidegate.toml`.

use std::fmt;

use crate::{
    cli::ShardArg,
    init::plan::{LeftOut, Plan, Served},
};

/// Displays as the file.
pub(super) struct Render<'a> {
    pub(super) shards: &'a [ShardArg],
    pub(super) plan: &'a Plan,
}

const HEAD: &str = r#"# Written by `tidegate init`. Every key: gateway/docs/CONFIG.md.
# Test it with `tidegate check --config FILE`, serve it with `tidegate serve --config FILE`.

[http]
listen = "127.0.0.1:8080"

[admin]
# Keep it away from the internet. Away from a loopback address, /admin/* needs a token.
listen = "127.0.0.1:9090"
# token = "env:TIDEGATE_ADMIN_TOKEN"

[cache]
l1_bytes = "256MiB"

# Who decides where a row lives. Without this: the hash of its shard key.
# [policies]
# dir = "policies"
# [policies.route]
# plugin = "hash-router"    # policies/hash-router.wasm

# The shards' names decide where rows live: do not rename them once there is data.
"#;

impl fmt::Display for Render<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for shard in self.shards {
            write_shard(f, shard)?;
        }
        f.write_str("# What is served, one table each, under /v1/NAME.\n")?;
        for served in &self.plan.served {
            write_served(f, served)?;
        }
        if !self.plan.left_out.is_empty() {
            f.write_str("\n# Left out, with the reason.\n")?;
        }
        for left_out in &self.plan.left_out {
            write_left_out(f, left_out)?;
        }
        Ok(())
    }
}

fn write_shard(f: &mut fmt::Formatter<'_>, shard: &ShardArg) -> fmt::Result {
    if has_password(&shard.primary) {
        let variable = format!("SHARD_{}", shard.name.to_uppercase().replace('-', "_"));
        writeln!(
            f,
            "# This URL holds a password. Better: primary = \"env:{variable}\", with the URL in that variable."
        )?;
    }
    writeln!(f, "[shards.{}]\nprimary = {}\n", key(&shard.name), quoted(&shard.primary))
}

fn write_served(f: &mut fmt::Formatter<'_>, served: &Served) -> fmt::Result {
    writeln!(f, "\n# {}: {}", comment(&served.relation), comment(&served.columns.join(", ")))?;
    if served.runs_code {
        writeln!(f, "# It has triggers or rules, so every write to it empties the cache.")?;
    }
    writeln!(f, "[collections.{}]\ntable = {}", key(&served.name), quoted(&served.table))?;
    let names: Vec<String> = served.key.iter().map(|name| quoted(name)).collect();
    writeln!(f, "key = [{}]", names.join(", "))?;
    // With one key column there is nothing to choose.
    if names.len() > 1 {
        writeln!(f, "# Rows with the same value of these columns are on one shard.\nshard_key = [{}]", names[0])?;
    }
    writeln!(f, "# ttl = \"60s\"")
}

fn write_left_out(f: &mut fmt::Formatter<'_>, left_out: &LeftOut) -> fmt::Result {
    writeln!(f, "\n# {}", comment(&left_out.reason))?;
    writeln!(f, "# [collections.{}]", comment(&key(&left_out.name)))?;
    writeln!(f, "# table = {}", quoted(&left_out.table))
}

/// Whether a URL holds a password; `env:` and `file:` never do.
fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let in_user = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    in_user || rest.contains("?password=") || rest.contains("&password=")
}

/// A TOML string.
pub(super) fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's; JSON alone allows a bare DEL.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A TOML key: bare where it can be.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { name.to_owned() } else { quoted(name) }
}

/// Names come from catalogs and may hold anything; a comment must stay one line.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
