//! Values as clients send them: right ones, odd ones, wrong ones.

use fastrand::Rng;
use serde_json::Value;

pub const COLUMNS: [&str; 25] = [
    "i2", "i4", "i8", "n", "nd", "n0", "nn", "f8", "f4", "b", "t", "vc", "ch", "u", "by", "d", "ti", "ti2", "ts",
    "ts3", "tz", "tz0", "e", "j", "jb",
];

/// A JSON value for a column of this name.
pub fn value(column: &str, rng: &mut Rng) -> String {
    if rng.u8(..) < 4 {
        return pick(rng, &["null", "true", "{}", "[]", "\"\"", "\" \"", "0", "{\"a\": 1}", "\"null\""]).to_owned();
    }
    let text = match column {
        "i2" => integer(rng, 16),
        "i4" => integer(rng, 32),
        "i8" => integer(rng, 64),
        "n" | "nd" | "n0" | "nn" => decimal(rng, column),
        "f8" | "f4" => float(rng, column),
        "b" => boolean(rng),
        "t" | "vc" | "ch" => return words(rng),
        "u" => uuid(rng),
        "by" => bytea(rng),
        "d" => date(rng),
        "ti" | "ti2" => time(rng),
        "ts" | "ts3" | "tz" | "tz0" => timestamp(rng),
        "e" => pick(rng, &["sad", "ok", "so \"so\"", "Sad", "Sad", "ok", "ok ", "SAD", "none"]).to_owned(),
        _ => return document(rng, 4),
    };
    let text = if rng.u8(..) < 12 { mutated(rng, &text) } else { text };
    // A number stands in the body as one where JSON has it so.
    if rng.bool()
        && serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok_and(|raw| !raw.get().starts_with('"'))
    {
        return text.trim().to_owned();
    }
    escaped(rng, &text)
}

/// A row for the table with CHECKs.
pub fn checked(id: u64, rng: &mut Rng) -> String {
    let columns: [(&str, &[&str]); 9] = [
        ("qty", &["-1", "0", "5", "10", "11", "7", "3", "null"]),
        ("price", &["0", "0.001", "0.005", "1", "-1", "9.99", "5.5"]),
        ("name", &["\"x\"", "\"éé\"", "\"bad\"", "\"good\"", "\"fine\"", "null"]),
        ("kind", &["\"a\"", "\"b\"", "\"c\"", "\"b\"", "\"d\""]),
        ("size", &["\"s\"", "\"m\"", "\"s\"", "\"m\"", "\"l\""]),
        ("m", &["\"ok\"", "\"Sad\"", "\"ok\"", "\"sad\""]),
        ("since", &["\"2019-12-31\"", "\"2020-01-01\"", "\"2021-05-05\"", "\"2999-01-01\""]),
        ("low", &["0", "1", "2", "5"]),
        ("high", &["3", "5", "8"]),
    ];
    let mut row = format!("{{\"id\":{id}");
    for (name, values) in columns {
        if name == "qty" || rng.u8(..) < 200 {
            row.push_str(&format!(",\"{name}\":{}", pick(rng, values)));
        }
    }
    row + "}"
}

fn pick<'a>(rng: &mut Rng, among: &[&'a str]) -> &'a str {
    among[rng.usize(..among.len())]
}

/// As a JSON string, some characters escaped that need not be.
fn escaped(rng: &mut Rng, text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        let mut units = [0; 2];
        if rng.u8(..) < 8 {
            for unit in c.encode_utf16(&mut units) {
                json.push_str(&format!("\\u{unit:04X}"));
            }
        } else {
            let one = Value::from(c.to_string()).to_string();
            json.push_str(&one[1..one.len() - 1]);
        }
    }
    json + "\""
}

