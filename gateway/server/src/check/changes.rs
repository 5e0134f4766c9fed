//! `--diff`: what the file would change, against another file or a running gateway.

use std::path::Path;

use tidegate_config::{Difference, Effect, diff, diff_shown};
use tidegate_types::settings::Settings;

use super::{Findings, asked};

/// Tells what `new` would change of the settings in the file `old`, or else of those in effect in the gateway
/// at `admin`.
pub(super) async fn check(findings: &mut Findings, new: &Settings, old: Option<&Path>, admin: Option<&str>) {
    let differences = match old {
        Some(old) => tidegate_config::load(old).map(|old| diff(&old, new)).map_err(|errors| errors.to_string()),
        None => {
            let address = admin.map_or_else(|| new.admin.listen.to_string(), str::to_owned);
            asked::settings(&address, new.admin.token.as_ref()).await.map(|old| diff_shown(&old, new))
        }
    };
    match differences {
        Ok(differences) => tell(findings, &differences),
        Err(problem) => findings.problem(&problem),
    }
}

fn tell(findings: &Findings, differences: &[Difference]) {
    if differences.is_empty() {
        findings.fine("nothing would change");
    }
    for difference in differences {
        println!("  {difference}");
    }
    if differences.iter().any(|difference| difference.effect == Effect::Restart) {
        findings.note("a reload takes all but what takes a restart");
    }
}
