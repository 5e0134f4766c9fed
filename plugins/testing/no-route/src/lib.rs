//! Exports `lifecycle` and no hook: a plugin that cannot do what it is configured for.

wit_bindgen::generate!({
    inline: "
        package testing:no-route;
        world no-route {
            export tidegate:policy/lifecycle@0.1.0;
        }
    ",
    path: "../../../wit",
    world: "testing:no-route/no-route",
    generate_all,
});

use exports::tidegate::policy::lifecycle::{Guest, Manifest, PolicyError};

struct NoRoute;

impl Guest for NoRoute {
    fn describe() -> Manifest {
        Manifest { name: "no-route".into(), version: "0.1.0".into(), hooks: Vec::new(), config_schema: String::new() }
    }

    fn configure(_: String) -> Result<(), PolicyError> {
        Ok(())
    }

    fn self_test() -> Result<u32, PolicyError> {
        Ok(0)
    }
}

export!(NoRoute);
