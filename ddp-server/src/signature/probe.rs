//! Asks a type which arguments it is read from.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Expected, SeqAccess, Visitor};

use super::param::Param;

/// The arguments from which a `T` is read; `None` if there may be any number of them.
pub(super) fn params_of<T: DeserializeOwned>() -> Option<Vec<Param>> {
    let mut params = None;
    // The probe gives no value: what it was asked for is the answer.
    let _ = T::deserialize(Probe(&mut params));
    params
}

/// Notes which shape a type asks for when it is deserialized.
struct Probe<'a>(&'a mut Option<Vec<Param>>);

/// That the probe has seen enough.
#[derive(Debug)]
struct Seen;

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seen")
    }
}

impl std::error::Error for Seen {}

impl serde::de::Error for Seen {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl Probe<'_> {
    fn note<T>(self, params: Option<Vec<Param>>) -> Result<T, Seen> {
        *self.0 = params;
        Err(Seen)
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Seen;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Seen> {
        self.note(None)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Seen> {
        self.note(Some(Vec::new()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, _: V) -> Result<V::Value, Seen> {
        self.note(Some(vec![Param::default(); len]))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        _: V,
    ) -> Result<V::Value, Seen> {
        self.note(Some(vec![Param::default(); len]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Seen> {
        // Aliases are among the names, and nothing says which names belong together.
        let params = match elements_of(visitor) {
            Some(count) if count != names.len() => vec![Param::default(); count],
            _ => names.iter().map(|name| Param::named(*name)).collect(),
        };
        self.note(Some(params))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Seen> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit_struct seq map enum identifier ignored_any
    }
}

/// How many elements a struct is read from, if it says so when it gets none.
fn elements_of<'de, V: Visitor<'de>>(visitor: V) -> Option<usize> {
    let mut asked = 0;
    match visitor.visit_seq(NoElements(&mut asked)) {
        // All of them have defaults. What asks once may have been written by hand, and ask in a loop.
        Ok(_) => Some(asked).filter(|asked| *asked > 1),
        Err(Missing(count)) => count,
    }
}

/// A sequence that has ended, and how often it was asked for more.
struct NoElements<'a>(&'a mut usize);

impl<'de> SeqAccess<'de> for NoElements<'_> {
    type Error = Missing;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        _: T,
    ) -> Result<Option<T::Value>, Missing> {
        *self.0 += 1;
        Ok(None)
    }
}

/// That elements are missing, and how many there should have been.
#[derive(Debug)]
struct Missing(Option<usize>);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("missing")
    }
}

impl std::error::Error for Missing {}

impl serde::de::Error for Missing {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }

    /// What serde derives expects "struct NAME with COUNT elements".
    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let mut words = expected.rsplit(' ');
        let unit = words.next();
        let count = words.next().and_then(|count| count.parse().ok());
        Self(count.filter(|_| matches!(unit, Some("element" | "elements"))))
    }
}
