//! What the house allows. An entry that allows something which no longer exists is an error, too.

/// Files that may not name anything in some rooms.
pub(crate) struct Rule {
    /// Its purpose.
    pub(crate) because: &'static str,
    /// Files and folders (which end with a slash) that it applies to.
    pub(crate) from: &'static [&'static str],
    /// Files and folders that these may not name.
    pub(crate) to: &'static [&'static str],
    /// Where it does not apply, and why.
    pub(crate) except: &'static [Exception],
}

/// An allowed arrow: from files, to files, and why.
pub(crate) struct Exception(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
);

pub(crate) const RULES: &[Rule] = &[
    Rule {
        because: "a live query knows no session",
        from: &["ddp-server/src/live_query/"],
        to: &["ddp-server/src/connection/", "ddp-server/src/extract/", "ddp-core/src/session/"],
        except: &[],
    },
    Rule {
        because: "a mailbox knows no driver",
        from: &["ddp-server/src/connection/mailbox/", "ddp-server/src/connection/mail.rs"],
        to: &["ddp-server/src/connection/driver/mod.rs"],
        except: &[],
    },
    Rule {
        because: "a connection is given what it needs",
        from: &["ddp-server/src/connection/"],
        to: &["ddp-server/src/server.rs", "ddp-server/src/builder.rs"],
        except: &[],
    },
    Rule {
        because: "a feed is given where to put what it hears",
        from: &["ddp-postgres/src/feed/"],
        to: &["ddp-postgres/src/db/", "ddp-postgres/src/intake/"],
        except: &[
            Exception(
                "ddp-postgres/src/feed/",
                "ddp-postgres/src/db/tls.rs",
                "a feed is given how to connect",
            ),
            Exception(
                "ddp-postgres/src/feed/",
                "ddp-postgres/src/db/dial.rs",
                "a feed connects like everybody, within the same deadline",
            ),
        ],
    },
    Rule {
        because: "triggers know no feed task",
        from: &["ddp-postgres/src/schema/"],
        to: &["ddp-postgres/src/feed/"],
        except: &[Exception(
            "ddp-postgres/src/schema/",
            "ddp-postgres/src/feed/kind.rs",
            "what a trigger sends depends on the feed that listens",
        )],
    },
    Rule {
        because: "bytes know no server",
        from: &["ddp-server/src/transport/"],
        to: &["ddp-server/src/"],
        except: &[
            Exception("ddp-server/src/transport/", "ddp-server/src/transport/", "its own files"),
            Exception(
                "ddp-server/src/transport/",
                "ddp-server/src/log.rs",
                "what clients cause is logged in one way",
            ),
        ],
    },
    Rule {
        because: "documents know no session",
        from: &[
            "ddp-core/src/document.rs",
            "ddp-core/src/merge_box/",
            "ddp-core/src/snapshot/",
            "ddp-server/src/extract/by_hand.rs",
        ],
        to: &["ddp-server/src/connection/", "ddp-core/src/session/"],
        except: &[],
    },
    Rule {
        because: "only connection/ drives a `Session`",
        from: &["ddp-server/src/", "ddp-postgres/src/"],
        to: &["ddp-core/src/session/"],
        except: &[
            Exception(
                "ddp-server/src/connection/",
                "ddp-core/src/session/",
                "it drives the session",
            ),
            Exception(
                "ddp-server/src/",
                "ddp-core/src/session/config.rs",
                "what is configured is no session",
            ),
        ],
    },
    Rule {
        because: "ddp-postgres knows no sessions",
        from: &["ddp-postgres/src/"],
        to: &["ddp-core/src/session/", "ddp-core/src/merge_box/", "ddp-server/src/connection/"],
        except: &[],
    },
    Rule {
        because: "only transport/sockjs/ knows SockJS",
        from: &["ddp-server/src/", "ddp-postgres/src/"],
        to: &["ddp-server/src/transport/sockjs/"],
        except: &[
            Exception(
                "ddp-server/src/transport/sockjs/",
                "ddp-server/src/transport/sockjs/",
                "its own files",
            ),
            Exception(
                "ddp-server/src/",
                "ddp-server/src/transport/sockjs/config.rs",
                "what an application sets is not how it travels",
            ),
            Exception(
                "ddp-server/src/sockjs/mod.rs",
                "ddp-server/src/transport/sockjs/",
                "it serves SockJS without DDP",
            ),
            Exception(
                "ddp-server/src/transport/any.rs",
                "ddp-server/src/transport/sockjs/",
                "a connection has one of all transports",
            ),
            Exception(
                "ddp-server/src/transport/routes.rs",
                "ddp-server/src/transport/sockjs/routes.rs",
                "SockJS has routes of its own",
            ),
            Exception(
                "ddp-server/src/transport/framing/sockjs.rs",
                "ddp-server/src/transport/sockjs/quote.rs",
                "frames that many clients share are made in one place",
            ),
            Exception(
                "ddp-server/src/fuzzing.rs",
                "ddp-server/src/transport/sockjs/",
                "it gives fuzz targets what is private",
            ),
        ],
    },
];

