use super::*;
use crate::schema::fixture::layout;

fn tasks(string_ids: bool) -> Layout {
    let columns = [
        ("id", ValueKind::BigInteger),
        ("title", ValueKind::Text),
        ("price", ValueKind::Numeric),
        ("due", ValueKind::Timestamp),
    ];
    layout(&columns, string_ids)
}

const MILK: &str = r#"{"id":7,"title":"a \"b\" {,","price":1.50,"due":"1970-01-01T00:00:01"}"#;

#[test]
fn a_row_becomes_a_document() {
    let layout = tasks(false);
    let row = Row::parse(&layout, MILK).unwrap();
    assert_eq!(row.id().as_str(), "~7");
    assert_eq!(row.value(1), Some(r#""a \"b\" {,""#));
    assert_eq!(row.value(4), None);
    let document = row.document(&layout, None).unwrap();
    let fields: Vec<(&str, &str)> = document.iter().map(|(name, value)| (&**name, value)).collect();
    assert_eq!(
        fields,
        [("title", r#""a \"b\" {,""#), ("price", "1.5"), ("due", r#"{"$date":1000}"#)]
    );
    let some = row.document(&layout, Some(&[0, 2, 9])).unwrap();
    assert_eq!(some.len(), 1);
    assert_eq!(some.get("price"), Some("1.5"));
}

#[test]
fn columns_in_any_order_and_unknown_ones() {
    let text = r#"{ "price":null, "new": [{}], "due" : null,"title":"t" , "id": 8 }"#;
    let row = Row::parse(&tasks(true), text).unwrap();
    assert_eq!(row.id().as_str(), "8");
    assert_eq!(
        [0, 1, 2, 3].map(|column| row.value(column).unwrap()),
        ["8", "\"t\"", "null", "null"]
    );
}

#[test]
fn what_is_no_row_is_an_error() {
    let layout = tasks(false);
    let missing = Row::parse(&layout, r#"{"id":7,"title":"a","due":null}"#);
    assert_eq!(missing, Err(RowError::MissingColumn("price".to_owned())));
    let null_key = Row::parse(&layout, r#"{"id":null,"title":"a","price":1,"due":null}"#);
    assert_eq!(null_key, Err(RowError::Key));
    for text in ["", "[]", "7", "{", r#"{"id":}"#, &format!("{MILK} x"), r#"{"id":7"#] {
        assert!(matches!(Row::parse(&layout, text), Err(RowError::Malformed(_))), "{text}");
    }
    let wrong = Row::parse(&layout, &MILK.replace("1.50", "true")).unwrap();
    let error = wrong.document(&layout, None).unwrap_err();
    assert!(error.to_string().starts_with("column \"price\": unexpected value"), "{error}");
}

#[test]
fn keys_become_ids_by_the_rule_of_meteor() {
    let (numbers, strings) = (tasks(false), tasks(true));
    let wire = |layout: &Layout, key| document_id(layout, key).unwrap().as_str().to_owned();
    assert_eq!(wire(&numbers, "-7"), "~-7");
    assert_eq!(wire(&strings, "-7"), "--7");
    assert_eq!(wire(&numbers, "9007199254740993"), "9007199254740993");
    assert_eq!(wire(&numbers, r#""~a""#), "-~a");
    assert_eq!(wire(&numbers, r#""\u00e9""#), "é");
    assert_eq!(wire(&numbers, "true"), "true");
    for key in ["null", "[1]", "{}", "", "\"a"] {
        assert_eq!(document_id(&numbers, key), Err(RowError::Key), "{key}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text: String, key: String) {
        let layout = tasks(false);
        let _ = Row::parse(&layout, &text);
        let _ = document_id(&layout, &key);
        if let Ok(row) = Row::parse(&layout, &format!(r#"{{"id":1,"title":{text},"price":{key},"due":{key}}}"#)) {
            let _ = row.document(&layout, None);
        }
    }
}
