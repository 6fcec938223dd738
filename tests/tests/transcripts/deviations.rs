//! Where this server deliberately deviates from Meteor.

/// What this server sends instead of one block of a transcript.
pub(crate) struct Deviation {
    pub(crate) transcript: &'static str,
    /// Counted from 1.
    pub(crate) block: usize,
    pub(crate) reason: &'static str,
    /// Lines as in transcripts.
    pub(crate) ours: &'static [&'static str],
}

const BY_HAND: &str = "What a publication does by hand changes the state of its documents. What does not \
     change it is not sent, and what does not fit it has no effect.";
const ODD_IDS: &str = "An id that is no string counts as none, and is not echoed; nothing fails.";
const PRECEDENCE: &str = "Precedence belongs to subscriptions, in the order in which they began to show the \
     collection, and not to each field: no copy of each document is kept for each client.";
const PROTOTYPES: &str = "A bug of JavaScript's objects.";
const READY: &str = "A publication may run for as long as its subscription lives, so that nothing waits for \
     more than its `ready`.";
const RERUN: &str = "setUserId sends the difference, with all fields, whatever the strategy.";

pub(crate) const DEVIATIONS: &[Deviation] = &[
    Deviation {
        transcript: "bad-cleared",
        block: 2,
        reason: "Clients have no use for `cleared`, and it is not looked at.",
        ours: &[
            r#"< {"msg":"pong","id":"p"}"#,
            r#"< {"msg":"pong","id":"p"}"#,
            r#"< {"msg":"pong","id":"q"}"#,
        ],
    },
    Deviation {
        transcript: "bad-ejson",
        block: 7,
        reason: "Meteor takes what JavaScript makes of it; here it is refused.",
        ours: &[r#"< {"msg":"error","reason":"Parse error"}"#],
    },
    Deviation {
        transcript: "bad-ejson",
        block: 11,
        reason: "Meteor takes what JavaScript makes of it; here it is refused.",
        ours: &[r#"< {"msg":"error","reason":"Parse error"}"#],
    },
    Deviation {
        transcript: "bad-ejson",
        block: 13,
        reason: "Meteor takes what JavaScript makes of it; here it is refused.",
        ours: &[r#"< {"msg":"error","reason":"Parse error"}"#],
    },
    Deviation {
        transcript: "bad-ejson",
        block: 15,
        reason: "Whether the value of a custom type is in order is for the handler to say.",
        ours: &[
            r#"< {"msg":"updated","methods":["13"]}"#,
            r#"< {"msg":"result","id":"13","result":["oid x"]}"#,
        ],
    },
    Deviation {
        transcript: "bad-ejson-type",
        block: 2,
        reason: "Custom types need not be registered.",
        ours: &[
            r#"< {"msg":"updated","methods":["1"]}"#,
            r#"< {"msg":"result","id":"1","result":["unknown unheard"]}"#,
        ],
    },
    Deviation {
        transcript: "bad-ejson-type",
        block: 3,
        reason: "Custom types need not be registered.",
        ours: &[r#"< {"msg":"ready","subs":["s"]}"#],
    },
    Deviation {
        transcript: "bad-msg-inherited",
        block: 2,
        reason: PROTOTYPES,
        ours: &[
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{"msg":"toString"}}"#,
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{"msg":"constructor"}}"#,
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{"msg":"hasOwnProperty"}}"#,
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{"msg":"__proto__"}}"#,
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{"msg":"valueOf"}}"#,
            r#"< {"msg":"pong","id":"p"}"#,
        ],
    },
    Deviation {
        transcript: "bad-offending",
        block: 2,
        reason: "An offending message comes back as it was sent.",
        ours: &[
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{ "msg" : "unknown" ,	"a" : [ 1.0 , 1e2, "\u0041\u00e9\n" ] }}"#,
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{"msg":"unknown","a":1,"b":2,"a":3}}"#,
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{"msg":"unknown","10":1,"b":1,"2":1}}"#,
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{"msg":"ping","id":"x","msg":"unknown"}}"#,
        ],
    },
    Deviation {
        transcript: "bad-offending-ejson",
        block: 2,
        reason: "An offending message comes back as it was sent.",
        ours: &[
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{"msg":"unknown","fields":{"d":{"$date":0},"b":{"$binary":"AQI="},"n":{"$InfNaN":1},"e":{"$escape":{"$date":5}}},"result":1,"params":[{"$date":0}]}}"#,
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{"msg":"unknown","other":{"$date":0}}}"#,
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{"msg":"unknown","cleared":["a","b"],"fields":{"a":1,"c":1}}}"#,
            r#"< {"msg":"error","reason":"Bad request","offendingMessage":{"msg":"unknown","cleared":["x"]}}"#,
        ],
    },
    Deviation {
        transcript: "ejson-key-order",
        block: 2,
        reason: "Keys stay where they were written; JavaScript moves those that look like array indices.",
        ours: &[
            r#"< {"msg":"updated","methods":["1"]}"#,
            r#"< {"msg":"result","id":"1","result":[{"b":1,"a":2,"10":3,"2":4,"":5,"01":6}]}"#,
        ],
    },
    Deviation {
        transcript: "merge-cleared-and-set",
        block: 4,
        reason: PRECEDENCE,
        ours: &[r#"< {"msg":"changed","collection":"items","id":"a","fields":{"x":1}}"#],
    },
    Deviation {
        transcript: "merge-cleared-and-set",
        block: 5,
        reason: PRECEDENCE,
        ours: &[r#"< {"msg":"changed","collection":"items","id":"a","fields":{"x":5}}"#],
    },
    Deviation {
        transcript: "merge-cleared-and-set",
        block: 6,
        reason: PRECEDENCE,
        ours: &[r#"< {"msg":"nosub","id":"s2"}"#],
    },
    Deviation {
        transcript: "merge-cursor-and-manual",
        block: 3,
        reason: PRECEDENCE,
        ours: &[r#"< {"msg":"changed","collection":"items","id":"a","fields":{"x":3,"z":3}}"#],
    },
    Deviation {
        transcript: "merge-cursor-and-manual",
        block: 4,
        reason: PRECEDENCE,
        ours: &[
            r#"< {"msg":"changed","collection":"items","id":"a","fields":{"x":2,"z":2},"cleared":["y"]}"#,
        ],
    },
    Deviation {
        transcript: "merge-late-field",
        block: 4,
        reason: PRECEDENCE,
        ours: &[r#"< {"msg":"changed","collection":"items","id":"a","fields":{"y":1}}"#],
    },
    Deviation {
        transcript: "merge-late-field",
        block: 5,
        reason: PRECEDENCE,
        ours: &[r#"< {"msg":"changed","collection":"items","id":"a","fields":{"y":10}}"#],
    },
    Deviation {
        transcript: "merge-late-field",
        block: 6,
        reason: PRECEDENCE,
        ours: &[r#"< {"msg":"nosub","id":"s2"}"#],
    },
    Deviation {
        transcript: "merge-removed-and-added",
        block: 4,
        reason: PRECEDENCE,
        ours: &[r#"< {"msg":"changed","collection":"items","id":"a","fields":{"x":1}}"#],
    },
    Deviation {
        transcript: "merge-removed-and-added",
        block: 5,
        reason: PRECEDENCE,
        ours: &[r#"< {"msg":"nosub","id":"s2"}"#],
    },
    Deviation {
        transcript: "ping-odd-ids",
        block: 2,
        reason: "Any id is echoed; Meteor fails on some.",
        ours: &[
            r#"< {"msg":"pong","id":5}"#,
            r#"< {"msg":"pong","id":{"a":1}}"#,
            r#"< {"msg":"pong","id":true}"#,
            r#"< {"msg":"pong","id":0}"#,
            r#"< {"msg":"pong","id":false}"#,
            r#"< {"msg":"pong","id":"p"}"#,
        ],
    },
    Deviation {
        transcript: "publication-added-twice",
        block: 2,
        reason: BY_HAND,
        ours: &[
            r#"< {"msg":"added","collection":"items","id":"a","fields":{"x":1,"y":1}}"#,
            r#"< {"msg":"changed","collection":"items","id":"a","fields":{"x":2,"z":2},"cleared":["y"]}"#,
            r#"< {"msg":"ready","subs":["s"]}"#,
        ],
    },
    Deviation { transcript: "publication-changed-unknown", block: 2, reason: BY_HAND, ours: &[] },
    Deviation {
        transcript: "publication-changed-unknown",
        block: 3,
        reason: BY_HAND,
        ours: &[r#"< {"msg":"added","collection":"items","id":"a","fields":{"x":1}}"#],
    },
    Deviation { transcript: "publication-changed-unknown", block: 4, reason: BY_HAND, ours: &[] },
    Deviation {
        transcript: "publication-nested-fields",
        block: 2,
        reason: "Values are compared by their text, in which the order of keys counts.",
        ours: &[
            r#"< {"msg":"added","collection":"items","id":"a","fields":{"o":{"x":1,"y":[1,2]}}}"#,
            r#"< {"msg":"ready","subs":["s"]}"#,
            r#"< {"msg":"changed","collection":"items","id":"a","fields":{"o":{"x":1,"y":[1,3]}}}"#,
            r#"< {"msg":"changed","collection":"items","id":"a","fields":{"o":{"y":[1,3],"x":1}}}"#,
            r#"< {"msg":"changed","collection":"items","id":"a","fields":{"o":{"x":1}}}"#,
        ],
    },
    Deviation {
        transcript: "strategy-mixed",
        block: 3,
        reason: RERUN,
        ours: &[
            r#"< {"msg":"added","collection":"history","id":"a","fields":{"x":1}}"#,
            r#"< {"msg":"added","collection":"history","id":"b","fields":{"x":2}}"#,
            r#"< {"msg":"added","collection":"merge","id":"b","fields":{"x":2}}"#,
            r#"< {"msg":"added","collection":"multi","id":"b","fields":{"x":2}}"#,
            r#"< {"msg":"added","collection":"nomerge","id":"b","fields":{"x":2}}"#,
            r#"< {"msg":"ready","subs":["s"]}"#,
            r#"< {"msg":"updated","methods":["1"]}"#,
            r#"< {"msg":"result","id":"1"}"#,
        ],
    },
    Deviation {
        transcript: "strategy-multi-one",
        block: 3,
        reason: BY_HAND,
        ours: &[
            r#"< {"msg":"changed","collection":"multi","id":"a","fields":{"x":2}}"#,
            r#"< {"msg":"changed","collection":"multi","id":"a","cleared":["y"]}"#,
            r#"< {"msg":"removed","collection":"multi","id":"b"}"#,
        ],
    },
    Deviation {
        transcript: "strategy-multi-user",
        block: 3,
        reason: RERUN,
        ours: &[
            r#"< {"msg":"changed","collection":"multi","id":"a","fields":{"y":2}}"#,
            r#"< {"msg":"removed","collection":"multi","id":"b"}"#,
            r#"< {"msg":"added","collection":"multi","id":"c","fields":{"x":1}}"#,
            r#"< {"msg":"ready","subs":["s1"]}"#,
            r#"< {"msg":"updated","methods":["1"]}"#,
            r#"< {"msg":"result","id":"1"}"#,
        ],
    },
    Deviation {
        transcript: "strategy-nomerge-odd",
        block: 2,
        reason: BY_HAND,
        ours: &[
            r#"< {"msg":"added","collection":"nomerge","id":"a","fields":{"x":1}}"#,
            r#"< {"msg":"changed","collection":"nomerge","id":"a","fields":{"x":2}}"#,
            r#"< {"msg":"removed","collection":"nomerge","id":"a"}"#,
            r#"< {"msg":"ready","subs":["s"]}"#,
        ],
    },
    Deviation {
        transcript: "strategy-nomerge-one",
        block: 3,
        reason: BY_HAND,
        ours: &[
            r#"< {"msg":"changed","collection":"nomerge","id":"a","fields":{"x":2}}"#,
            r#"< {"msg":"changed","collection":"nomerge","id":"a","cleared":["y"]}"#,
            r#"< {"msg":"removed","collection":"nomerge","id":"b"}"#,
        ],
    },
    Deviation {
        transcript: "strategy-nomerge-user",
        block: 3,
        reason: RERUN,
        ours: &[
            r#"< {"msg":"changed","collection":"nomerge","id":"a","fields":{"y":2}}"#,
            r#"< {"msg":"removed","collection":"nomerge","id":"b"}"#,
            r#"< {"msg":"added","collection":"nomerge","id":"c","fields":{"x":1}}"#,
            r#"< {"msg":"ready","subs":["s1"]}"#,
            r#"< {"msg":"updated","methods":["1"]}"#,
            r#"< {"msg":"result","id":"1"}"#,
        ],
    },
    Deviation {
        transcript: "sub-empty-id",
        block: 2,
        reason: "An empty id is an id.",
        ours: &[
            r#"< {"msg":"added","collection":"items","id":"a","fields":{"x":1}}"#,
            r#"< {"msg":"ready","subs":[""]}"#,
        ],
    },
    Deviation {
        transcript: "sub-empty-id",
        block: 3,
        reason: "An empty id is an id.",
        ours: &[
            r#"< {"msg":"removed","collection":"items","id":"a"}"#,
            r#"< {"msg":"nosub","id":""}"#,
        ],
    },
    Deviation {
        transcript: "sub-inherited-name",
        block: 2,
        reason: PROTOTYPES,
        ours: &[
            r#"< {"msg":"nosub","id":"s","error":{"isClientSafe":true,"error":404,"reason":"Subscription 'toString' not found","message":"Subscription 'toString' not found [404]","errorType":"Meteor.Error"}}"#,
        ],
    },
    Deviation {
        transcript: "sub-inherited-name",
        block: 3,
        reason: PROTOTYPES,
        ours: &[
            r#"< {"msg":"result","id":"1","error":{"isClientSafe":true,"error":404,"reason":"Method 'toString' not found","message":"Method 'toString' not found [404]","errorType":"Meteor.Error"}}"#,
            r#"< {"msg":"updated","methods":["1"]}"#,
        ],
    },
    Deviation {
        transcript: "sub-inherited-name",
        block: 4,
        reason: PROTOTYPES,
        ours: &[
            r#"< {"msg":"result","id":"2","error":{"isClientSafe":true,"error":404,"reason":"Method 'hasOwnProperty' not found","message":"Method 'hasOwnProperty' not found [404]","errorType":"Meteor.Error"}}"#,
            r#"< {"msg":"updated","methods":["2"]}"#,
        ],
    },
    Deviation {
        transcript: "sub-ready-does-not-unblock",
        block: 2,
        reason: READY,
        ours: &[
            r#"< {"msg":"added","collection":"items","id":"a","fields":{"x":1}}"#,
            r#"< {"msg":"ready","subs":["s"]}"#,
            r#"< {"msg":"ready","subs":["t"]}"#,
            r#"< {"msg":"updated","methods":["1"]}"#,
            r#"< {"msg":"result","id":"1","result":[1]}"#,
        ],
    },
    Deviation {
        transcript: "sub-ready-does-not-unblock",
        block: 3,
        reason: READY,
        ours: &[r#"< {"msg":"added","collection":"items","id":"b","fields":{"x":1}}"#],
    },
    Deviation {
        transcript: "universal-async",
        block: 2,
        reason: "setUserId waits for universal publications, so that nothing goes and comes.",
        ours: &[
            r#"< {"msg":"changed","collection":"settings","id":"theme","fields":{"user":"u1"}}"#,
            r#"< {"msg":"updated","methods":["1"]}"#,
            r#"< {"msg":"result","id":"1"}"#,
        ],
    },
    Deviation {
        transcript: "universal-errors",
        block: 2,
        reason: "A universal publication that ends takes its documents with it.",
        ours: &[
            r#"< {"msg":"nosub","error":{"isClientSafe":true,"error":"forbidden","reason":"Not you","message":"Not you [forbidden]","errorType":"Meteor.Error"}}"#,
            r#"< {"msg":"removed","collection":"settings","id":"theme"}"#,
            r#"< {"msg":"updated","methods":["1"]}"#,
            r#"< {"msg":"result","id":"1"}"#,
        ],
    },
    Deviation {
        transcript: "universal-errors",
        block: 3,
        reason: "A universal publication that ends takes its documents with it.",
        ours: &[
            r#"< {"msg":"nosub"}"#,
            r#"< {"msg":"removed","collection":"settings","id":"other"}"#,
            r#"< {"msg":"updated","methods":["2"]}"#,
            r#"< {"msg":"result","id":"2"}"#,
        ],
    },
    Deviation {
        transcript: "unsub-odd-ids",
        block: 2,
        reason: ODD_IDS,
        ours: &[r#"< {"msg":"nosub"}"#, r#"< {"msg":"nosub"}"#],
    },
    Deviation {
        transcript: "unsub-odd-ids",
        block: 3,
        reason: ODD_IDS,
        ours: &[
            r#"< {"msg":"nosub"}"#,
            r#"< {"msg":"nosub"}"#,
            r#"< {"msg":"nosub","id":"none"}"#,
            r#"< {"msg":"pong","id":"p"}"#,
        ],
    },
    Deviation {
        transcript: "unsub-without-id",
        block: 2,
        reason: ODD_IDS,
        ours: &[r#"< {"msg":"nosub"}"#, r#"< {"msg":"nosub"}"#, r#"< {"msg":"nosub","id":""}"#],
    },
    Deviation {
        transcript: "user-forbidden-after-documents",
        block: 3,
        reason: READY,
        ours: &[
            r#"< {"msg":"removed","collection":"items","id":"a"}"#,
            r#"< {"msg":"added","collection":"items","id":"b","fields":{"x":1}}"#,
            r#"< {"msg":"ready","subs":["s"]}"#,
            r#"< {"msg":"removed","collection":"items","id":"b"}"#,
            r#"< {"msg":"nosub","id":"s","error":{"isClientSafe":true,"error":500,"reason":"Internal server error","message":"Internal server error [500]","errorType":"Meteor.Error"}}"#,
            r#"< {"msg":"updated","methods":["1"]}"#,
            r#"< {"msg":"result","id":"1"}"#,
        ],
    },
];

/// Transcripts that cannot be replayed, and why.
pub(crate) const NOT_REPLAYED: &[(&str, &str)] = &[
    ("ids-numbers", "`Subscription` takes ids that are strings"),
    ("ids-object-ids", "`Subscription` takes ids that are strings"),
    ("publication-not-a-cursor", "what a publication returns is a matter of types"),
];
