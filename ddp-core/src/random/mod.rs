//! Meteor's `Random`: ids, and the seeded sequences with which client and server make the same ids.
//!
//! A client that runs a method's stub sends the seed that it used. [`RandomStream`] draws the same
//! values from it on the server, so that a document gets the id under which the client already
//! shows it. The generator is Alea, bit for bit the same as in Meteor's `random` package. It is not
//! fit for secrets.
//!
//! Without a client's seed, ids come from real entropy, which this crate does not have: functions
//! such as [`id_from_entropy`] take it as an argument.
//!
//! ```
//! use ddp_core::random::RandomStream;
//!
//! // A client whose stub ran with this seed has made the same id for its first task.
//! let mut stream = RandomStream::from_seed("c0ffee00c0ffee00c0ff");
//! assert_eq!(stream.document_id("tasks"), "maSY5n4MXCN2Do5W7");
//! ```

use std::collections::HashMap;

use crate::ejson::Ejson;

/// How long Meteor's ids are: 17 characters are about 96 bits.
pub const ID_LEN: usize = 17;
/// How long Meteor's secrets are: 43 characters are about 256 bits.
pub const SECRET_LEN: usize = 43;
/// The length of the seed in a method's message from Meteor.
pub const SEED_LEN: usize = 20;

const HEX: &str = "0123456789abcdef";
/// Letters and digits that are hard to confuse.
const UNMISTAKABLE: &str = "23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz";
const BASE64: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

const TWO_POW_32: f64 = 4_294_967_296.0;
const TWO_POW_MINUS_32: f64 = 1.0 / TWO_POW_32;

/// Part of a generator's seed: the text that JavaScript's `toString` makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seed(String);

impl Seed {
    /// The seed that Meteor makes of a value. `None` for null, on which it throws.
    fn from_value(value: &Ejson) -> Option<Self> {
        Some(match value {
            Ejson::Null => return None,
            Ejson::Bool(value) => Self(value.to_string()),
            Ejson::Number(number) => Self::from(*number),
            Ejson::String(text) => Self::from(text.as_str()),
            Ejson::Array(items) => {
                // JavaScript's `Array.prototype.toString` turns a nested null into an empty text.
                let text = |item| Self::from_value(item).map_or(String::new(), |seed| seed.0);
                Self(items.iter().map(text).collect::<Vec<_>>().join(","))
            }
            _ => Self("[object Object]".to_owned()),
        })
    }
}

impl From<&str> for Seed {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Seed {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<f64> for Seed {
    fn from(number: f64) -> Self {
        Self(ryu_js::Buffer::new().format(number).to_owned())
    }
}

impl From<i32> for Seed {
    fn from(number: i32) -> Self {
        Self(number.to_string())
    }
}

/// Johannes Baagøe's Alea generator, version 0.9, as made by `Random.createWithSeeds`.
#[derive(Clone, Debug, PartialEq)]
pub struct Alea {
    state: [f64; 3],
    carry: f64,
}

impl Alea {
    /// The generator with these seeds. Their order matters.
    #[must_use]
    pub fn new(seeds: &[Seed]) -> Self {
        let mut mash = Mash::new();
        let mut state = [mash.hash(" "), mash.hash(" "), mash.hash(" ")];
        for seed in seeds {
            for part in &mut state {
                *part -= mash.hash(&seed.0);
                if *part < 0.0 {
                    *part += 1.0;
                }
            }
        }
        Self { state, carry: 1.0 }
    }

    /// The next number; at least 0 and less than 1.
    pub fn fraction(&mut self) -> f64 {
        let [first, second, third] = self.state;
        let next = 2_091_639.0 * first + self.carry * TWO_POW_MINUS_32;
        self.carry = next.trunc();
        let fraction = next - self.carry;
        self.state = [second, third, fraction];
        fraction
    }

    /// This many hexadecimal digits.
    pub fn hex_string(&mut self, len: usize) -> String {
        string(len, HEX, || self.fraction())
    }

    /// An id with this many characters, usually [`ID_LEN`].
    pub fn id(&mut self, len: usize) -> String {
        string(len, UNMISTAKABLE, || self.fraction())
    }

    /// This many characters of 6 bits each, like Meteor's `Random.secret`. Anyone who knows the
    /// seed knows the secret: see [`secret_from_entropy`].
    pub fn secret(&mut self, len: usize) -> String {
        string(len, BASE64, || self.fraction())
    }

    /// The index of a random element among `len`, as picked by `Random.choice`. `None` if `len` is
    /// 0; a number is drawn from the sequence even then.
    pub fn choice_index(&mut self, len: usize) -> Option<usize> {
        let fraction = self.fraction();
        (len > 0).then(|| index(fraction, len))
    }
}

/// The hash with which Alea turns the seeds into its state. It keeps its own state between them.
struct Mash(f64);

impl Mash {
    fn new() -> Self {
        Self(f64::from(0xefc8_249d_u32))
    }

