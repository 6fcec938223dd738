//! Tests of one column as SQL.
//!
//! Constants, patterns and paths, which an application or a client chooses, are always parameters.

use ddp_server::query::{Comparison, Operator, Value};

use super::sql::{Param, push, quoted};
use crate::compare::{Comparable, Json};
use crate::schema::Column;
use crate::value::{date_text, time_text, timestamp_text};

/// Appends the test; its constants have the form of the column's values.
pub(super) fn ask(
    column: &Column,
    path: Option<&str>,
    is: &Operator,
    sql: &mut String,
    params: &mut Vec<Param>,
) {
    match column.comparable() {
        Comparable::Json(json) => ask_json(column, *json, path, is, sql, params),
        Comparable::Array(_) => ask_array(column, is, sql, params),
        Comparable::Enum if is_of_words(is) => ask_enum(column, is, sql, params),
        _ => ask_scalar(column, is, sql, params),
    }
}

fn ask_scalar(column: &Column, is: &Operator, sql: &mut String, params: &mut Vec<Param>) {
    let name = quoted(column);
    match is {
        // A composite whose fields are all NULL is not itself NULL, though IS NULL says so.
        Operator::Null if *column.comparable() == Comparable::Other => {
            push(sql, format_args!("{name} IS NOT DISTINCT FROM NULL"));
        }
        Operator::Null => push(sql, format_args!("{name} IS NULL")),
        Operator::Compare(comparison, value) => {
            let number = constant(params, column, text(column.comparable(), value));
            let (operator, cast) = (operator(*comparison), cast(column, value));
            push(sql, format_args!("{name} {operator} ${number}::text::{cast}"));
        }
        Operator::In(values) => {
            // A constant that is still a float is not an integer or a whole day, so nothing equals
            // it.
            let is_float = |value: &&Value| matches!(value, Value::Float(_));
            let is_whole = matches!(column.comparable(), Comparable::Integer | Comparable::Date);
            let whole = values.iter().filter(|value| !(is_whole && is_float(value)));
            let texts: Vec<_> = whole.map(|value| text(column.comparable(), value)).collect();
            // An empty list gives false even for NULL.
            if texts.is_empty() && !values.is_empty() {
                return push(sql, format_args!("({name} IS NULL AND NULL)"));
            }
            let cast = format!("{}[]", cast(column, &Value::Null));
            let number = list(params, column.comparable(), &cast, texts);
            push(sql, format_args!("{name} = ANY (${number}::text[]::{cast})"));
        }
        Operator::Like(pattern) | Operator::ILike(pattern) => {
            let number = one(params, Some(pattern.to_string()));
            let operator = if matches!(is, Operator::Like(_)) { "LIKE" } else { "ILIKE" };
            let is_own = *column.comparable() == Comparable::CiText;
            let cast = if is_own { column.cast() } else { "text" };
            push(sql, format_args!("{name} {operator} ${number}::text::{cast}"));
        }
        Operator::StartsWith(start) => {
            let number = one(params, Some(start.to_string()));
            push(sql, format_args!("{name}::text ^@ ${number}::text"));
        }
        // Refused by `Comparable::test`.
        Operator::ContainsAll(_) | Operator::Overlaps(_) => sql.push_str("NULL"),
    }
}

/// Whether an enum is asked which word it is, or how it compares with one.
fn is_of_words(is: &Operator) -> bool {
    match is {
        Operator::Compare(_, value) => !value.is_null(),
        Operator::In(_) => true,
        _ => false,
    }
}

/// A word that the enum does not have, or not yet, would be an error as a constant of its type. It
/// equals no value, and none is less or greater.
fn ask_enum(column: &Column, is: &Operator, sql: &mut String, params: &mut Vec<Param>) {
    let (name, constants) = (quoted(column), is.constants());
    let texts = constants.iter().map(|value| text(column.comparable(), value)).collect();
    let words = words(&format!("NULL::{}", column.cast()), many(params, texts));
    // Whatever the array holds, NULL is neither in it nor not in it, unless nothing was asked for.
    let any = |rest: &str| format!("({name} = ANY ({words}) OR ({name} IS NULL AND NULL){rest})");
    // So that the planner expects the rows of one word, and that NOT takes a missing one for unequal.
    let one = format!(
        "({name} = ({words})[1] AND NOT (pg_catalog.cardinality({words}) = 0 AND ({name} IS NOT NULL OR NULL)))"
    );
    let condition = match is {
        Operator::Compare(Comparison::Eq, _) => one,
        Operator::Compare(Comparison::Ne, _) => format!("NOT {one}"),
        Operator::Compare(comparison, _) => {
            format!("{name} {} ({words})[1]", operator(*comparison))
        }
        _ if constants.is_empty() => format!("{name} = ANY ({words})"),
        _ if constants.iter().any(Value::is_null) => any(" OR NULL"),
        _ => any(""),
    };
    sql.push_str(&condition);
}

