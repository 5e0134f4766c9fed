//! The storefront's rows in COPY's text format: the same on every machine, and each a function of
//! its key alone, so that a smaller storefront is the beginning of a larger one.

use std::fmt::Write as _;

use fastrand::Rng;

const SEED: u64 = 0x7469_6465_6761_7465;

/// A category, its nouns, and the range of its prices in cents.
type Category = (&'static str, &'static [&'static str], std::ops::Range<u32>);

const CATEGORIES: &[Category] = &[
    ("kitchen", &["Mug", "Teapot", "Cutting Board", "Pan", "Whisk", "Carafe"], 490..8_900),
    ("garden", &["Planter", "Watering Can", "Trowel", "Lantern", "Rake"], 390..6_500),
    ("office", &["Notebook", "Desk Lamp", "Pen", "Monitor Stand", "Tray"], 190..12_900),
    ("outdoor", &["Tent", "Sleeping Bag", "Flask", "Headlamp", "Backpack"], 990..34_900),
    ("audio", &["Headphones", "Speaker", "Turntable", "Microphone"], 1_990..59_900),
    ("toys", &["Puzzle", "Kite", "Building Set", "Card Game"], 290..4_900),
    ("books", &["Atlas", "Field Guide", "Cookbook", "Novel"], 590..3_900),
];
const STYLES: &[&str] = &["Classic", "Compact", "Travel", "Studio", "Everyday", "Heritage", "Slim", "Deluxe"];
const COLORS: &[&str] = &["white", "black", "sand", "olive", "navy", "rust", "slate"];
const MATERIALS: &[&str] = &["steel", "oak", "cotton", "ceramic", "bamboo", "recycled plastic", "wool", "glass"];
const FIRST: &[&str] =
    &["Ada", "Amir", "Chen", "Elif", "Ines", "Jonas", "Kofi", "Lena", "Mateo", "Nina", "Omar", "Priya"];
const LAST: &[&str] =
    &["Berg", "Costa", "Diallo", "Fischer", "Garcia", "Haddad", "Ito", "Kim", "Novak", "Okafor", "Silva"];
const COUNTRIES: &[&str] = &["DE", "FR", "BR", "JP", "US", "GH", "TR", "ES", "IN", "CZ"];
const STATUSES: &[&str] = &["paid", "shipped", "delivered", "delivered", "delivered", "cancelled", "open"];

/// A table and the columns its lines have.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static str,
    /// Appends the lines that belong to a shard key.
    pub(super) lines: fn(&mut String, key: u32, products: u32),
}

/// Every table, referenced ones first.
pub(super) const TABLES: [Table; 4] = [
    Table {
        name: "products",
        columns: "id, sku, name, description, category, price, stock, attributes, created_at, updated_at",
        lines: product,
    },
    Table { name: "profiles", columns: "id, email, name, country, preferences, created_at", lines: profile },
    Table { name: "carts", columns: "profile_id, product_id, quantity, added_at", lines: cart },
    Table { name: "orders", columns: "profile_id, id, status, total, items, placed_at", lines: orders },
];

/// A generator of its own for each row.
fn rng(table: u64, key: u32) -> Rng {
    Rng::with_seed(SEED ^ (table << 40) ^ u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

fn time(rng: &mut Rng, year: u32) -> String {
    let (month, day) = (rng.u32(1..=12), rng.u32(1..=28));
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02}+00", rng.u32(..24), rng.u32(..60), rng.u32(..60))
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// A product's price, for the orders too.
fn price(id: u32) -> u64 {
    let mut rng = rng(0, id);
    let (_, _, cents) = category(id);
    // Twice, the smaller one: most things are cheap. Prices end in 0 or 9.
    let cents = rng.u32(cents.clone()).min(rng.u32(cents.clone()));
    u64::from(cents / 10 * 10 + if rng.bool() { 9 } else { 0 })
}

fn category(id: u32) -> &'static Category {
    &CATEGORIES[id as usize % CATEGORIES.len()]
}

fn product(out: &mut String, id: u32, _: u32) {
    let mut rng = rng(1, id);
    let (name, nouns, _) = category(id);
    let (style, noun, color, material) =
        (pick(&mut rng, STYLES), pick(&mut rng, nouns), pick(&mut rng, COLORS), pick(&mut rng, MATERIALS));
    let sku = format!("{}-{id:06}", name[..3].to_uppercase());
    let (weight, rating) = (rng.u32(50..5_000), rng.u32(20..=50));
    let _ = writeln!(
        out,
        "{id}\t{sku}\t{style} {noun}\tA {} {} in {color}, made of {material}.\t{name}\t{}\t{}\t\
         {{\"color\": \"{color}\", \"material\": \"{material}\", \"weight_g\": {weight}, \"rating\": {}.{}, \
         \"tags\": [\"{}\", \"{color}\"]}}\t{}\t{}",
        style.to_lowercase(),
        noun.to_lowercase(),
        money(price(id)),
        rng.u32(..500),
        rating / 10,
        rating % 10,
        style.to_lowercase(),
        time(&mut rng, 2024),
        time(&mut rng, 2025),
    );
}

fn profile(out: &mut String, id: u32, _: u32) {
    let mut rng = rng(2, id);
    let (first, last) = (pick(&mut rng, FIRST), pick(&mut rng, LAST));
    let _ = writeln!(
        out,
        "{id}\t{}.{}.{id}@example.com\t{first} {last}\t{}\t{{\"newsletter\": {}, \"theme\": \"{}\"}}\t{}",
        first.to_lowercase(),
        last.to_lowercase(),
        pick(&mut rng, COUNTRIES),
        rng.bool(),
        pick(&mut rng, &["light", "dark", "system"]),
        time(&mut rng, 2024),
    );
}

/// Different products, in the order of their numbers.
fn some_products(rng: &mut Rng, most: usize, products: u32) -> Vec<u32> {
    let mut chosen: Vec<u32> = (0..rng.usize(..=most)).map(|_| rng.u32(1..=products)).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn cart(out: &mut String, profile: u32, products: u32) {
    let mut rng = rng(3, profile);
    for product in some_products(&mut rng, 4, products) {
        let _ = writeln!(out, "{profile}\t{product}\t{}\t{}", rng.u32(1..=3), time(&mut rng, 2026));
    }
}

fn orders(out: &mut String, profile: u32, products: u32) {
    let mut rng = rng(4, profile);
    for id in 1..=rng.u32(..=5) {
        let mut total = 0;
        let mut items = Vec::new();
        for product in some_products(&mut rng, 3, products).into_iter().chain([rng.u32(1..=products)]) {
            let quantity = rng.u32(1..=3);
            total += price(product) * u64::from(quantity);
            let price = money(price(product));
            items.push(format!("{{\"product_id\": {product}, \"quantity\": {quantity}, \"price\": {price}}}"));
        }
        let (items, status) = (items.join(", "), pick(&mut rng, STATUSES));
        let _ = writeln!(out, "{profile}\t{id}\t{status}\t{}\t[{items}]\t{}", money(total), time(&mut rng, 2025));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(table: &Table, key: u32) -> String {
        let mut out = String::new();
        (table.lines)(&mut out, key, 500);
        out
    }

    #[test]
    fn every_line_has_a_field_for_each_column_and_nothing_to_escape() {
        for table in &TABLES {
            let columns = table.columns.split(", ").count();
            for line in (1..500).flat_map(|key| lines(table, key).lines().map(str::to_owned).collect::<Vec<_>>()) {
                assert_eq!(line.split('\t').count(), columns, "{}: {line}", table.name);
                assert!(!line.contains('\\'), "{line}");
            }
        }
    }

    #[test]
    fn json_is_json_and_totals_are_the_sums_of_their_items() {
        for line in (1..500).map(|key| lines(&TABLES[3], key)).collect::<String>().lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let items: serde_json::Value = serde_json::from_str(fields[4]).expect("JSON");
            let cents = |text: String| text.replace('.', "").parse::<u64>().expect("money");
            let sum: u64 = items
                .as_array()
                .expect("a list")
                .iter()
                .map(|item| {
                    // The written price, not its float: 8.50 is printed as 8.5.
                    let price = item["price"].as_f64().expect("a number");
                    cents(format!("{price:.2}")) * item["quantity"].as_u64().expect("a number")
                })
                .sum();
            assert_eq!(sum, cents(fields[3].to_owned()), "{line}");
        }
        for line in (1..500).map(|key| lines(&TABLES[0], key)).collect::<String>().lines() {
            serde_json::from_str::<serde_json::Value>(line.split('\t').nth(7).expect("attributes")).expect("JSON");
        }
    }

    #[test]
    fn rows_are_the_same_every_time_and_some_products_are_cheap() {
        assert_eq!(lines(&TABLES[0], 42), lines(&TABLES[0], 42));
        assert_ne!(lines(&TABLES[0], 42), lines(&TABLES[0], 43));
        assert!((1..500).filter(|id| price(*id) < 1_000).count() > 20);
    }

    #[test]
    fn keys_are_unique() {
        for table in [&TABLES[2], &TABLES[3]] {
            for key in 1..500 {
                let lines = lines(table, key);
                let mut keys: Vec<&str> = lines.lines().map(|line| line.split('\t').nth(1).expect("a key")).collect();
                let count = keys.len();
                keys.sort_unstable();
                keys.dedup();
                assert_eq!(keys.len(), count, "{lines}");
            }
        }
    }
}
