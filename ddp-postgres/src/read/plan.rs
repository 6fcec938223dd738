//! How queries are evaluated.

use std::convert::Infallible;

use ddp_server::live_query::Plan;
use ddp_server::query::{Condition, Query, SortKey, Value, ascending};

use crate::compare::{Comparable, Refusal, split};
use crate::error::Error;
use crate::schema::Layout;

/// Decides how a query is evaluated on changes.
pub(crate) fn plan(layout: &Layout, query: &Query) -> Result<Plan, Error> {
    let column = |field: &str| {
        layout.column_named(field).ok_or_else(|| match layout.id_column() {
            None if field == "_id" => Error::composite_key(layout),
            _ => Error::no_such_field(layout, field),
        })
    };
    for field in query.fields.iter().flat_map(|fields| fields.iter()) {
        // The id is always included.
        if &**field != "_id" {
            column(field)?;
        }
    }
    let predicate = query.predicate.try_map_conditions(&|test| {
        let column = column(split(&test.field).0)?;
        let comparable = column.comparable();
        let numbers = column.kind().is_of_ids().then(|| numbers(test));
        comparable.convert(numbers.as_ref().unwrap_or(test)).map_err(|refusal| match refusal {
            Refusal::Constant(value) => Error::wrong_type(layout, &test.field, &value),
            Refusal::Question(why) => Error::unsuited(layout, &test.field, why),
        })
    })?;
    let is_routable = |field: &str| {
        let (name, path) = split(field);
        column(name).is_ok_and(|column| column.comparable().is_routable(path, name == "_id"))
    };
    let keys = predicate.equality_keys(&is_routable);
    let mut order = Vec::new();
    for key in &query.sort {
        if &*key.field == "_id" {
            order.push(key.clone());
            continue;
        }
        let (name, path) = split(&key.field);
        let comparable = column(name)?.comparable();
        if path.is_some() {
            let why = "is inside a column, which a query cannot be sorted by";
            return Err(Error::unsuited(layout, &key.field, why));
        }
        if matches!(comparable, Comparable::Json(json) if !json.is_binary) {
            return Err(Error::unsuited(layout, name, "is json, which has no order; use jsonb"));
        }
        order.push(key.clone());
    }
    order.push(ascending("_id"));
    let is_ordered = |key: &SortKey| {
        &*key.field == "_id"
            || column(&key.field).is_ok_and(|column| column.comparable().has_order())
    };
    let order = (query.has_window() && order.iter().all(is_ordered)).then(|| order.into());
    Ok(Plan { predicate, keys, order })
}

/// The test with numbers in the place of ids that clients have as strings. What is not written like
/// one is no id, and equals nothing.
fn numbers(test: &Condition) -> Condition {
    let number = |value: &Value| match value {
        Value::Text(text) => {
            let number = text.parse::<i64>().ok().filter(|number| number.to_string() == **text);
            Ok::<_, Infallible>(number.map_or(Value::Null, Value::Int))
        }
        other => Ok(other.clone()),
    };
    let Ok(is) = test.is.try_map(number);
    Condition { field: test.field.clone(), is }
}

#[cfg(test)]
mod tests {
    use ddp_server::field;

    use super::*;
    use crate::schema::fixture;
    use crate::value::ValueKind;

    #[test]
    fn a_field_that_is_not_there_is_told_with_those_that_are() {
        let columns = ["id", "listId", "text"].map(|name| (name, ValueKind::Text));
        let layout = fixture::layout(&columns, false);
        let refused = |query: Query| plan(&layout, &query).unwrap_err().to_string();
        let all = || Query::all("tasks");
        let told = |name: &str, meant: &str| {
            format!(
                "collection \"tasks\" has no published field {name:?}{meant}; it has _id, listId, text"
            )
        };
        let error = refused(Query { predicate: field("list_id").eq("a"), ..all() });
        assert_eq!(error, told("list_id", "; did you mean \"listId\"?"));
        let error = refused(Query { predicate: field("txet.a").eq("a"), ..all() });
        assert_eq!(error, told("txet", "; did you mean \"text\"?"));
        let error = refused(Query { sort: vec![ascending("texd")], ..all() });
        assert_eq!(error, told("texd", "; did you mean \"text\"?"));
        let error = refused(Query { fields: Some(["lisdId".into()].into()), ..all() });
        assert_eq!(error, told("lisdId", "; did you mean \"listId\"?"));
        let error = refused(Query { fields: Some(["owner".into()].into()), ..all() });
        assert_eq!(error, told("owner", ""));
    }

    #[test]
    fn ids_that_clients_have_as_strings_are_compared_as_numbers() {
        let layout = fixture::string_ids(&[("id", ValueKind::Integer)]);
        let numbers = |predicate| {
            let query = Query { predicate, ..Query::all("tasks") };
            plan(&layout, &query).unwrap().predicate
        };
        let id = |value: Value| numbers(field("_id").eq(value));
        assert_eq!(id(Value::from("42")), id(Value::Int(42)));
        for no_id in ["", "042", "+1", "x", "1.0", "99999999999999999999"] {
            assert_eq!(id(Value::from(no_id)), id(Value::Null), "{no_id}");
        }
        let several = numbers(field("_id").is_in(["1", "x"]));
        assert_eq!(several, numbers(field("_id").is_in([Value::Int(1), Value::Null])));
    }

    #[test]
    fn the_id_of_several_columns_is_nothing_to_filter_on() {
        let columns = [("list", ValueKind::Text), ("name", ValueKind::Text)];
        let layout = fixture::composite(&columns);
        let query = |name| Query { predicate: field(name).eq("a"), ..Query::all("tasks") };
        let error = plan(&layout, &query("_id")).unwrap_err().to_string();
        assert!(error.contains("made up of the fields list, name: filter on them"), "{error}");
        assert!(plan(&layout, &query("name")).is_ok());
        let fields = Some(["_id".into(), "name".into()].into());
        let sort = vec![ascending("_id")];
        assert!(plan(&layout, &Query { fields, sort, ..query("list") }).is_ok());
    }
}
