//! Meteor's EJSON compared with plain JSON: the same documents, read and written by
//! `ddp_core::ejson` and by `serde_json::Value`, which knows no dates, binary or escapes. `cargo
//! bench --bench ejson`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ddp_core::ejson;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Documents of different kinds, with their names.
fn documents() -> [(&'static str, String); 3] {
    let task = |number: usize| {
        format!(
            r#"{{"_id":"task{number}","text":"Write \"the\" tests","listId":"list{}","rank":{number}.5,"isDone":{},"tags":["a","b"],"owner":{{"name":"Zoë","age":{number}}}}}"#,
            number % 7,
            number.is_multiple_of(3)
        )
    };
    let dated = |number: usize| {
        format!(
            r#"{{"_id":"task{number}","createdAt":{{"$date":17040672{number:05}}},"data":{{"$binary":"AQIDBAUGBwg="}},"ratio":{{"$InfNaN":1}},"text":"x"}}"#
        )
    };
    let many = |each: &dyn Fn(usize) -> String| {
        format!("[{}]", (0..100).map(each).collect::<Vec<_>>().join(","))
    };
    [
        ("one task", task(1)),
        ("100 tasks", many(&task)),
        ("100 with dates, binary and NaN", many(&dated)),
    ]
}

fn ejson(criterion: &mut Criterion) {
    for (name, text) in documents() {
        let decoded = ejson::parse(&text).expect("EJSON");
        assert_eq!(decoded.to_text(), text, "it is written as it was read");
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("ejson", |bencher| {
            bencher.iter(|| ejson::parse(&text).expect("EJSON").to_text());
        });
        group.bench_function("serde_json::Value", |bencher| {
            bencher.iter(|| {
                let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                serde_json::to_string(&value).expect("JSON")
            });
        });
        group.finish();
    }
}

criterion_group!(benches, ejson);
criterion_main!(benches);
