//! Steps of snapshots, and what they say.

use super::*;

fn documents(values: &[(&str, &str, &str)]) -> BTreeMap<DocumentId, Arc<Document>> {
    let documents = values.iter().map(|(id, field, value)| {
        let document = Document::from_fields([((*field).into(), *value)]).unwrap();
        (DocumentId::from_string(id), Arc::new(document))
    });
    documents.collect()
}

fn shown(values: &[(&str, &str, &str)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.replace(&"c".into(), documents(values));
    snapshot
}

#[test]
fn equal_documents_are_shared_and_others_are_not() {
    let one = shown(&[("a", "n", "1"), ("b", "n", "2")]);
    for other in [
        &[("a", "n", "1")][..],
        &[("a", "n", "1"), ("b", "n", "3")],
        &[("a", "n", "1"), ("c", "n", "2")],
        &[("a", "n", "1"), ("b", "m", "2")],
    ] {
        let (mut snapshot, before) = (shown(other), shown(other));
        assert!(!snapshot.share(&one));
        assert!(snapshot.iter().eq(before.iter()), "nothing happens");
    }
    let mut same = shown(&[("a", "n", "1")]);
    same.replace(&"c".into(), documents(&[("a", "n", "1"), ("b", "n", "2")]));
    assert!(!same.shares_with(&one));
    assert!(same.share(&one) && same.shares_with(&one));
    assert_eq!(same.version(), 2, "the version stays");
}

#[test]
fn a_step_is_followed_from_the_very_same_documents_only() {
    let before = shown(&[("a", "n", "1"), ("b", "n", "2")]);
    let (mut one, mut same, mut equal) =
        (before.clone(), before.clone(), shown(&[("a", "n", "1"), ("b", "n", "2")]));
    same.version = 7;
    let step = one.replace(&"c".into(), documents(&[("a", "n", "3"), ("b", "n", "2")])).unwrap();
    assert!(equal.follow(&before, &step).is_none());
    let like = same.follow(&before, &step).unwrap();
    assert!(like.is_like(&step) && step.only_updates());
    assert_eq!((like.from(), like.to(), same.version()), (7, 8, 8));
    assert!(like.after().shares_with(&one) && same.shares_with(&one));
    let mut first = before.clone();
    let same = first.follow(&before, &step).unwrap();
    assert!(Arc::ptr_eq(&same, &step), "not even the versions differ");
}

#[test]
fn what_comes_or_goes_is_more_than_an_update() {
    let before = [("a", "n", "1"), ("b", "n", "2")];
    for (after, only_updates) in [
        (&[("a", "n", "2"), ("b", "n", "3")][..], true),
        (&[("a", "n", "2")], false),
        (&[("a", "n", "1"), ("b", "n", "2"), ("c", "n", "3")], false),
        (&[("a", "m", "1"), ("b", "n", "2")], false),
    ] {
        let step = shown(&before).replace(&"c".into(), documents(after)).unwrap();
        assert_eq!(step.only_updates(), only_updates, "{after:?}");
        let step = shown(&before).replace_by(&"c".into(), &shown(after)).unwrap();
        assert_eq!(step.only_updates(), only_updates, "{after:?}");
    }
    let (mut snapshot, same) = (shown(&before), shown(&before));
    assert!(snapshot.replace_by(&"c".into(), &same).is_none(), "nothing differs");
    assert!(snapshot.version() == 1 && snapshot.shares_with(&same));
}
