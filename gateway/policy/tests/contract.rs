//! The WIT package: what authors build against is what the host runs.

use std::{collections::BTreeMap, fs, path::Path};

fn texts(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let text = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.ends_with(".wit").then(|| (name, fs::read_to_string(entry.path()).expect("readable")))
    };
    files.filter_map(|entry| text(entry.expect("an entry"))).collect()
}

/// The newest frozen copy is what `wit/` holds: a change of `wit/` without a new version and a new copy
/// would let guests be built against what no gateway runs.
#[test]
fn the_frozen_copy_of_this_version_is_what_authors_build_against() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let current = texts(&here.join("../../wit"));
    let package = current["types.wit"].lines().find_map(|line| line.strip_prefix("package tidegate:policy@"));
    let version = package.expect("a package line").trim_end_matches(';');
    assert_eq!(version, tidegate_policy::WIT_VERSION);
    let frozen = texts(&here.join("wit").join(version));
    assert_eq!(frozen.keys().collect::<Vec<_>>(), current.keys().collect::<Vec<_>>());
    for (name, text) in current {
        assert_eq!(frozen[&name], text, "{name} differs from its frozen copy: give the change a new version");
    }
}
