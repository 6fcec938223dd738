//! How trigger functions send their messages, through either feed.

use super::layout::Layout;
use super::name::literal;
use crate::feed::Feed;

/// The publication that logical decoding requires. It has no tables.
pub(crate) const PUBLICATION: &str = "ddp";

/// The channel that announces installations, on both feeds. The payload is the table's channel.
pub(crate) const INSTALLED_CHANNEL: &str = "ddp installed";

/// `NOTIFY` takes 7,999 bytes. The header needs less than 64.
const PART_BYTES_MAX: u32 = 7_900;
/// The same in UTF-8, for databases whose own encoding may take a third more.
const PART_BYTES_MAX_OTHER_ENCODING: u32 = 5_900;

/// The number of `pg_notify(text, text)` in every version: to find it by its name takes longer.
const PG_NOTIFY: u32 = 3036;
/// That of `pg_logical_emit_message(boolean, text, text, …)`, which has more arguments from 17 on.
const PG_LOGICAL_EMIT_MESSAGE_TEXT: u32 = 3577;

/// Creates the publication, since there is no `CREATE PUBLICATION IF NOT EXISTS`.
pub(super) fn publication_sql() -> String {
    format!(
        "DO $ddp$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname OPERATOR(pg_catalog.=) '{PUBLICATION}') THEN
        CREATE PUBLICATION {PUBLICATION};
    END IF;
END $ddp$;
"
    )
}

/// A payload: the transaction, the sequence number, then the rest as arguments of `concat`.
pub(super) fn payload(number: &str, rest: &str) -> String {
    format!("pg_catalog.concat(pg_catalog.pg_current_xact_id(), ' ', {number}, {rest})")
}

impl Layout {
    /// Announces to servers that the triggers have just been installed.
    pub(super) fn tell_installation_sql(&self) -> String {
        let channel = literal(&self.channel);
        format!(
            "SELECT pg_catalog.pg_notify('{INSTALLED_CHANNEL}', {channel});
            SELECT pg_catalog.pg_logical_emit_message(true, '{INSTALLED_CHANNEL}', {channel});
"
        )
    }

    /// The call that sends one payload: the transaction, the sequence number, then the rest as
    /// arguments of `concat`.
    pub(super) fn send(&self, rest: &str) -> String {
        self.send_payload(&payload("pg_catalog.int8div(state, 4294967296)", rest))
    }

    /// The call that sends a payload. What is no text in UTF-8 makes it fail.
    pub(super) fn send_payload(&self, payload: &str) -> String {
        self.send_checked(&self.checked(payload))
    }

    /// A payload that listeners can be sent, or an error. PostgreSQL converts a notification when it
    /// sends it, and if it cannot, the listener's connection is lost instead: SQL_ASCII stores any
    /// bytes, and some encodings have characters that UTF-8 lacks.
    pub(super) fn checked(&self, payload: &str) -> String {
        if self.utf8 || self.feed == Feed::Wal {
            return payload.to_owned();
        }
        format!("pg_catalog.convert_from(pg_catalog.convert_to({payload}, 'UTF8'), 'UTF8')")
    }

    /// The call that sends a payload that is [`checked`](Self::checked).
    pub(super) fn send_checked(&self, payload: &str) -> String {
        let channel = literal(&self.channel);
        match self.feed {
            Feed::Notify => format!("pg_catalog.pg_notify({channel}, {payload})"),
            Feed::Wal if self.utf8 => {
                format!("pg_catalog.pg_logical_emit_message(true, {channel}, {payload})")
            }
            // Unlike other text, its bytes are sent unconverted.
            Feed::Wal => format!(
                "pg_catalog.pg_logical_emit_message(true, {channel}, pg_catalog.convert_to({payload}, 'UTF8'))"
            ),
        }
    }

    /// Whether the writer may call what sends a payload. An expression that names a function which one
    /// may not call fails before any of it is evaluated.
    pub(super) fn may_send(&self) -> String {
        let function = match self.feed {
            Feed::Notify => PG_NOTIFY,
            Feed::Wal => PG_LOGICAL_EMIT_MESSAGE_TEXT,
        };
        format!("pg_catalog.has_function_privilege({function}::pg_catalog.oid, 'EXECUTE')")
    }

    /// Whether only the keys of inserted and updated rows are sent.
    pub(crate) fn sends_keys(&self) -> bool {
        self.keys_only && self.feed == Feed::Notify
    }

    /// How many bytes of a body fit into one message.
    pub(super) fn message_bytes_max(&self) -> u32 {
        match self.feed {
            Feed::Notify => PART_BYTES_MAX,
            Feed::Wal => u32::MAX,
        }
    }

    /// Sends the body, in parts if necessary.
    pub(super) fn send_body(&self) -> String {
        let state = self.variable('s');
        let family = self.tell_remembered_family();
        let whole = self.send(&format!("' 1 1 ', kind, '{family} ', body"));
        let sent = format!(
            "sent := pg_catalog.concat(pg_catalog.set_config({state}, state::pg_catalog.text, true),
            {whole});"
        );
        match self.feed {
            // A body never exceeds the limit of one message.
            Feed::Wal => format!("    {sent}\n"),
            Feed::Notify => {
                let send_parts = self.send_parts();
                format!(
                    "    IF pg_catalog.int4le(pg_catalog.octet_length(body), {PART_BYTES_MAX}) THEN
        {sent}
        RETURN NULL;
    END IF;
{send_parts}"
                )
            }
        }
    }

    /// Splits a long body between characters, and sends the parts.
    fn send_parts(&self) -> String {
        let part_bytes_max = if self.utf8 { PART_BYTES_MAX } else { PART_BYTES_MAX_OTHER_ENCODING };
        let state = self.variable('s');
        let family = self.tell_remembered_family();
        let send = self.send(&format!(
            "' ', part, ' ', pg_catalog.cardinality(parts), ' ', kind, '{family} ', parts[part]"
        ));
        format!(
            "    bytes := pg_catalog.convert_to(body, 'UTF8');
    WHILE pg_catalog.int4le(first, pg_catalog.octet_length(bytes)) LOOP
        last := LEAST(pg_catalog.int4pl(first, {part_bytes_max}), pg_catalog.int4pl(pg_catalog.octet_length(bytes), 1));
        WHILE pg_catalog.int4le(last, pg_catalog.octet_length(bytes)) AND pg_catalog.int4eq(pg_catalog.int4and(
            pg_catalog.get_byte(bytes, pg_catalog.int4mi(last, 1)), 192), 128) LOOP
            last := pg_catalog.int4mi(last, 1);
        END LOOP;
        parts := pg_catalog.array_append(parts, pg_catalog.convert_from(
            pg_catalog.substring(bytes, first, pg_catalog.int4mi(last, first)), 'UTF8'));
        first := last;
    END LOOP;
    PERFORM pg_catalog.set_config({state}, state::pg_catalog.text, true);
    FOR part IN 1 .. pg_catalog.cardinality(parts) LOOP
        PERFORM {send};
    END LOOP;
"
        )
    }
}