    fn hash(&mut self, text: &str) -> f64 {
        for unit in text.encode_utf16() {
            self.0 += f64::from(unit);
            let product = 0.025_196_032_824_169_38 * self.0;
            let whole = to_uint32(product);
            let product = (product - whole) * whole;
            let whole = to_uint32(product);
            self.0 = whole + (product - whole) * TWO_POW_32;
        }
        to_uint32(self.0) * TWO_POW_MINUS_32
    }
}

/// JavaScript's `number >>> 0` for non-negative numbers: the remainder modulo 2^32.
fn to_uint32(number: f64) -> f64 {
    f64::from(number as u64 as u32)
}

/// The index of the element at this fraction of `len`.
fn index(fraction: f64, len: usize) -> usize {
    // With a huge length, a fraction of 1 - 2^-53 could be rounded up to the length.
    ((fraction * len as f64) as usize).min(len.saturating_sub(1))
}

fn string(len: usize, alphabet: &str, mut fraction: impl FnMut() -> f64) -> String {
    let alphabet = alphabet.as_bytes();
    (0..len).map(|_| char::from(alphabet[index(fraction(), alphabet.len())])).collect()
}

/// 32 random bits as a fraction, as on Meteor's server.
fn entropy_fraction(fill: &mut impl FnMut(&mut [u8])) -> f64 {
    let mut bytes = [0; 4];
    fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) * TWO_POW_MINUS_32
}

/// An id of [`ID_LEN`] characters, like `Random.id()`. `fill` fills its argument with random bytes.
pub fn id_from_entropy(fill: &mut impl FnMut(&mut [u8])) -> String {
    string(ID_LEN, UNMISTAKABLE, || entropy_fraction(fill))
}

/// A secret of [`SECRET_LEN`] characters, like `Random.secret()`, and as safe as the bytes from
/// `fill`.
pub fn secret_from_entropy(fill: &mut impl FnMut(&mut [u8])) -> String {
    string(SECRET_LEN, BASE64, || entropy_fraction(fill))
}

/// This many hexadecimal digits, like `Random.hexString(len)`.
pub fn hex_string_from_entropy(len: usize, fill: &mut impl FnMut(&mut [u8])) -> String {
    string(len, HEX, || entropy_fraction(fill))
}

/// The named sequences of one method invocation, like Meteor's `DDPCommon.RandomStream`.
///
/// Each name has its own sequence, seeded with the stream's seed and the name. So client and server
/// agree as long as both draw from each sequence in the same order; the order between sequences
/// does not matter.
#[derive(Clone, Debug)]
pub struct RandomStream {
    seed: Vec<Seed>,
    sequences: HashMap<String, Alea>,
}

impl RandomStream {
    /// The sequences of a client's `randomSeed`. Meteor treats an empty seed as none: see
    /// [`RandomStream::from_value`].
    #[must_use]
    pub fn from_seed(seed: impl Into<Seed>) -> Self {
        Self::from_seeds(vec![seed.into()])
    }

    /// The sequences of a seed with several parts.
    #[must_use]
    pub fn from_seeds(seed: Vec<Seed>) -> Self {
        Self { seed, sequences: HashMap::new() }
    }

    /// The sequences of any value used as a seed, by Meteor's rules: an array is a seed with
    /// several parts, anything else is one part.
    ///
    /// `None` if Meteor would make its own seed, for which there is [`RandomStream::from_entropy`]:
    /// for null, `false`, zero, NaN and the empty string. Also `None` for an array that contains a
    /// null, on which Meteor throws.
    #[must_use]
    pub fn from_value(seed: &Ejson) -> Option<Self> {
        let seeds = match seed {
            Ejson::Bool(false) => return None,
            Ejson::Number(number) if *number == 0.0 || number.is_nan() => return None,
            Ejson::String(text) if text.is_empty() => return None,
            Ejson::Array(parts) => parts.iter().map(Seed::from_value).collect::<Option<_>>()?,
            other => vec![Seed::from_value(other)?],
        };
        Some(Self::from_seeds(seeds))
    }

    /// Unrepeatable sequences, for when the client sent no seed. `fill` fills its argument with
    /// random bytes.
    pub fn from_entropy(fill: &mut impl FnMut(&mut [u8])) -> Self {
        Self::from_seed(hex_string_from_entropy(SEED_LEN, fill))
    }

    /// The sequence of this name, continued from its last use. Without a name, `default`.
    pub fn sequence(&mut self, name: &str) -> &mut Alea {
        let name = if name.is_empty() { "default" } else { name };
        self.sequences.entry(name.to_owned()).or_insert_with(|| {
            let seeds: Vec<_> = self.seed.iter().cloned().chain([Seed::from(name)]).collect();
            Alea::new(&seeds)
        })
    }

    /// The id of the next document inserted into a collection.
    pub fn document_id(&mut self, collection: &str) -> String {
        self.sequence(&format!("/collection/{collection}")).id(ID_LEN)
    }

    /// The same for a collection with ObjectIDs: 24 hexadecimal digits.
    pub fn document_object_id(&mut self, collection: &str) -> String {
        self.sequence(&format!("/collection/{collection}")).hex_string(24)
    }

    /// The same as a UUID of version 4, in lower case with hyphens: 32 hexadecimal digits of the
    /// collection's sequence, where the 13th becomes `4` and the 17th one of `89ab`. Meteor has no
    /// such ids, but a stub makes the same one of what its `DDP.randomStream` draws:
    ///
    /// ```js
    /// const digits = DDP.randomStream('/collection/tasks').hexString(32).split('');
    /// [digits[12], digits[16]] = ['4', '89ab'[parseInt(digits[16], 16) % 4]];
    /// const id = digits.join('').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    /// ```
    pub fn document_uuid(&mut self, collection: &str) -> String {
        let digits = self.sequence(&format!("/collection/{collection}")).hex_string(32);
        let mut uuid = String::with_capacity(36);
        for (index, digit) in digits.char_indices() {
            if matches!(index, 8 | 12 | 16 | 20) {
                uuid.push('-');
            }
            uuid.push(match index {
                12 => '4',
                16 => {
                    ['8', '9', 'a', 'b'][digit.to_digit(16).map_or(0, |value| value as usize % 4)]
                }
                _ => digit,
            });
        }
        uuid
    }

    /// The seed for the next method call from within this one, like Meteor's `makeRpcSeed`.
    pub fn rpc_seed(&mut self, method: &str) -> String {
        self.sequence(&format!("/rpc/{method}")).hex_string(SEED_LEN)
    }
}

#[cfg(test)]
mod tests;