/// One character more, less or another.
fn mutated(rng: &mut Rng, text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let at = rng.usize(..=chars.len());
    let other =
        rng.choice([' ', '-', '+', '.', 'e', 'x', '_', '0', '9', ':', 'T', 'é', '}', '\t', '\u{a0}', '٣']).unwrap();
    match rng.u8(..3) {
        0 if at < chars.len() => drop(chars.remove(at)),
        1 if at < chars.len() => chars[at] = other,
        _ => chars.insert(at, other),
    }
    chars.into_iter().collect()
}

fn digits(rng: &mut Rng, at_most: usize) -> String {
    let length = rng.usize(1..=at_most);
    (0..length).map(|_| rng.digit(10)).collect()
}

fn integer(rng: &mut Rng, bits: u32) -> String {
    let edge = 1_i128 << (bits - 1);
    let number = match rng.u8(..8) {
        0 => edge + i128::from(rng.i8(-2..=1)),
        1 => -edge + i128::from(rng.i8(-2..=1)),
        2 => i128::from(rng.i64(..)) * 3,
        _ => i128::from(rng.i64(..)) >> rng.u32(65 - bits..64),
    };
    match rng.u8(..16) {
        0 => format!(" {number}\t"),
        1 => format!("+{number}"),
        2 => format!("00{number}"),
        3 => pick(rng, &["1.0", "1e3", "0x1F", "1_000", "0b11", "-", "--1", "+ 1", "１", "1 2", "NaN"]).to_owned(),
        _ => number.to_string(),
    }
}

fn decimal(rng: &mut Rng, column: &str) -> String {
    let whole = match column {
        "nn" => "0".to_owned(),
        "nd" | "n0" => digits(rng, 4),
        _ => digits(rng, 25),
    };
    let sign = pick(rng, &["", "", "", "-", "+"]);
    let fraction = digits(rng, 8);
    match rng.u8(..20) {
        0 => format!("{sign}.{fraction}"),
        1 => format!("{sign}{whole}."),
        2 | 3 => format!("{sign}{whole}.{fraction}e{}", rng.i8(-12..=12)),
        4 => format!("{sign}{whole}E+{}", rng.u8(0..5)),
        5 => pick(
            rng,
            &[
                "NaN", "Infinity", "-inf", "1e", ".", "", "-", "1e400", "1e-400", "1e99999", "0x1", "1_0", "1e1_0",
                "1.5.5", "9.995", "99.995", "999.5", "-0.004", "0.995", "9999.995", "1 e5", "-0", "-0.00", " 1.5 ",
            ],
        )
        .to_owned(),
        6 | 7 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    }
}

fn float(rng: &mut Rng, column: &str) -> String {
    match rng.u8(..16) {
        0 => decimal(rng, "n"),
        1 => format!("{}", rng.i32(..)),
        2 | 3 => format!("{:e}", f64::from_bits(rng.u64(..))),
        4 => pick(
            rng,
            &[
                "1e23",
                "9007199254740993",
                "9007199254740991",
                "1e15",
                "1e14",
                "1e-4",
                "1e-5",
                "123456789012345",
                "1e-310",
                "0.1",
                "1e5",
                "1e6",
                "16777217",
                "16777215",
                "-0",
                "-0.0",
                "1e400",
                "1e-400",
                "Infinity",
                "nan",
                "0x1p3",
                "1e38",
                "3.5e38",
                "1e-50",
                "5e-324",
            ],
        )
        .to_owned(),
        5..=8 if column == "f4" => format!("{}", f32::from_bits(rng.u32(..)).abs() % 1000.0),
        5..=8 => format!("{}", f64::from_bits(rng.u64(..) >> 2 | 0x3000_0000_0000_0000) % 1e6),
        _ => format!("{}.{}", rng.i16(..), digits(rng, 6)),
    }
}

