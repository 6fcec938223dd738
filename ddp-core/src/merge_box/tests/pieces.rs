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

#[test]
fn a_rerun_is_told_in_pieces_in_the_order_of_places() {
    let (mut merge_box, mut sent) = (MergeBox::default(), Sent::default());
    let (first, second) = (SubscriptionKey::from(1), SubscriptionKey::from(2));
    for collection in ["c", "e"] {
        let begun = Snapshot::default().replace(&collection.into(), documents("a")).unwrap();
        merge_box.apply(first, Source::Cursor, begun, &mut sent.sender());
    }
    merge_box.hold(&BTreeMap::from([(first, second)]), &mut sent.sender());
    let begun = Snapshot::default().replace(&"c".into(), documents("b")).unwrap();
    merge_box.apply(second, Source::Cursor, begun, &mut |sent| panic!("{sent:?} is held"));
    let mut placed = Snapshot::default();
    let ids: Vec<DocumentId> =
        (0..COUNT).map(|number| DocumentId::from_string(&format!("p{number:04}"))).collect();
    let (_, document) = documents("p").pop_first().expect("a document");
    for id in &ids {
        let step = BTreeMap::from([(id.clone(), Some(Arc::clone(&document)))]);
        let step = placed.advance(&"f".into(), step).unwrap();
        let placement = Placement { collection: "f".into(), id: id.clone(), place: Place::End };
        merge_box.place(second, Some(&step), placement, &mut |sent| panic!("{sent:?} is held"));
    }
    let mut messages = Vec::new();
    let (mut pieces, mut bytes) = (1, 0);
    merge_box.release(&mut |outgoing| messages.push(outgoing));
    while merge_box.has_more() {
        merge_box.send_more(&mut |outgoing| messages.push(outgoing));
        pieces += 1;
    }
    let mut next = None;
    for outgoing in &messages {
        let Outgoing::Text(text) = outgoing else { panic!("of this client alone") };
        bytes += text.len();
        if !text.contains("addedBefore") {
            sent.client.apply(text);
            continue;
        }
        // Each document goes right before the one that was placed last.
        let message: Value = serde_json::from_str(text).unwrap();
        assert_eq!(message["before"].as_str(), next.as_deref());
        next = message["id"].as_str().map(str::to_owned);
    }
    assert_eq!(next.as_deref(), Some("p0000"));
    assert!(pieces > bytes / (PIECE_BYTES + 300), "{bytes} bytes in {pieces} pieces");
    assert!((0..COUNT).all(|number| sent.text(number) == Some("b")));
    assert!(sent.client.0["e"].is_empty());
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
