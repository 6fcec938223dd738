//! From values to wire form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{DecodeError, Ejson, Object, json, wire};

/// Enough for most values; the same as in serde_json.
pub(super) const TEXT_CAPACITY: usize = 128;

/// The largest integer up to which doubles, and so JavaScript, represent all integers exactly.
pub(super) const INTEGER_MAX: u64 = (1 << 53) - 1;

impl Ejson {
    /// The EJSON text, the same as from `EJSON.stringify`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::with_capacity(TEXT_CAPACITY);
        self.write(&mut out);
        out
    }

    /// Appends the EJSON text.
    pub fn write(&self, out: &mut String) {
        write_value(self, out, false);
    }

    /// What JavaScript's `JSON.stringify` makes of the value, as Meteor sends the `details` of
    /// errors: a date becomes its ISO text, and a number that is not finite becomes `null`. Binary,
    /// regular expressions and custom types, which would lose their meaning, keep their EJSON form.
    #[must_use]
    pub fn into_json_text(self) -> String {
        let mut out = String::with_capacity(TEXT_CAPACITY);
        write_value(&as_json(self), &mut out, true);
        out
    }

    /// The value's wire form as plain JSON, the same as from `EJSON.toJSONValue`: only nulls,
    /// booleans, finite numbers, strings, arrays and objects.
    #[must_use]
    pub fn into_json_value(self) -> Self {
        plain(self, false)
    }
}

/// Writes a value. If `raw`, as within a custom type's `$value`, nothing is escaped.
fn write_value(value: &Ejson, out: &mut String, raw: bool) {
    match value {
        Ejson::Null => out.push_str("null"),
        Ejson::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Ejson::Number(number) => write_number(*number, out),
        Ejson::String(string) => write_string(string, out),
        Ejson::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(item, out, raw);
            }
            out.push(']');
        }
        Ejson::Object(object) if !raw && wire::tag(object).is_some() => {
            out.push_str("{\"$escape\":");
            write_object(object, out, raw);
            out.push('}');
        }
        Ejson::Object(object) => write_object(object, out, raw),
        Ejson::Date(date) => {
            out.push_str("{\"$date\":");
            match date.millis() {
                Some(millis) => write_integer(millis < 0, millis.unsigned_abs(), out),
                None => out.push_str("null"),
            }
            out.push('}');
        }
        Ejson::Binary(bytes) => {
            out.push_str("{\"$binary\":\"");
            STANDARD.encode_string(bytes, out);
            out.push_str("\"}");
        }
        Ejson::RegExp { source, flags } => {
            out.push_str("{\"$regexp\":");
            write_string(source, out);
            out.push_str(",\"$flags\":");
            write_string(flags, out);
            out.push('}');
        }
        Ejson::Custom { type_name, value } => {
            out.push_str("{\"$type\":");
            write_string(type_name, out);
            out.push_str(",\"$value\":");
            write_value(value, out, true);
            out.push('}');
        }
    }
}

fn write_object(object: &Object, out: &mut String, raw: bool) {
    out.push('{');
    for (index, (key, value)) in object.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(key, out);
        out.push(':');
        write_value(value, out, raw);
    }
    out.push('}');
}

/// Appends a number as `EJSON.stringify` prints it: `1`, `1e+21`, `0` for -0, and
/// `{"$InfNaN":1}` for infinity.
pub fn write_number(number: f64, out: &mut String) {
    if number.is_nan() {
        out.push_str("{\"$InfNaN\":0}");
    } else if number.is_infinite() {
        out.push_str(if number > 0.0 { "{\"$InfNaN\":1}" } else { "{\"$InfNaN\":-1}" });
    } else if number.fract() == 0.0 && number.abs() <= INTEGER_MAX as f64 {
        write_integer(number < 0.0, number.abs() as u64, out);
    } else {
        out.push_str(ryu_js::Buffer::new().format_finite(number));
    }
}

pub(super) fn write_integer(negative: bool, mut magnitude: u64, out: &mut String) {
    // No u64 needs more than 20 digits and a sign.
    let mut text = [0; 21];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (magnitude % 10) as u8;
        magnitude /= 10;
        if magnitude == 0 {
            break;
        }
    }
    if negative {
        at -= 1;
        text[at] = b'-';
    }
    // Digits and a sign are ASCII, so this is always valid.
    out.push_str(str::from_utf8(&text[at..]).unwrap_or_default());
}

/// Appends a string in quotes, escaped as `JSON.stringify` does.
pub fn write_string(string: &str, out: &mut String) {
    out.push('"');
    let mut rest = string;
    loop {
        // Only ASCII ends the run, so it ends at a character boundary.
        let (run, special) = rest.split_at(json::unescaped_len(rest.as_bytes()));
        out.push_str(run);
        let Some(byte) = special.bytes().next() else { break };
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            0x8 => out.push_str("\\b"),
            0xc => out.push_str("\\f"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                out.push_str(if control < 0x10 { "\\u000" } else { "\\u001" });
                out.extend(char::from_digit((control & 0xf).into(), 16));
            }
        }
        rest = &special[1..];
    }
    out.push('"');
}

fn as_json(value: Ejson) -> Ejson {
    match value {
        Ejson::Array(items) => Ejson::Array(items.into_iter().map(as_json).collect()),
        Ejson::Object(mut object) => {
            for member in object.values_mut() {
                *member = as_json(std::mem::take(member));
            }
            Ejson::Object(object)
        }
        Ejson::Number(number) if !number.is_finite() => Ejson::Null,
        Ejson::Date(date) => date.to_iso().map_or(Ejson::Null, Ejson::String),
        other => other,
    }
}

fn plain(value: Ejson, raw: bool) -> Ejson {
    match value {
        Ejson::Array(items) => {
            Ejson::Array(items.into_iter().map(|item| plain(item, raw)).collect())
        }
        Ejson::Object(mut object) => {
            let escape = !raw && wire::tag(&object).is_some();
            for member in object.values_mut() {
                *member = plain(std::mem::take(member), raw);
            }
            let object = Ejson::Object(object);
            if escape { Ejson::object([(wire::ESCAPE, object)]) } else { object }
        }
        Ejson::Number(number) if !number.is_finite() => {
            let sign = if number.is_nan() { 0.0 } else { number.signum() };
            Ejson::object([(wire::INF_NAN, sign)])
        }
        Ejson::Date(date) => {
            Ejson::object([(wire::DATE, date.millis().map(|millis| millis as f64))])
        }
        Ejson::Binary(bytes) => Ejson::object([(wire::BINARY, STANDARD.encode(bytes))]),
        Ejson::RegExp { source, flags } => {
            Ejson::object([(wire::REGEXP, source), (wire::FLAGS, flags)])
        }
        Ejson::Custom { type_name, value } => Ejson::object([
            (wire::TYPE, Ejson::String(type_name)),
            (wire::VALUE, plain(*value, true)),
        ]),
        other => other,
    }
}

/// Appends JSON text as EJSON text that a client reads back as exactly that JSON: objects that
/// would be taken for dates and so on are escaped.
///
/// Text in which no key can start with `$` is copied without further checks; the caller must make
/// sure that it is JSON.
///
/// # Errors
///
/// If the text has to be parsed, and is not JSON or is nested deeper than
/// [`NESTING_MAX`](super::NESTING_MAX).
pub fn escape_json(raw: &str, out: &mut String) -> Result<(), DecodeError> {
    if !raw.contains("\"$") && !raw.contains("\"\\u0024") {
        out.push_str(raw);
        return Ok(());
    }
    let (value, _) = json::parse(raw)?;
    value.write(out);
    Ok(())
}
