//! Random predicates on a table.

use ddp_server::query::{Predicate, Value, field};
use ddp_tests::Dice;

use super::chance;
use super::kinds::{Values, json_path};
use super::table::Table;

const DEPTH_MAX: usize = 3;

pub(crate) fn predicate(dice: &mut Dice, table: &Table, depth: usize) -> Predicate {
    let several = |dice: &mut Dice| {
        (0..dice.below(4)).map(|_| predicate(dice, table, depth + 1)).collect::<Vec<_>>()
    };
    match dice.below(10) {
        0 if depth < DEPTH_MAX => Predicate::And(several(dice)),
        1 if depth < DEPTH_MAX => Predicate::Or(several(dice)),
        2 if depth < DEPTH_MAX => predicate(dice, table, depth + 1).not(),
        3 if depth < DEPTH_MAX => {
            predicate(dice, table, depth + 1).and(predicate(dice, table, depth + 1))
        }
        _ => test(dice, table),
    }
}

fn test(dice: &mut Dice, table: &Table) -> Predicate {
    if dice.one_in(30) {
        return field("_id").is_in([chance::integer(dice), 5, 7]);
    }
    let column = dice.below(table.kinds.len());
    let values = table.kinds[column].values;
    let path = if values == Values::Json { json_path(dice) } else { String::new() };
    let name = format!("c{column}{path}");
    match values {
        Values::Array(_) => array(dice, &name, values),
        Values::Opaque(_) if dice.one_in(2) => field(&name).is_not_null(),
        Values::Opaque(_) => field(&name).is_null(),
        Values::Text(_, true) if dice.one_in(2) => text(dice, &name),
        Values::Json => match dice.below(4) {
            0 => text(dice, &name),
            // JSON's own arrays have no NULL to test for.
            1 => array_of(dice, &name, |dice| {
                loop {
                    let constant = values.constant(dice);
                    if !constant.is_null() {
                        return constant;
                    }
                }
            }),
            _ => scalar(dice, &name, values),
        },
        _ => scalar(dice, &name, values),
    }
}

/// One test of each kind on each column, so that nothing is left to chance.
pub(crate) fn one_of_each(dice: &mut Dice, table: &Table) -> Vec<Predicate> {
    let mut all = Vec::new();
    for (column, kind) in table.kinds.iter().enumerate() {
        let path = if kind.values == Values::Json { ".a" } else { "" };
        let name = || field(&format!("c{column}{path}"));
        let values = kind.values;
        all.push(name().is_null());
        match values {
            Values::Opaque(_) => {}
            Values::Array(_) => all.push(name().contains(values.constant(dice))),
            _ => {
                all.push(name().eq(values.constant(dice)));
                all.push(name().gte(values.constant(dice)));
            }
        }
        if matches!(values, Values::Text(_, true) | Values::Json) {
            all.push(name().like(chance::pattern(dice)));
            all.push(name().ilike(chance::pattern(dice)));
            all.push(name().starts_with(chance::text(dice, 1)));
        }
        if values == Values::Json {
            all.push(name().contains("a"));
        }
    }
    all
}

fn scalar(dice: &mut Dice, name: &str, values: Values) -> Predicate {
    let field = field(name);
    let one = |dice: &mut Dice| values.constant(dice);
    let several =
        |dice: &mut Dice| (0..dice.below(4)).map(|_| values.constant(dice)).collect::<Vec<Value>>();
    match dice.below(11) {
        0 | 1 => field.eq(one(dice)),
        2 => field.ne(one(dice)),
        3 => field.lt(one(dice)),
        4 => field.lte(one(dice)),
        5 => field.gt(one(dice)),
        6 => field.gte(one(dice)),
        7 => field.is_in(several(dice)),
        8 => field.not_in(several(dice)),
        9 => field.between(one(dice), one(dice)),
        _ => field.is_null(),
    }
}

fn text(dice: &mut Dice, name: &str) -> Predicate {
    let field = field(name);
    match dice.below(3) {
        0 => field.like(chance::pattern(dice)),
        1 => field.ilike(chance::pattern(dice)),
        _ => field.starts_with(chance::text(dice, 2)),
    }
}

fn array(dice: &mut Dice, name: &str, values: Values) -> Predicate {
    if dice.one_in(8) {
        return field(name).is_null();
    }
    array_of(dice, name, |dice| values.constant(dice))
}

fn array_of(dice: &mut Dice, name: &str, one: impl Fn(&mut Dice) -> Value) -> Predicate {
    let length = dice.below(4);
    let elements: Vec<Value> = (0..length).map(|_| one(dice)).collect();
    match dice.below(3) {
        0 => field(name).overlaps(elements),
        1 => field(name).contains(one(dice)),
        _ => field(name).contains_all(elements),
    }
}
