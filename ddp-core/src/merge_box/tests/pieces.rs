//! Changes that are told in pieces.

use super::*;

const COUNT: usize = 1000;

/// So many documents of two fields: a number, and about 100 bytes of this letter.
fn documents(letter: &str) -> BTreeMap<DocumentId, Arc<Document>> {
    let text = format!("{:?}", letter.repeat(100));
    let document = |number: usize| {
        let fields: [(Arc<str>, String); 2] =
            [("n".into(), number.to_string()), ("text".into(), text.clone())];
        let fields = fields.iter().map(|(name, value)| (Arc::clone(name), value.as_str()));
        let document = Document::from_fields(fields).expect("sound fields");
        (DocumentId::from_string(&format!("d{number:04}")), Arc::new(document))
    };
    (0..COUNT).map(document).collect()
}

/// What a client is sent, and how much of it at once.
#[derive(Default)]
struct Sent {
    client: Client,
    messages: usize,
    bytes: usize,
}

impl Sent {
    fn sender(&mut self) -> impl FnMut(Outgoing) {
        (self.messages, self.bytes) = (0, 0);
        move |outgoing| {
            let mut take = |text: &str| {
                self.client.apply(text);
                self.messages += 1;
            };
            match outgoing {
                Outgoing::Text(text) => {
                    self.bytes += text.len();
                    take(&text);
                }
                Outgoing::Shared(delta) => delta.for_each_message(take),
            }
        }
    }

    fn text(&self, number: usize) -> Option<&str> {
        let documents = self.client.0.get("c")?;
        documents.get(&format!("d{number:04}"))?.get("text").map(|text| &text[1..2])
    }
}

/// Takes one piece after the other; returns how many there were after the first.
fn take_all(merge_box: &mut MergeBox, sent: &mut Sent) -> usize {
    let mut pieces = 0;
    while merge_box.has_more() {
        assert!(sent.bytes < PIECE_BYTES + 300, "{} bytes at once", sent.bytes);
        merge_box.send_more(&mut sent.sender());
        pieces += 1;
    }
    assert!(sent.bytes < PIECE_BYTES + 300, "{} bytes at once", sent.bytes);
    pieces
}

#[test]
fn a_step_of_many_documents_and_a_difference_are_told_in_pieces() {
    let (mut merge_box, mut sent) = (MergeBox::default(), Sent::default());
    let (first, second) = (SubscriptionKey::from(1), SubscriptionKey::from(2));
    let (mut shown, mut other) = (Snapshot::default(), Snapshot::default());
    let begun = shown.replace(&"c".into(), documents("a")).unwrap();
    merge_box.apply(first, Source::Cursor, begun, &mut sent.sender());
    assert_eq!((sent.messages, sent.bytes), (COUNT, 0), "shared, and so all of it");
    let few: BTreeMap<_, _> = documents("a").into_iter().take(3).collect();
    let begun = other.replace(&"c".into(), few).unwrap();
    merge_box.apply(second, Source::ByHand, begun, &mut sent.sender());

    let step = shown.replace(&"c".into(), documents("b")).unwrap();
    merge_box.apply(first, Source::Cursor, step, &mut sent.sender());
    assert!(sent.messages < COUNT, "{}", sent.messages);
    assert_eq!((sent.text(0), sent.text(COUNT - 1)), (Some("b"), Some("a")));
    assert!(take_all(&mut merge_box, &mut sent) > 1);
    assert!((0..COUNT).all(|number| sent.text(number) == Some("b")));

    // A step is missed, and some documents go.
    shown.replace(&"c".into(), documents("c")).unwrap();
    let most: BTreeMap<_, _> = documents("d").into_iter().skip(10).collect();
    let step = shown.replace(&"c".into(), most).unwrap();
    merge_box.apply(first, Source::Cursor, step, &mut sent.sender());
    assert!(sent.messages < COUNT, "{}", sent.messages);
    assert!(take_all(&mut merge_box, &mut sent) > 1);
    assert!((10..COUNT).all(|number| sent.text(number) == Some("d")));
    // The other subscription still shows these.
    assert_eq!((sent.text(2), sent.text(3)), (Some("a"), None));
}

#[test]
fn the_end_of_a_subscription_is_told_in_pieces() {
    let (mut merge_box, mut sent) = (MergeBox::default(), Sent::default());
    let first = SubscriptionKey::from(1);
    for collection in ["c", "e"] {
        let begun = Snapshot::default().replace(&collection.into(), documents("a")).unwrap();
        merge_box.apply(first, Source::Cursor, begun, &mut sent.sender());
    }
    merge_box.remove(first, &mut sent.sender());
    assert!(sent.messages > 0 && sent.messages < 2 * COUNT, "{}", sent.messages);
    assert!(take_all(&mut merge_box, &mut sent) > 1);
    assert!(sent.client.0.values().all(BTreeMap::is_empty));
    // The next is alone again.
    let begun = Snapshot::default().replace(&"f".into(), documents("a")).unwrap();
    merge_box.apply(SubscriptionKey::from(2), Source::Cursor, begun, &mut sent.sender());
    assert_eq!(sent.client.0["f"].len(), COUNT);
}

/// Where each subscription's documents are sent, all of them take the same step, one after the other.
#[test]
fn pieces_of_several_views_are_told_one_view_after_the_other() {
    let strategies = PublicationStrategies::new(PublicationStrategy::NoMergeMulti);
    let mut merge_box = MergeBox { piece_bytes: 1000, ..MergeBox::new(strategies) };
    let mut messages = Vec::new();
    let (query, mut shown) = (LiveQueryKey::from(1), Snapshot::default());
    let mut send = |outgoing| match outgoing {
        Outgoing::Text(text) => messages.push(text),
        Outgoing::Shared(delta) => delta.for_each_message(|text| messages.push(text.to_owned())),
    };
    let begun = shown.replace(&"c".into(), documents("a")).unwrap();
    for key in 1..=2 {
        let (key, source) = (SubscriptionKey::from(key), Source::LiveQuery(query));
        merge_box.apply(key, source, begun.clone(), &mut send);
        while merge_box.has_more() {
            merge_box.send_more(&mut send);
        }
    }
    let step = shown.replace(&"c".into(), BTreeMap::new()).unwrap();
    merge_box.step(query, &step, &mut send);
    let mut pieces = 1;
    while merge_box.has_more() {
        merge_box.send_more(&mut send);
        pieces += 1;
    }
    let removed: Vec<&String> =
        messages.iter().filter(|text| text.contains(r#""msg":"removed""#)).collect();
    // Only the last view that loses a document takes it from the client.
    assert_eq!(removed.len(), COUNT);
    assert!(pieces > 10, "{pieces}");
}