/// Items of foreign crates that only these files may name: where, and why nowhere else.
pub(crate) struct Foreign {
    pub(crate) because: &'static str,
    pub(crate) folder: &'static str,
    pub(crate) paths: &'static [&'static str],
    pub(crate) except: &'static [&'static str],
}

pub(crate) const FOREIGN: &[Foreign] = &[
    Foreign {
        because: "only message/ and ejson/ of the core know JSON",
        folder: "ddp-core/src/",
        paths: &["serde_json"],
        except: &["ddp-core/src/message/", "ddp-core/src/ejson/"],
    },
    Foreign {
        because: "the core does no IO and reads no clock",
        folder: "ddp-core/src/",
        paths: &[
            "std::net",
            "std::fs",
            "std::process",
            "std::thread",
            "std::env",
            "std::io",
            "std::time::Instant::now",
            "std::time::SystemTime::now",
            "tokio",
        ],
        except: &[],
    },
    Foreign {
        because: "the core has no locks",
        folder: "ddp-core/src/",
        paths: &["std::sync::Mutex", "std::sync::RwLock", "std::sync::Condvar", "parking_lot"],
        except: &[],
    },
    Foreign {
        because: "ddp-server knows no SQL",
        folder: "ddp-server/src/",
        paths: &["tokio_postgres", "postgres_types", "deadpool_postgres", "pgwire_replication"],
        except: &[],
    },
];

/// Dependencies that a crate must not have.
pub(crate) const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("ddp-core", &["ddp-server", "ddp-postgres", "tokio", "axum", "hyper", "getrandom"]),
    ("ddp-server", &["ddp-postgres", "tokio-postgres", "postgres-types", "deadpool-postgres"]),
];

/// Circles that are natural.
pub(crate) const CIRCLES: &[(&[&str], &str)] = &[
    (
        &["ddp-server/src/builder.rs", "ddp-server/src/server.rs"],
        "a builder makes a server, and a server is where one looks for its builder",
    ),
    (
        &["ddp-postgres/src/read/condition.rs", "ddp-postgres/src/read/sql.rs"],
        "conditions nest, and each is SQL",
    ),
];

/// Types with an `impl` outside their room: the file of the `impl`, the type, and why.
pub(crate) const IMPLS: &[(&str, &str, &str)] = &[
    (
        "ddp-server/src/accounts/extract.rs",
        "User",
        "a store knows nothing of the handlers that take its users",
    ),
    (
        "ddp-server/src/accounts/extract.rs",
        "UserId",
        "that of a request is found by accounts, which not every server has",
    ),
];

/// How many files may be at the root of a crate.
pub(crate) const ROOT_FILES_MAX: &[(&str, usize)] = &[("ddp-server", 14), ("ddp-postgres", 12)];

/// How many lines of code a file may have, and a function.
pub(crate) const FILE_LINES_MAX: usize = 400;
pub(crate) const FUNCTION_LINES_MAX: usize = 70;

/// Longer files, and why they are not split.
pub(crate) const LONG_FILES: &[(&str, &str)] = &[];
