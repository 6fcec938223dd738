//! The types of columns: their values, the tests on them, and what memory must decide.

use ddp_postgres::Table;
use ddp_server::query::Value;
use ddp_tests::Dice;

use super::chance;

pub(crate) const SETUP: &str = "
    CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE TYPE weather AS ENUM ('sad', 'ok', 'happy');
    CREATE FUNCTION weather_json(weather) RETURNS json LANGUAGE sql IMMUTABLE AS
        $$ SELECT json_build_object('label', $1::text) $$;
    CREATE CAST (weather AS json) WITH FUNCTION weather_json(weather);
    CREATE DOMAIN small_number AS integer CHECK (VALUE < 1000);
    CREATE DOMAIN label AS text COLLATE \"C\";
    CREATE TYPE pair AS (a integer, b text);
    CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
";

/// A column's type.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) label: &'static str,
    pub(crate) sql: &'static str,
    pub(crate) values: Values,
    /// What memory must decide for every row.
    pub(crate) decides: &'static [Question],
}

/// How values and constants are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    Boolean,
    /// Integers with this many bits.
    Integer(u32),
    Single,
    Double,
    Decimal,
    /// Integers with this many bits, which clients have as strings.
    Ids(u32),
    /// Texts of at most this many characters; the flag allows patterns.
    Text(usize, bool),
    /// One of these, constants too.
    OneOf(&'static [&'static str]),
    /// The same; constants are dates and times by milliseconds.
    Times(&'static [&'static str]),
    /// The same; constants are texts or times.
    Days(&'static [&'static str]),
    Binary,
    Json,
    /// Values without constants.
    Opaque(&'static [&'static str]),
    Array(&'static Self),
}

/// The tests on a field, as far as deciding them is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Question {
    Null,
    Equality,
    Order,
    Like,
    ILike,
    StartsWith,
    Contains,
}

use Question::{Contains, Equality, ILike, Like, Null, Order, StartsWith};

const ORDERED: &[Question] = &[Null, Equality, Order];
const EQUAL: &[Question] = &[Null, Equality];
const TEXT: &[Question] = &[Null, Equality, Like, StartsWith];
const ALL_TEXT: &[Question] = &[Null, Equality, Order, Like, ILike, StartsWith];
const ARRAY: &[Question] = &[Null, Contains];
const JSON: &[Question] = &[Null, Equality, Order, Like, ILike, StartsWith, Contains];

const UUIDS: &[&str] = &[
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "A0EEBC999C0B4EF8BB6D6BB9BD380A12",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
];
const DAYS: &[&str] = &[
    "2024-02-29",
    "1970-01-01",
    "1969-12-31",
    "infinity",
    "-infinity",
    "0044-03-15 BC",
    "0001-01-01",
    "0001-12-31 BC",
    "10000-01-01",
    "5874897-12-31",
    "4714-11-24 BC",
    "2024-01-01",
];
const CLOCKS: &[&str] = &[
    "00:00:00",
    "24:00:00",
    "12:30:00",
    "12:30:00.5",
    "12:30:00.000001",
    "23:59:59.999999",
    "12:30",
];
const TIMES: &[&str] = &[
    "2024-01-01 00:00:00",
    "2024-01-01 00:00:00.000001",
    "2023-12-31 23:59:59.999999",
    "1970-01-01 00:00:00",
    "1969-12-31 23:59:59.999",
    "infinity",
    "-infinity",
    "0044-03-15 12:00:00 BC",
    "275760-09-13 00:00:00",
    "294246-12-31 23:59:59.999999",
    "4713-01-01 00:00:00 BC",
    "2024-02-29 12:30:00.5",
];
const MOODS: &[&str] = &["sad", "ok", "happy"];

fn kind(label: &'static str, values: Values, decides: &'static [Question]) -> Kind {
    Kind { label, sql: label, values, decides }
}

impl Kind {
    fn of(mut self, sql: &'static str) -> Self {
        self.sql = sql;
        self
    }
}

