//! Made for a version of the WIT package that no gateway has yet.

wit_bindgen::generate!({
    inline: "
        package tidegate:policy@0.99.0;

        interface lifecycle {
            describe: func() -> string;
        }

        interface route {
            route: func(shard-key: string) -> u64;
        }

        world router {
            export lifecycle;
            export route;
        }
    ",
});

struct FromTheFuture;

impl exports::tidegate::policy::lifecycle::Guest for FromTheFuture {
    fn describe() -> String {
        "future-wit".into()
    }
}

impl exports::tidegate::policy::route::Guest for FromTheFuture {
    fn route(_: String) -> u64 {
        0
    }
}

export!(FromTheFuture);