fn boolean(rng: &mut Rng) -> String {
    let word = pick(
        rng,
        &["true", "false", "yes", "no", "on", "off", "1", "0", "t", "f", "true", "false", "truely", "o", "10"],
    );
    let word = if rng.u8(..) < 60 { &word[..rng.usize(0..=word.len())] } else { word };
    match rng.u8(..6) {
        0 => word.to_uppercase(),
        1 => format!(" {word} "),
        _ => word.to_owned(),
    }
}

fn words(rng: &mut Rng) -> String {
    const LETTERS: [char; 20] = [
        'a', 'b', 'Z', ' ', ' ', ' ', '"', '\\', '/', '\n', '\t', '\u{8}', '\u{1}', '\u{1f}', '\u{7f}', 'é', '漢',
        '😀', '\u{2028}', '<',
    ];
    match rng.u8(..20) {
        0 => pick(
            rng,
            &[
                "12",
                "1.50",
                "1e5",
                "true",
                "[1, 2]",
                "{\"a\" :1}",
                "-0",
                "\"\\u0000\"",
                "\"a\\u0000\"",
                "\"\\ud83d\"",
                "\"\\ud83d\\ude00\"",
                "\"\\/\"",
            ],
        )
        .to_owned(),
        _ => {
            let text: String = (0..rng.usize(..8)).map(|_| rng.choice(LETTERS).unwrap()).collect();
            escaped(rng, &text)
        }
    }
}

fn uuid(rng: &mut Rng) -> String {
    let digits: String = (0..32).map(|_| rng.digit(16)).collect();
    let split = |at: &[usize]| {
        let mut text = String::new();
        for (i, c) in digits.chars().enumerate() {
            if at.contains(&i) {
                text.push('-');
            }
            text.push(c);
        }
        text
    };
    let text = match rng.u8(..8) {
        0 => digits.clone(),
        1 => split(&[4, 8, 12, 16, 20, 24, 28]),
        2 => split(&[rng.usize(..33)]),
        _ => split(&[8, 12, 16, 20]),
    };
    match rng.u8(..8) {
        0 => format!("{{{text}}}"),
        1 => text.to_uppercase(),
        2 if rng.u8(..4) == 0 => pick(rng, &["", " ", "{}", "urn:uuid:", "a0eebc99"]).to_owned() + &text,
        _ => text,
    }
}

fn bytea(rng: &mut Rng) -> String {
    let digits: String = (0..rng.usize(..9)).map(|_| rng.digit(16)).collect();
    match rng.u8(..10) {
        0 => digits,
        1 => format!("\\x{}", digits.to_uppercase()),
        2 => pick(rng, &["\\x", "\\xa", "\\xzz", "\\x a b", "\\\\", "\\001", "plain", "\\x\\x", "\\"]).to_owned(),
        _ => format!("\\x{digits}{digits}"),
    }
}

fn date(rng: &mut Rng) -> String {
    let (year, month, day) = (rng.u32(1..=9999), rng.u32(1..=12), rng.u32(1..=29));
    match rng.u8(..16) {
        0 => pick(
            rng,
            &[
                "today",
                "infinity",
                "-infinity",
                "epoch",
                "now",
                "2020-02-30",
                "2021-02-29",
                "2020-02-29",
                "1900-02-29",
                "2000-02-29",
                "0000-01-01",
                "0001-01-01",
                "9999-12-31",
                "10000-01-01",
                "2020-13-01",
                "2020-00-10",
                "2020-01-00",
                "20200101",
                "2020-1-2",
                "2020/01/02",
                "01-02-2020",
                "Jan 1 2020",
                "2020-01-01 BC",
                "2020-001",
                "2020-01-01T10:00:00",
                "99-01-01",
                "2020-06-31",
            ],
        )
        .to_owned(),
        1 => format!("{year:04}-{:02}-{:02}", rng.u32(0..15), rng.u32(0..34)),
        _ => format!("{:04}-{month:02}-{day:02}", if rng.bool() { 1900 + year % 200 } else { year }),
    }
}