pub(crate) fn kinds() -> Vec<Kind> {
    use Values::{Array, Binary, Boolean, Days, Decimal, Double, Ids, Integer, Json, OneOf};
    use Values::{Opaque, Single, Text, Times};
    vec![
        kind("boolean", Boolean, ORDERED),
        kind("smallint", Integer(16), ORDERED),
        kind("integer", Integer(32), ORDERED),
        kind("bigint", Integer(64), ORDERED),
        kind("id", Ids(32), ORDERED).of("integer"),
        kind("bigint id", Ids(64), ORDERED).of("bigint"),
        kind("domain over integer", Integer(9), ORDERED).of("small_number"),
        kind("real", Single, ORDERED),
        kind("double precision", Double, ORDERED),
        kind("numeric", Decimal, ORDERED),
        kind("numeric(20, 2)", Values::Integer(32), ORDERED),
        kind("text C", Text(4, true), ALL_TEXT).of("text COLLATE \"C\""),
        kind("domain over text C", Text(4, true), ALL_TEXT).of("label"),
        kind("varchar C", Text(4, true), ALL_TEXT).of("varchar(20) COLLATE \"POSIX\""),
        kind("text", Text(4, true), TEXT),
        kind("text ICU", Text(4, true), TEXT).of("text COLLATE \"en-x-icu\""),
        kind("text Turkish", Text(4, true), TEXT).of("text COLLATE \"tr-x-icu\""),
        kind("text caseless", Text(4, false), &[Null]).of("text COLLATE caseless"),
        kind("char(4) C", Text(2, true), ALL_TEXT).of("char(4) COLLATE \"C\""),
        kind("char(4) ICU", Text(2, true), TEXT).of("char(4) COLLATE \"en-x-icu\""),
        kind("citext", Text(3, true), &[Null]),
        kind("uuid", OneOf(UUIDS), ORDERED),
        kind("enum", OneOf(MOODS), EQUAL).of("mood"),
        kind("enum with a cast to json", OneOf(MOODS), EQUAL).of("weather"),
        kind("date", Days(DAYS), ORDERED),
        kind("time", OneOf(CLOCKS), ORDERED),
        kind("timestamp", Times(TIMES), ORDERED),
        kind("timestamptz", Times(TIMES), ORDERED),
        kind("timetz", OneOf(&["12:30:00+00", "13:30:00+01", "12:30:00-05"]), &[Null]),
        kind("interval", OneOf(&["1 mon", "30 days", "P1DT2H", "-1 day", "24:00"]), &[Null]),
        kind("inet", OneOf(&["10.0.0.1", "10.0.0.0/8", "::1"]), &[Null]),
        kind("money", OneOf(&["1.5", "-2", "0"]), &[Null]),
        kind("int4range", OneOf(&["[1,3)", "empty", "(,5)"]), &[Null]),
        kind("composite", Opaque(&["(1,a)", "(,)", "(,b)"]), &[Null]).of("pair"),
        kind("bytea", Binary, ORDERED),
        kind("jsonb", Json, JSON),
        kind("json", Json, JSON),
        kind("boolean[]", Array(&Boolean), ARRAY),
        kind("smallint[]", Array(&Integer(16)), ARRAY),
        kind("integer[]", Array(&Integer(32)), ARRAY),
        kind("id[]", Array(&Ids(16)), ARRAY).of("smallint[]"),
        kind("bigint[]", Array(&Integer(64)), ARRAY),
        kind("real[]", Array(&Single), ARRAY),
        kind("double precision[]", Array(&Double), ARRAY),
        kind("numeric[]", Array(&Decimal), ARRAY),
        kind("text[]", Array(&Text(2, true)), ARRAY),
        kind("text[] ICU", Array(&Text(2, true)), ARRAY).of("text[] COLLATE \"en-x-icu\""),
        kind("text[] caseless", Array(&Text(2, true)), &[Null]).of("text[] COLLATE caseless"),
        kind("char(3)[]", Array(&Text(1, true)), ARRAY),
        kind("uuid[]", Array(&OneOf(UUIDS)), ARRAY),
        kind("enum[]", Array(&OneOf(MOODS)), ARRAY).of("mood[]"),
        kind("enum with a cast to json[]", Array(&OneOf(MOODS)), ARRAY).of("weather[]"),
        kind("date[]", Array(&OneOf(DAYS)), ARRAY),
        kind("timestamptz[]", Array(&Times(TIMES)), ARRAY),
        kind("bytea[]", Array(&Binary), ARRAY),
        kind("interval[]", Array(&OneOf(&["1 mon", "30 days"])), &[Null]),
    ]
}

