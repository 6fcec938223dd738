use super::*;
use crate::ejson;

/// Expected values, a JSON array per line; drawn in this order in JavaScript:
///
/// - For `Random.createWithSeeds(...seeds)`, created anew each time: the seeds, `[fraction(),
///   fraction(), fraction()]`, the 1000th `fraction()`, `id()`, `hexString(20)`, `secret()`,
///   `id(5)` and `choice` of the letters from a to j.
/// - For a scope with this `randomSeed`: the seed, two ids of `/collection/tasks`, an id of
///   `/collection/lists`, `hexString(24)` of `/collection/oids`, `makeRpcSeed` for `add`, an id of
///   the sequence without a name, `makeRpcSeed` again and an id of `/collection/tasks` again.
///
/// They were printed under Node 20 by the packages `random` and `ddp-common` of Meteor 3, and the
/// compiled ones in npm's meteor-client-side 1.3.5 printed the same.
const VECTORS: &str = include_str!("vectors.jsonl");

fn vectors(columns: usize) -> Vec<Vec<Ejson>> {
    let rows = VECTORS.lines().map(|line| ejson::from_text::<Vec<Ejson>>(line).unwrap());
    rows.filter(|row| row.len() == columns).collect()
}

#[test]
fn generators_agree_with_meteor() {
    let vectors = vectors(8);
    assert_eq!(vectors.len(), 17);
    for row in vectors {
        let seeds: Vec<_> =
            row[0].as_array().unwrap().iter().map(|seed| Seed::from_value(seed).unwrap()).collect();
        let alea = || Alea::new(&seeds);
        let mut fractions = alea();
        for expected in row[1].as_array().unwrap() {
            assert_eq!(Some(fractions.fraction()), expected.as_f64(), "{seeds:?}");
        }
        let mut thousand = alea();
        let last = (0..1000).map(|_| thousand.fraction()).last();
        assert_eq!(last, row[2].as_f64(), "{seeds:?}");
        assert_eq!(Some(&*alea().id(ID_LEN)), row[3].as_str());
        assert_eq!(Some(&*alea().hex_string(20)), row[4].as_str());
        assert_eq!(Some(&*alea().secret(SECRET_LEN)), row[5].as_str());
        assert_eq!(Some(&*alea().id(5)), row[6].as_str());
        let letter = alea().choice_index(10).and_then(|index| "abcdefghij".chars().nth(index));
        assert_eq!(letter.map(String::from).as_deref(), row[7].as_str());
    }
}

#[test]
fn streams_agree_with_meteor() {
    let vectors = vectors(9);
    assert_eq!(vectors.len(), 10);
    for row in vectors {
        let mut stream = RandomStream::from_value(&row[0]).unwrap();
        let drawn = [
            stream.document_id("tasks"),
            stream.document_id("tasks"),
            stream.document_id("lists"),
            stream.document_object_id("oids"),
            stream.rpc_seed("add"),
            stream.sequence("").id(ID_LEN),
            stream.rpc_seed("add"),
            stream.document_id("tasks"),
        ];
        let expected: Vec<_> = row[1..].iter().filter_map(Ejson::as_str).collect();
        assert_eq!(drawn.as_slice(), expected, "{}", row[0]);
    }
}

#[test]
fn a_client_seed_is_a_seed_in_one_part() {
    let mut from_text = RandomStream::from_seed("c0ffee00c0ffee00c0ff");
    assert_eq!(from_text.document_id("tasks"), "maSY5n4MXCN2Do5W7");
    assert_eq!(from_text.sequence("/collection/tasks").id(ID_LEN), "LkAt4PhYWpan4Ttac");
}

/// Two ids of `/collection/tasks` and one of `/collection/lists`, printed by the stub in the documentation
/// under Meteor's client in npm's meteor-client-side 1.3.5.
#[test]
fn uuids_are_those_of_a_stub() {
    for (seed, drawn) in [
        (
            "c0ffee00c0ffee00c0ff",
            [
                "b8781c05-8250-4c17-95b2-e06b87c8c07e",
                "89a88bd0-c4f9-4511-9c9b-fe806cd7082d",
                "2f44f128-a6a7-41cc-bf1a-be4e1d6fb684",
            ],
        ),
        (
            "0",
            [
                "74dd451d-1736-4da4-a1e8-8929735a23f9",
                "a745f638-7300-44fe-b5b2-84cd805abdaf",
                "920c2a97-bf41-40bf-a817-9535c9aa496c",
            ],
        ),
        (
            "ünï",
            [
                "a27a4322-a140-473a-9d6b-47ad5ddca1e6",
                "5f027e26-8c16-4f8b-bcde-bda4411f18c6",
                "080056fe-0185-423a-a825-31682a52cb7c",
            ],
        ),
    ] {
        let mut stream = RandomStream::from_seed(seed);
        assert_eq!(["tasks", "tasks", "lists"].map(|name| stream.document_uuid(name)), drawn);
    }
}

#[test]
fn falsy_seeds_are_none() {
    for text in ["null", "false", "0", "-0", "\"\"", "{\"$InfNaN\":0}", "[null]", "[1,null]"] {
        assert!(RandomStream::from_value(&ejson::parse(text).unwrap()).is_none(), "{text}");
    }
}

#[test]
fn choice_among_none() {
    let mut alea = Alea::new(&["seed".into()]);
    assert_eq!(alea.choice_index(0), None);
    assert_eq!(alea.choice_index(1), Some(0));
}

#[test]
fn entropy_at_its_extremes() {
    assert_eq!(id_from_entropy(&mut |bytes| bytes.fill(0)), "2".repeat(ID_LEN));
    assert_eq!(id_from_entropy(&mut |bytes| bytes.fill(255)), "z".repeat(ID_LEN));
    assert_eq!(secret_from_entropy(&mut |bytes| bytes.fill(255)), "_".repeat(SECRET_LEN));
    assert_eq!(hex_string_from_entropy(3, &mut |bytes| bytes.fill(0x80)), "888");
    let mut stream = RandomStream::from_entropy(&mut |bytes| bytes.fill(0));
    let mut same = RandomStream::from_seed("0".repeat(SEED_LEN));
    assert_eq!(stream.document_id("tasks"), same.document_id("tasks"));
}