/// The words of an enum, which has the type of `sample`, that are among the texts of a parameter.
fn words(sample: &str, number: usize) -> String {
    format!(
        "ARRAY(SELECT ddp_word.word FROM pg_catalog.unnest(pg_catalog.enum_range({sample})) AS ddp_word (word) \
         WHERE pg_catalog.concat(ddp_word.word) = ANY (${number}::text[]))"
    )
}

fn ask_array(column: &Column, is: &Operator, sql: &mut String, params: &mut Vec<Param>) {
    let Comparable::Array(element) = column.comparable() else { return };
    let (name, cast) = (quoted(column), column.cast());
    // An extension may define its own operators for integers, which refuse NULL.
    let operator = match is {
        Operator::ContainsAll(_) => "OPERATOR(pg_catalog.@>)",
        Operator::Overlaps(_) => "OPERATOR(pg_catalog.&&)",
        _ => return push(sql, format_args!("{name} IS NULL")),
    };
    let texts = is.constants().iter().map(|value| text(&element.comparable, value)).collect();
    let number = list(params, &element.comparable, cast, texts);
    if element.comparable != Comparable::Enum {
        return push(sql, format_args!("{name} {operator} ${number}::text[]::{cast}"));
    }
    let words = words(&format!("(NULL::{cast})[1]"), number);
    push(sql, format_args!("({name} {operator} {words}"));
    if matches!(is, Operator::ContainsAll(_)) {
        // A word that the enum does not have is contained in no array.
        let asked = format!("ARRAY(SELECT DISTINCT pg_catalog.unnest(${number}::text[]))");
        push(
            sql,
            format_args!(
                " AND (pg_catalog.cardinality({asked}) = pg_catalog.cardinality({words}) OR ({name} IS NULL AND NULL))"
            ),
        );
    }
    sql.push(')');
}

/// Missing values and JSON's `null` are NULL. Values of another type than the constant's have no
/// order with it. Text within JSON is ordered by code points, and only ASCII letters have case.
fn ask_json(
    column: &Column,
    json: Json,
    path: Option<&str>,
    is: &Operator,
    sql: &mut String,
    params: &mut Vec<Param>,
) {
    let mut value = quoted(column);
    if !json.is_binary {
        value.push_str("::pg_catalog.jsonb");
    }
    if let Some(path) = path {
        let steps = path.split('.').map(|step| Some(step.to_owned())).collect();
        value = format!("{value} #> ${}::text[]", many(params, steps));
    }
    let value = format!("NULLIF({value}, 'null'::pg_catalog.jsonb)");
    let as_text = format!("({value} #>> '{{}}') COLLATE \"C\"");
    let typed = |json_type: &str, condition: std::fmt::Arguments<'_>| {
        format!("CASE WHEN pg_catalog.jsonb_typeof({value}) = '{json_type}' THEN {condition} END")
    };
    let condition = match is {
        Operator::Null => format!("{value} IS NULL"),
        Operator::Compare(comparison, constant) if comparison.is_equality() => {
            let number = one(params, json_text(constant));
            let operator = operator(*comparison);
            format!("{value} {operator} ${number}::text::pg_catalog.jsonb")
        }
        Operator::Compare(comparison, Value::Text(constant)) => {
            let number = one(params, Some(constant.to_string()));
            let operator = operator(*comparison);
            typed("string", format_args!("{as_text} {operator} ${number}::text"))
        }
        Operator::Compare(comparison, constant) => {
            let json_type = if matches!(constant, Value::Bool(_)) { "boolean" } else { "number" };
            let number = one(params, json_text(constant));
            let operator = operator(*comparison);
            typed(json_type, format_args!("{value} {operator} ${number}::text::pg_catalog.jsonb"))
        }
        Operator::In(constants) => {
            let number = many(params, constants.iter().map(json_text).collect());
            format!("{value} = ANY (${number}::text[]::pg_catalog.jsonb[])")
        }
        Operator::Like(text) | Operator::ILike(text) | Operator::StartsWith(text) => {
            let number = one(params, Some(text.to_string()));
            let operator = match is {
                Operator::Like(_) => "LIKE",
                Operator::ILike(_) => "ILIKE",
                _ => "^@",
            };
            typed("string", format_args!("{as_text} {operator} ${number}::text"))
        }
        Operator::ContainsAll(constants) => {
            let number = one(params, Some(json_array(constants)));
            format!("{value} @> ${number}::text::pg_catalog.jsonb")
        }
        // `ANY` of an empty array is false even for NULL.
        Operator::Overlaps(constants) if constants.is_empty() => {
            format!("({value} IS NULL AND NULL)")
        }
        Operator::Overlaps(constants) => {
            let arrays = constants.iter().map(|one| Some(json_array(std::slice::from_ref(one))));
            let number = many(params, arrays.collect());
            format!("{value} @> ANY (${number}::text[]::pg_catalog.jsonb[])")
        }
    };
    sql.push_str(&condition);
}