impl Values {
    /// A value in PostgreSQL's input syntax; never NULL.
    pub(crate) fn literal(self, dice: &mut Dice) -> String {
        match self {
            Self::Boolean => dice.one_in(2).to_string(),
            Self::Integer(bits) | Self::Ids(bits) => {
                within(chance::integer(dice), bits).to_string()
            }
            Self::Single => (chance::float(dice) as f32).to_string(),
            Self::Double => chance::float(dice).to_string(),
            Self::Decimal => match dice.below(12) {
                0 => (*dice.pick(&["NaN", "Infinity", "-Infinity"])).to_owned(),
                _ => chance::decimal(dice),
            },
            Self::Text(length, _) => chance::text(dice, length),
            Self::OneOf(values)
            | Self::Times(values)
            | Self::Days(values)
            | Self::Opaque(values) => (*dice.pick(values)).to_owned(),
            Self::Binary => (0..dice.below(3))
                .fold("\\x".to_owned(), |hex, _| hex + dice.pick::<&str>(&["00", "7f", "ff"])),
            Self::Json => json(dice, 0).to_string(),
            Self::Array(element) => array(*element, dice),
        }
    }

    /// A constant to compare with a value or an array's element.
    pub(crate) fn constant(self, dice: &mut Dice) -> Value {
        if dice.one_in(25) {
            return Value::Null;
        }
        match self {
            Self::Boolean => Value::Bool(dice.one_in(2)),
            Self::Integer(_) if dice.one_in(5) => Value::from(chance::float(dice)),
            Self::Integer(_) => Value::Int(chance::integer(dice)),
            Self::Ids(_) => match dice.below(5) {
                0 => Value::Int(chance::integer(dice)),
                1 => Value::from(*dice.pick(&["x", "05", "+1", "", "-0", "9223372036854775808"])),
                _ => Value::from(chance::integer(dice).to_string()),
            },
            Self::Single if dice.one_in(2) => Value::from(f64::from(chance::float(dice) as f32)),
            Self::Single | Self::Double => Value::from(chance::float(dice)),
            Self::Decimal => match dice.below(4) {
                0 => Value::from(chance::float(dice)),
                1 => Value::from(chance::decimal(dice)),
                2 => Value::Decimal(chance::decimal(dice).parse().unwrap()),
                _ => Value::Int(chance::integer(dice)),
            },
            Self::Text(length, _) => Value::from(chance::text(dice, length)),
            Self::Days(days) if dice.one_in(2) => Value::from(*dice.pick(days)),
            // A word that the enum does not have is an error in PostgreSQL's own input.
            Self::OneOf(MOODS) if dice.one_in(4) => Value::from("unheard"),
            Self::OneOf(values) => Value::from(*dice.pick(values)),
            Self::Times(_) | Self::Days(_) => time(dice),
            Self::Binary => {
                let bytes: Vec<u8> =
                    (0..dice.below(3)).map(|_| *dice.pick(&[0, 0x7f, 0xff])).collect();
                Value::from(&*bytes)
            }
            Self::Json => json_constant(dice),
            Self::Opaque(_) => Value::Null,
            Self::Array(element) => element.element_constant(dice),
        }
    }

