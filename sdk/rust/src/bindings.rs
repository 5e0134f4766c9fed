//! What `wit-bindgen` makes of the WIT package `tidegate:policy`: one world for what every plugin
//! has, and one for each hook. A plugin is the union of the worlds it exports, so that it needs to
//! export no hook it does not have. The rest of this crate is the pleasant way to use it.
#![expect(missing_docs, reason = "generated; the WIT files in wit/ document every item")]

pub mod base {
    wit_bindgen::generate!({
        inline: "
            package tidegate:sdk-base;
            world base {
                include tidegate:policy/base@0.1.0;
                import tidegate:policy/host-directory@0.1.0;
            }
        ",
        path: "wit",
        world: "tidegate:sdk-base/base",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        default_bindings_module: "tidegate_policy_sdk::bindings::base",
        additional_derives: [PartialEq, Eq],
    });
}

pub mod classify {
    wit_bindgen::generate!({
        inline: "
            package tidegate:sdk-classify;
            world classify { export tidegate:policy/classify@0.1.0; }
        ",
        path: "wit",
        world: "tidegate:sdk-classify/classify",
        with: { "tidegate:policy/types@0.1.0": crate::bindings::base::tidegate::policy::types },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_classify",
        default_bindings_module: "tidegate_policy_sdk::bindings::classify",
        additional_derives: [PartialEq, Eq],
    });
}

pub mod route {
    wit_bindgen::generate!({
        inline: "
            package tidegate:sdk-route;
            world route { export tidegate:policy/route@0.1.0; }
        ",
        path: "wit",
        world: "tidegate:sdk-route/route",
        with: { "tidegate:policy/types@0.1.0": crate::bindings::base::tidegate::policy::types },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_route",
        default_bindings_module: "tidegate_policy_sdk::bindings::route",
        additional_derives: [PartialEq, Eq],
    });
}

pub mod cache_policy {
    wit_bindgen::generate!({
        inline: "
            package tidegate:sdk-cache-policy;
            world cache-policy { export tidegate:policy/cache-policy@0.1.0; }
        ",
        path: "wit",
        world: "tidegate:sdk-cache-policy/cache-policy",
        with: { "tidegate:policy/types@0.1.0": crate::bindings::base::tidegate::policy::types },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_cache_policy",
        default_bindings_module: "tidegate_policy_sdk::bindings::cache_policy",
        additional_derives: [PartialEq, Eq],
    });
}

pub mod invalidate {
    wit_bindgen::generate!({
        inline: "
            package tidegate:sdk-invalidate;
            world invalidate { export tidegate:policy/invalidate@0.1.0; }
        ",
        path: "wit",
        world: "tidegate:sdk-invalidate/invalidate",
        with: { "tidegate:policy/types@0.1.0": crate::bindings::base::tidegate::policy::types },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_invalidate",
        default_bindings_module: "tidegate_policy_sdk::bindings::invalidate",
        additional_derives: [PartialEq, Eq],
    });
}
