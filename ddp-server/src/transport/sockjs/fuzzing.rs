//! Access to SockJS frames for this repository's fuzz targets. Not part of the API.

use bytes::{BufMut, Bytes, BytesMut};

use super::form;
use super::frame::{Broken, ClientFrame, split_messages};
use super::mount;
use super::path::Access;
use super::wire::{Callback, Wire};
use crate::transport::Framing;

/// The messages of a client's frame, and whether it was valid to its end.
pub fn read(text: &str) -> (Vec<String>, bool) {
    take(ClientFrame::new(text.to_owned()))
}

fn take(mut frame: ClientFrame) -> (Vec<String>, bool) {
    let mut messages = Vec::new();
    loop {
        match frame.next() {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, true),
            Err(Broken) => return (messages, false),
        }
    }
}

/// The messages in the body of `xhr_send` or `jsonp_send`.
///
/// # Errors
/// What the client is answered.
pub fn read_body(
    is_jsonp: bool,
    content_type: &str,
    body: &str,
) -> Result<(Vec<String>, bool), &'static str> {
    let access = if is_jsonp { Access::JsonpSend } else { Access::XhrSend };
    let frame = mount::frame(access, content_type, body.into())?;
    Ok(frame.map_or((Vec::new(), true), take))
}

/// The first value under a name in a form; it need not be text.
pub fn form_value(form: &str, name: &str) -> Option<Vec<u8>> {
    form::value(form, name)
}

/// Messages as one frame that all HTTP transports share, taken from WebSocket's.
pub fn write(messages: &[&str]) -> Option<Bytes> {
    let mut frames = Framing::raw(None).in_sockjs().encode(messages.iter().copied());
    let mut frame = BytesMut::from(&b"a["[..]);
    frame.put_slice(&split_messages(&mut frames)?);
    frame.put_u8(b']');
    frames.is_empty().then(|| frame.freeze())
}

/// A frame as XHR, EventSource, HtmlFile and JSONP write it; `None` if the callback's name is bad.
pub fn write_wires(frame: &[u8], callback: &str) -> Option<[Bytes; 4]> {
    let callback = Callback::short(Some(callback.to_owned())).ok()?;
    let wires =
        [Wire::Xhr, Wire::EventSource, Wire::HtmlFile(callback.clone()), Wire::Jsonp(callback)];
    Some(wires.map(|wire| wire.encode(frame)))
}