    /// Elements are compared in their own type, so constants must fit it.
    fn element_constant(self, dice: &mut Dice) -> Value {
        match self {
            Self::Integer(bits) => Value::Int(within(chance::integer(dice), bits)),
            Self::Single => Value::from(f64::from(chance::float(dice) as f32)),
            other => other.constant(dice),
        }
    }
}

fn within(number: i64, bits: u32) -> i64 {
    let beyond = 1_i128 << (bits - 1);
    if (-beyond..beyond).contains(&i128::from(number)) { number } else { number.rem_euclid(100) }
}

fn time(dice: &mut Dice) -> Value {
    match dice.below(4) {
        0 => Value::Time(*dice.pick(&[
            i64::MAX,
            i64::MIN,
            8_640_000_000_000_000_000,
            -8_640_000_000_000_000_000,
        ])),
        1 => Value::Time(*dice.pick(&[1_704_067_200_000_000, 1_704_067_200_000_001, -1_000, 0])),
        2 => Value::Time(i64::try_from(dice.below(40_000)).unwrap() * 86_400_000_000),
        _ => Value::Time(1_704_000_000_000_000 + i64::try_from(dice.below(1 << 37)).unwrap()),
    }
}

fn array(element: Values, dice: &mut Dice) -> String {
    let mut one = |length: usize| {
        let elements: Vec<String> = (0..length)
            .map(|_| match dice.one_in(8) {
                true => "NULL".to_owned(),
                false => {
                    let literal = element.literal(dice).replace('\\', "\\\\").replace('"', "\\\"");
                    format!("\"{literal}\"")
                }
            })
            .collect();
        format!("{{{}}}", elements.join(","))
    };
    match one(1).len() % 4 {
        0 => "{}".to_owned(),
        1 => format!("{{{},{}}}", one(2), one(2)),
        _ => one(3),
    }
}

/// Keys and texts that paths and constants often hit.
fn json(dice: &mut Dice, depth: usize) -> serde_json::Value {
    use serde_json::Value as Json;
    match dice.below(if depth < 3 { 9 } else { 5 }) {
        0 => Json::Null,
        1 => Json::Bool(dice.one_in(2)),
        2 => Json::from(chance::text(dice, 2)),
        3 => Json::from(*dice.pick(&["a", "b", "5", "null"])),
        4 => serde_json::from_str(&chance::decimal(dice)).unwrap(),
        5 => Json::Array((0..dice.below(4)).map(|_| json(dice, depth + 1)).collect()),
        _ => {
            let keys = ["a", "b", "", "0", "a.b", "ä"];
            let fields =
                (0..dice.below(5)).map(|_| ((*dice.pick(&keys)).to_owned(), json(dice, depth + 1)));
            Json::Object(fields.collect())
        }
    }
}

pub(crate) fn json_path(dice: &mut Dice) -> String {
    const STEPS: [&str; 10] = ["a", "a", "b", "", "0", "1", "-1", "+0", " 1", "ä"];
    (0..dice.below(4)).map(|_| format!(".{}", dice.pick(&STEPS))).collect()
}

pub(crate) fn json_constant(dice: &mut Dice) -> Value {
    match dice.below(5) {
        0 => Value::Bool(dice.one_in(2)),
        1 => Value::from(chance::text(dice, 2)),
        2 => Value::from(*dice.pick(&["a", "b", "5", "null"])),
        3 => Value::Decimal(chance::decimal(dice).parse().unwrap()),
        _ => Value::from((chance::integer(dice) % 5) as f64 / 2.0),
    }
}

/// The table as it is published.
pub(crate) fn published(name: &str, kinds: &[Kind]) -> Table {
    let is_of_ids =
        |kind: &Kind| matches!(kind.values, Values::Ids(_) | Values::Array(Values::Ids(_)));
    let ids = kinds.iter().enumerate().filter(|(_, kind)| is_of_ids(kind));
    Table::new(name).all_columns().string_id_columns(ids.map(|(at, _)| format!("c{at}")))
}