fn one(params: &mut Vec<Param>, text: Option<String>) -> usize {
    params.push(Param::One(text));
    params.len()
}

fn many(params: &mut Vec<Param>, texts: Vec<Option<String>>) -> usize {
    params.push(Param::Many(texts));
    params.len()
}

/// A constant of a column's type, which may be one that only PostgreSQL can read.
fn constant(params: &mut Vec<Param>, column: &Column, text: Option<String>) -> usize {
    if !is_doubtful(column.comparable()) {
        return one(params, text);
    }
    let cast = column.cast().to_owned();
    params.push(Param::Doubtful { texts: vec![text], is_list: false, cast });
    params.len()
}

/// The same for several, as an array of this type.
fn list(
    params: &mut Vec<Param>,
    comparable: &Comparable,
    cast: &str,
    texts: Vec<Option<String>>,
) -> usize {
    if !is_doubtful(comparable) {
        return many(params, texts);
    }
    params.push(Param::Doubtful { texts, is_list: true, cast: cast.to_owned() });
    params.len()
}

/// Whether only PostgreSQL knows which texts are values of a type.
fn is_doubtful(comparable: &Comparable) -> bool {
    matches!(comparable, Comparable::Other)
}

fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Eq => "=",
        Comparison::Ne => "<>",
        Comparison::Lt => "<",
        Comparison::Lte => "<=",
        Comparison::Gt => ">",
        Comparison::Gte => ">=",
    }
}

/// The type that a constant is cast to. Numbers keep their width, so that a constant out of the
/// column's range is compared rather than refused.
fn cast<'a>(column: &'a Column, value: &Value) -> &'a str {
    match (column.comparable(), value) {
        (Comparable::Integer, Value::Float(_)) | (Comparable::Real | Comparable::Double, _) => {
            "pg_catalog.float8"
        }
        (Comparable::Integer, _) => "pg_catalog.int8",
        (Comparable::Date, Value::Float(_)) => "pg_catalog.timestamp",
        _ => column.cast(),
    }
}

/// A constant in PostgreSQL's input syntax.
fn text(comparable: &Comparable, value: &Value) -> Option<String> {
    Some(match (comparable, value) {
        (_, Value::Null) => return None,
        (Comparable::Date, Value::Int(days)) => date_text(*days),
        (Comparable::Date, Value::Float(days)) => {
            // Noon of the day: as good as any other time within the day.
            timestamp_text((days.floor() as i64) * 86_400_000_000 + 43_200_000_000)
        }
        (Comparable::Time, Value::Int(microseconds)) => time_text(*microseconds),
        (_, Value::Bool(value)) => value.to_string(),
        (_, Value::Int(value)) => value.to_string(),
        (_, Value::Time(microseconds)) => timestamp_text(*microseconds),
        (_, Value::Float(value)) if value.is_infinite() => {
            if *value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
        }
        (_, Value::Float(value)) => value.to_string(),
        (_, Value::Decimal(value)) => value.to_string(),
        (_, Value::Text(value)) => value.to_string(),
        (_, Value::Binary(bytes)) => {
            let mut text = "\\x".to_owned();
            for byte in bytes.iter() {
                push(&mut text, format_args!("{byte:02x}"));
            }
            text
        }
        // Refused by `Comparable::test`.
        (_, Value::List(_) | Value::Object) => return None,
    })
}

/// A constant as JSON.
fn json_text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(serde_json::Value::from(&**text).to_string()),
        other => text(&Comparable::Other, other),
    }
}

fn json_array(values: &[Value]) -> String {
    let texts: Vec<String> = values.iter().filter_map(json_text).collect();
    format!("[{}]", texts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_written_as_postgresql_reads_them() {
        for (comparable, value, written) in [
            (Comparable::Date, Value::Int(19_782), "2024-02-29"),
            (Comparable::Date, Value::Float(-0.5), "1969-12-31 12:00:00.000000"),
            (Comparable::Time, Value::Int(86_400_000_000), "24:00:00.000000"),
            (Comparable::Binary, Value::from(&b"\0\xff"[..]), "\\x00ff"),
            (Comparable::Numeric, Value::Decimal("-1.50".parse().unwrap()), "-15e-1"),
            (Comparable::Double, Value::Float(f64::NEG_INFINITY), "-Infinity"),
        ] {
            assert_eq!(text(&comparable, &value).as_deref(), Some(written));
        }
        assert_eq!(json_array(&[Value::from("a\"b"), Value::Bool(true)]), "[\"a\\\"b\",true]");
        assert_eq!(json_text(&Value::Null), None);
    }
}
