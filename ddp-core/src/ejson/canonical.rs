//! The text with sorted keys.

use super::{Ejson, write_number, write_string};

/// The EJSON text that `EJSON.stringify(value, {canonical, indent})` gives.
///
/// In canonical text the keys of every object are sorted by their UTF-16 code units, like
/// JavaScript's `sort` does. A non-empty `indent` puts each element on its own line, indented by
/// that text once per level; Meteor's `indent: true` means two spaces.
#[must_use]
pub fn stringify(value: &Ejson, canonical: bool, indent: &str) -> String {
    let mut writer = Writer { out: String::new(), canonical, indent, depth: 0 };
    writer.value(&value.clone().into_json_value());
    writer.out
}

struct Writer<'a> {
    out: String,
    canonical: bool,
    indent: &'a str,
    depth: usize,
}

impl Writer<'_> {
    /// Writes a value that is plain JSON already.
    fn value(&mut self, value: &Ejson) {
        match value {
            Ejson::Number(number) => write_number(*number, &mut self.out),
            Ejson::String(string) => write_string(string, &mut self.out),
            Ejson::Array(items) => {
                self.list(('[', ']'), items, Self::value);
            }
            Ejson::Object(object) => {
                let mut members: Vec<_> = object.iter().collect();
                if self.canonical {
                    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
                }
                self.list(('{', '}'), members, |writer, (key, value)| {
                    write_string(key, &mut writer.out);
                    writer.out.push_str(if writer.indent.is_empty() { ":" } else { ": " });
                    writer.value(value);
                });
            }
            plain => plain.write(&mut self.out),
        }
    }

    fn list<T>(
        &mut self,
        (open, close): (char, char),
        items: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Self, T),
    ) {
        self.out.push(open);
        self.depth += 1;
        let mut empty = true;
        for item in items {
            if !empty {
                self.out.push(',');
            }
            empty = false;
            self.line();
            write(self, item);
        }
        self.depth -= 1;
        if !empty {
            self.line();
        }
        self.out.push(close);
    }

    /// Starts a new line, if there is an indent.
    fn line(&mut self) {
        if !self.indent.is_empty() {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(self.indent, self.depth));
        }
    }
}
