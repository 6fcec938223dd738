//! Collections for which nothing is remembered.

use super::*;
use crate::merge_box::Direct;

type Fields<'a> = Option<&'a [(&'static str, &'static str)]>;

fn direct(before: Fields<'_>, after: Fields<'_>, place: Option<Place>) -> Direct {
    let document = |fields: &[(&'static str, &'static str)]| {
        let fields = fields.iter().map(|(name, value)| ((*name).into(), *value));
        Document::from_fields(fields).unwrap()
    };
    Direct {
        collection: "queue".into(),
        id: DocumentId::from_integer(7),
        before: before.map(document),
        after: after.map(document),
        place,
    }
}

#[test]
fn what_is_not_remembered_is_sent_as_it_is() {
    let mut peer = Peer::connected();
    let subscription = peer.subscribe("s1");
    peer.input(Input::Ready(subscription));
    let before_x = || Some(Place::Before(DocumentId::from_string("x")));
    let (one, two): (&[_], &[_]) = (&[("a", "1"), ("b", "2")], &[("a", "3")]);
    for (input, sent) in [
        (direct(None, None, None), &[][..]),
        (direct(Some(one), Some(one), None), &[]),
        (direct(Some(&one[1..]), Some(&[("b", "2")]), None), &[]),
        (
            direct(None, Some(one), None),
            &[r#"{"msg":"added","collection":"queue","id":"~7","fields":{"a":1,"b":2}}"#],
        ),
        (direct(None, Some(&[]), None), &[r#"{"msg":"added","collection":"queue","id":"~7"}"#]),
        (
            direct(Some(one), Some(two), None),
            &[
                r#"{"msg":"changed","collection":"queue","id":"~7","fields":{"a":3},"cleared":["b"]}"#,
            ],
        ),
        (direct(Some(&[]), None, None), &[r#"{"msg":"removed","collection":"queue","id":"~7"}"#]),
        (
            direct(None, Some(two), before_x()),
            &[
                r#"{"msg":"addedBefore","collection":"queue","id":"~7","fields":{"a":3},"before":"x"}"#,
            ],
        ),
        (
            direct(Some(&[]), Some(&[]), Some(Place::End)),
            &[r#"{"msg":"movedBefore","collection":"queue","id":"~7","before":null}"#],
        ),
        (
            direct(Some(one), Some(&[("a", "1")]), before_x()),
            &[
                r#"{"msg":"changed","collection":"queue","id":"~7","cleared":["b"]}"#,
                r#"{"msg":"movedBefore","collection":"queue","id":"~7","before":"x"}"#,
            ],
        ),
    ] {
        let name = format!("{input:?}");
        assert_eq!(peer.input(Input::Direct(subscription, input)), sent, "{name}");
    }
    peer.recv(r#"{"msg":"unsub","id":"s1"}"#);
    let late = direct(None, Some(one), None);
    assert_eq!(peer.input(Input::Direct(subscription, late)), [""; 0]);
}
