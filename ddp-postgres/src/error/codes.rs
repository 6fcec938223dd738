//! What PostgreSQL's error codes mean for a read.

/// Whether an error comes from the connection (class 08), from the state in which it was left (25), from
/// a database that is starting or stopping (57P), from a lack of resources (53) or from conflicting
/// transactions (40), rather than from the statement.
pub(super) fn is_transient(code: &str) -> bool {
    ["08", "25", "53", "57P", "40"].iter().any(|class| code.starts_with(class))
}

/// Whether the same read may succeed later: after what is transient, a lock (55P03), a timeout or a
/// cancellation (57014), and a limit of the server (54).
pub(super) fn may_pass(code: &str) -> bool {
    is_transient(code) || matches!(code, "55P03" | "57014") || code.starts_with("54")
}

/// What to do about a load that fails so again and again.
pub(super) fn remedy_of_load(code: &str) -> Option<&'static str> {
    match code {
        "57014" => Some(
            "if nobody cancelled it, raise statement_timeout for the server's role \
             (ALTER ROLE … SET statement_timeout), or give the query an index or a limit",
        ),
        "53100" | "53200" | "53400" => {
            Some("give the server or its role what it lacks, or the query an index or a limit")
        }
        "53300" => Some("raise max_connections or the role's limit, or lower connections_max"),
        _ if code.starts_with("54") => Some("raise the limit, or ask for less in the query"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_a_load_is_known_by_its_error_code() {
        // The code, whether trying again may help anybody, and whether it may help this read.
        let table = [
            ("08006", true, true),   // connection_failure
            ("25006", true, true),   // read_only_sql_transaction: a standby, so far
            ("25P02", true, true),   // in_failed_sql_transaction
            ("40001", true, true),   // serialization_failure
            ("40P01", true, true),   // deadlock_detected
            ("53100", true, true),   // disk_full
            ("53200", true, true),   // out_of_memory
            ("53300", true, true),   // too_many_connections
            ("53400", true, true),   // configuration_limit_exceeded
            ("57P01", true, true),   // admin_shutdown
            ("57P02", true, true),   // crash_shutdown
            ("57P03", true, true),   // cannot_connect_now
            ("57P05", true, true),   // idle_session_timeout
            ("55P03", false, true),  // lock_not_available
            ("57014", false, true),  // query_canceled
            ("54000", false, true),  // program_limit_exceeded
            ("54001", false, true),  // statement_too_complex
            ("22P02", false, false), // invalid_text_representation
            ("42501", false, false), // insufficient_privilege
            ("42703", false, false), // undefined_column
            ("55006", false, false), // object_in_use
            ("XX000", false, false), // internal_error
        ];
        for (code, transient, passing) in table {
            assert_eq!((is_transient(code), may_pass(code)), (transient, passing), "{code}");
            assert!(passing || remedy_of_load(code).is_none(), "{code}");
        }
        for code in ["57014", "53200", "53300", "54001"] {
            assert!(remedy_of_load(code).is_some(), "{code}");
        }
    }
}