fn time(rng: &mut Rng) -> String {
    let (hour, minute, second) = (rng.u32(..24), rng.u32(..60), rng.u32(..60));
    match rng.u8(..16) {
        0 => pick(
            rng,
            &[
                "24:00:00",
                "23:59:60",
                "23:59:59.999999",
                "23:59:59.9999999",
                "10",
                "10:1",
                "1:00",
                "10:00 PM",
                "allballs",
                "now",
                "10:00:00Z",
                "100000",
                "25:00",
                "10:61",
                "23:59:59.995",
                "00:00:00.005",
                "10:00:00.",
            ],
        )
        .to_owned(),
        1 | 2 => format!("{hour:02}:{minute:02}"),
        3..=8 => format!("{hour:02}:{minute:02}:{second:02}"),
        _ => format!("{hour:02}:{minute:02}:{second:02}.{}", digits(rng, 7)),
    }
}

fn timestamp(rng: &mut Rng) -> String {
    let zone = match rng.u8(..10) {
        0..=2 => "Z".to_owned(),
        3 => format!("+{:02}", rng.u32(..17)),
        4 => format!("-{:02}:{:02}", rng.u32(..17), rng.u32(..61)),
        5 => format!("+{:02}{:02}", rng.u32(..14), rng.u32(..60)),
        6 => pick(rng, &["z", " UTC", "+5", " +02", "+2:30", "+02:30:15", " Europe/Berlin", "+"]).to_owned(),
        _ => String::new(),
    };
    match rng.u8(..16) {
        0 => pick(
            rng,
            &[
                "now",
                "infinity",
                "epoch",
                "2020-01-01",
                "2020-02-30T00:00:00",
                "0001-01-01T00:00:00+14",
                "9999-12-31T23:59:59.9999Z",
                "9999-12-31T23:59:59-12",
                "20200101T101010",
                "2020-01-01 10",
                "2020-01-01T",
                "1999-12-31T23:59:59.9995",
                "1999-12-31T23:59:59.5",
                "1999-12-31T23:59:58.5Z",
                "2000-01-01T00:00:00.5",
                "1969-12-31T23:59:59.9995Z",
                "2020-01-01T24:00:00",
                "2020-01-01Z",
                "2020-01-01 10:00:00 BC",
            ],
        )
        .to_owned(),
        1 => date(rng),
        _ => format!("{}{}{}{zone}", date(rng), pick(rng, &["T", " ", "T", " ", "t", "  "]), time(rng)),
    }
}

/// Any JSON.
fn document(rng: &mut Rng, depth: usize) -> String {
    let blank = |rng: &mut Rng| pick(rng, &["", "", "", " ", "\n", "\t "]).to_owned();
    let inside = if depth == 0 { 6 } else { 9 };
    match rng.u8(..inside) {
        0 => pick(rng, &["null", "true", "false"]).to_owned(),
        1 | 2 => {
            let number = decimal(rng, "n");
            if serde_json::from_str::<&serde_json::value::RawValue>(&number).is_ok() {
                number.trim().to_owned()
            } else {
                "-0.10".to_owned()
            }
        }
        3..=5 => words(rng),
        6 => {
            let elements: Vec<String> = (0..rng.usize(..4)).map(|_| document(rng, depth - 1)).collect();
            format!("[{}{}]", blank(rng), elements.join(&format!("{},{}", blank(rng), blank(rng))))
        }
        _ => {
            let member = |rng: &mut Rng| {
                let name = pick(
                    rng,
                    &["\"a\"", "\"b\"", "\"aa\"", "\"é\"", "\"z\"", "\"\"", "\"A\"", "\"\\u0061\"", "\"k\\n\""],
                );
                format!("{}{name}{}:{}{}", blank(rng), blank(rng), blank(rng), document(rng, depth - 1))
            };
            let members: Vec<String> = (0..rng.usize(..5)).map(|_| member(rng)).collect();
            format!("{{{}}}", members.join(","))
        }
    }
}
