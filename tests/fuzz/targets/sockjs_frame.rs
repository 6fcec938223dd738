//! Any bytes as what a SockJS client sends, in a WebSocket frame or in a request's body; and any
//! texts as messages to it.

#![no_main]

use ddp_server::fuzzing::{Socket, frames};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

const FORM: &str = "application/x-www-form-urlencoded";
const CONTENT_TYPES: [&str; 8] =
    ["", "text/plain", "T", "application/json", "application/xml", "text/xml", FORM, "text/html"];

fuzz_target!(|data: &[u8]| {
    // Bodies that are not UTF-8 are refused before they are read.
    let text = &*String::from_utf8_lossy(data);
    let expected = oracle(text);
    check_messages(text, &frames::read(text), &expected);
    let content_type = CONTENT_TYPES[data.len() % CONTENT_TYPES.len()];
    check_xhr_send(content_type, text, &expected);
    check_jsonp_send(content_type, text, &expected);
    check_jsonp_send(FORM, text, &expected);
    check_form(text);
    let messages: Vec<&str> = text.split('\u{1e}').collect();
    check_frame(&messages);
});

/// What the text is according to serde_json.
#[derive(Debug)]
enum Oracle {
    /// An array of strings, or one string, each as written.
    Messages(Vec<String>),
    /// Something else in JSON.
    Other,
    Broken,
}

fn oracle(text: &str) -> Oracle {
    if text.is_empty() {
        return Oracle::Messages(Vec::new());
    }
    // Control characters within strings are accepted, unlike in serde_json.
    let text = &replace_control_characters(text);
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Oracle::Broken;
    }
    let one = serde_json::from_str::<&RawValue>(text).map(|item| vec![item]);
    match serde_json::from_str::<Vec<&RawValue>>(text).or(one) {
        Ok(items) if items.iter().all(|item| item.get().starts_with('"')) => {
            Oracle::Messages(items.iter().map(|item| item.get().to_owned()).collect())
        }
        _ => Oracle::Other,
    }
}

/// Writes control characters within strings as escapes.
fn replace_control_characters(text: &str) -> String {
    let (mut out, mut in_string, mut is_escaped) = (String::new(), false, false);
    for character in text.chars() {
        if in_string && !is_escaped && character < ' ' {
            out.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            out.push(character);
        }
        if !is_escaped && character == '"' {
            in_string = !in_string;
        }
        is_escaped = in_string && !is_escaped && character == '\\';
    }
    out
}

fn check_messages(text: &str, (messages, is_sound): &(Vec<String>, bool), expected: &Oracle) {
    let Oracle::Messages(expected) = expected else {
        return assert!(!is_sound, "{text:?} is not sound, but gave {messages:?}");
    };
    assert!(*is_sound && messages.len() == expected.len(), "{text:?} gave {messages:?}");
    for (message, raw) in messages.iter().zip(expected) {
        // A lone surrogate cannot be represented in UTF-8.
        if let Ok(expected) = serde_json::from_str::<String>(raw) {
            assert_eq!(*message, expected, "{text:?}");
        }
    }
}

/// Only an array is a valid body; broken JSON is told from other JSON.
fn check_body(text: &str, expected: &Oracle, read: Result<(Vec<String>, bool), &'static str>) {
    match (expected, read) {
        (_, Err("Payload expected.")) => {
            let is_array = text.trim_ascii_start().starts_with('[');
            assert!(text.is_empty() || !is_array && !matches!(expected, Oracle::Broken));
        }
        (_, Err("Broken JSON encoding.")) => {
            assert!(!matches!(expected, Oracle::Messages(_)) || has_control_character(text));
        }
        (_, Err(other)) => panic!("{other}"),
        (expected, Ok(messages)) => check_messages(text, &messages, expected),
    }
}

fn has_control_character(text: &str) -> bool {
    text.bytes().any(|byte| byte < b' ')
}

fn check_xhr_send(content_type: &str, text: &str, expected: &Oracle) {
    let read = frames::read_body(false, content_type, text);
    if matches!(content_type, FORM | "text/html") {
        assert_eq!(read, Err("Payload expected."));
    } else {
        check_body(text, expected, read);
    }
}

fn check_jsonp_send(content_type: &str, text: &str, expected: &Oracle) {
    let read = frames::read_body(true, content_type, text);
    match content_type {
        FORM => match String::from_utf8(frames::form_value(text, "d").unwrap_or_default()) {
            Ok(value) => check_body(&value, &oracle(&value), read),
            Err(_) => assert_eq!(read, Err("Broken JSON encoding.")),
        },
        "" | "text/plain" => check_body(text, expected, read),
        _ => assert_eq!(read, Err("Payload expected.")),
    }
}

/// A value encoded in a form is found again, whatever precedes it.
fn check_form(text: &str) {
    let (before, value) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let form = format!("{before}&d={encoded}");
    if frames::form_value(before, "d").is_none() {
        assert_eq!(frames::form_value(&form, "d").as_deref(), Some(value.as_bytes()));
    }
}

/// Messages arrive unchanged on any transport, in characters that every browser and proxy leaves
/// alone.
fn check_frame(messages: &[&str]) {
    let frame = frames::write(messages).expect("messages make a frame");
    check_text(&frame, messages);
    let websocket = Socket { message_bytes_max: 0, has_deflate: false, is_sockjs: true };
    assert!(websocket.encode(messages).ends_with(&frame));
    let [xhr, event, page, script] =
        frames::write_wires(&frame, "_jp.a1").expect("a name of a function");
    check_text(xhr.strip_suffix(b"\n").expect("a line"), messages);
    let data = event.strip_prefix(b"data: ").and_then(|rest| rest.strip_suffix(b"\r\n\r\n"));
    let data = str::from_utf8(data.expect("an event")).expect("text");
    assert!(!data.contains(['\r', '\n', '\0']));
    check_text(data.replace("%25", "%").as_bytes(), messages);
    let page =
        page.strip_prefix(b"<script>\np(").and_then(|it| it.strip_suffix(b");\n</script>\r\n"));
    check_string(page.expect("a call in a script"), messages);
    let script = script.strip_prefix(b"/**/_jp.a1(").and_then(|it| it.strip_suffix(b");\r\n"));
    check_string(script.expect("a call"), messages);
}

/// A frame as a JavaScript string, which must not end the script around it.
fn check_string(string: &[u8], messages: &[&str]) {
    assert!(!string.contains(&b'<'));
    let frame: String = serde_json::from_slice(string).expect("a string");
    check_text(frame.as_bytes(), messages);
}

fn check_text(frame: &[u8], messages: &[&str]) {
    let text = str::from_utf8(frame).expect("text");
    assert_eq!(text.chars().find(|character| is_fragile(*character)), None, "{text:?}");
    let array = text.strip_prefix('a').expect("a frame of messages");
    let read: Vec<String> = serde_json::from_str(array).expect("an array of strings");
    assert_eq!(read, messages);
}

/// What sockjs-node escapes: control characters, surrogates, and the ranges that were seen to be
/// changed on their way.
fn is_fragile(character: char) -> bool {
    matches!(
        u32::from(character),
        0..=0x1f | 0x200c..=0x200f | 0x2028..=0x202f | 0x2060..=0x206f | 0xfff0..
    )
}
